"""Best-of-n: of several samples the one that a reward model likes most (Stiennon et al. 2020, arXiv:2009.01325)."""

from collections.abc import Sequence
from pathlib import Path

from posttrain.commands.score import RowResponses, score
from posttrain.data.lines import Where
from posttrain.data.records import Prompt
from posttrain.models.loading import load_scorer
from posttrain.training.distributed import start_ranks


def best_of(model: str, records: Sequence[Prompt], texts: Sequence[Sequence[str]], source: Path) -> list[int]:
    """The place of the best response to each prompt, the first of equal ones; `model` is a reward model's folder.

    Raises InputError with counts for texts that the reward model cannot read whole.
    """
    scorer, tokenizer, _ = load_scorer(model)
    rows = [
        RowResponses({}, Where(source, number), record.text, tuple(some))
        for number, (record, some) in enumerate(zip(records, texts, strict=True), 1)
    ]
    scores = score(scorer.to(start_ranks().device), tokenizer, rows, f"the samples of {source}")
    return [max(range(len(some)), key=some.__getitem__) for some in scores]
