"""`posttrain score`: what a reward model says of recorded responses.

Rows of one form: {"prompt", "response"}; {"prompt", "responses"}, as `posttrain sample` writes them; or comparisons as
`preference_jsonl` reads them ("responses" and "pairs", or "chosen" and "rejected"), which also give an accuracy.

With --pairs also the comparisons that the scores make: data for a preference method, labelled by the reward model.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import torch

from posttrain import durable_files
from posttrain.commands.answering import ANY_LENGTH, check_output
from posttrain.data.agreement import decided
from posttrain.data.collate import Encoder, collate_prompts, collate_sequences
from posttrain.data.fields import as_text, items, text
from posttrain.data.jsonl import Row, read_rows, write_rows
from posttrain.data.lines import Where
from posttrain.data.records import Comparison, Pair, Prompt
from posttrain.data.sources import preference_jsonl, prompt_jsonl
from posttrain.errors import InputError, NumericStop
from posttrain.models.loading import load_scorer
from posttrain.models.positions import check_positions
from posttrain.models.scorer import ScoreStatistics, SequenceScorer
from posttrain.training.distributed import start_ranks
from posttrain.training.progress import Progress

RESPONSES_AT_ONCE = 64
ENDINGS = (".jsonl", ".jsonl.gz")
COMPARISON_FIELDS = ("prompt", "responses", "pairs", "chosen", "rejected", *prompt_jsonl.PROMPT_DETAILS)
ADDED = {
    "response": ("score", "normalized_score"),
    "responses": ("scores", "normalized_scores"),
    "chosen": ("chosen_score", "rejected_score", "normalized_chosen_score", "normalized_rejected_score"),
}
"""What is added to a row, by the field that its responses are in."""


@dataclass(frozen=True)
class RowResponses:
    """A row of the file as it is, what a reward model reads of it, and which of its responses are better."""

    row: Row
    where: Where
    prompt: str
    responses: tuple[str, ...]
    comparison: Comparison | None = None  # where the file gave one

    @property
    def pairs(self) -> tuple[Pair, ...]:
        return self.comparison.pairs if self.comparison else ()


def main(model: str, data: Path, out: Path, pairs: Path | None = None) -> None:
    """Write `out`: the rows of `data` in their order with the scores added. Prints mean, std and accuracy.

    `pairs` is where comparisons of each prompt's responses go, as `preference_jsonl` reads them.
    """
    check_output(out, (data,), ENDINGS)
    if pairs is not None:
        check_output(pairs, (data,), ENDINGS, "--pairs")
        if pairs.resolve() == out.resolve():
            raise InputError(f"--pairs {pairs}: is where --out goes; give another path")
    rows = read(data)
    asked = None if pairs is None else prompts_to_compare(rows, data)
    scorer, tokenizer, statistics = load_scorer(model)
    scores = score(scorer.to(start_ranks().device), tokenizer, rows, str(data))
    with durable_files.faults_named(out, "give another path or make room"):
        out.parent.mkdir(parents=True, exist_ok=True)
        write_rows(out, (with_scores(row, some, statistics) for row, some in zip(rows, scores, strict=True)))
    if pairs is not None and asked is not None:
        write_pairs(pairs, [compare(*one) for one in zip(asked, rows, scores, strict=True)])
    every = [one for some in scores for one in some]
    std = stdev(every) if len(every) > 1 else 0.0
    print(f"{out}: {len(every)} responses, mean score {fmean(every):.3f}, std {std:.3f}")
    correct = [share for row, some in zip(rows, scores, strict=True) for share in decided(row.pairs, some)]
    if correct:
        print(f"accuracy {fmean(correct):.3f} on {len(correct)} decided pairs")


def read(path: Path) -> list[RowResponses]:
    """All rows of the file; the first says which form they have. InputError with `file:line` at the first fault."""
    rows = list(read_rows(path))
    where, first = rows[0]
    if "response" in first:
        judged = [_one_response(row, where) for where, row in rows]
    elif "responses" in first and "pairs" not in first:
        judged = [_several_responses(row, where) for where, row in rows]
    elif "responses" in first or "chosen" in first or "rejected" in first:
        others = {name for _, row in rows for name in row} - set(COMPARISON_FIELDS)
        comparisons = preference_jsonl.load(preference_jsonl.Config(path=path, ignored_fields=tuple(sorted(others))))
        judged = [_compared(*row, comparison) for row, comparison in zip(rows, comparisons, strict=True)]
    else:
        raise where.fault('nothing to score; expected "response", "responses", or "chosen" and "rejected"')
    for (where, row), one in zip(rows, judged, strict=True):
        taken = [name for name in ADDED[_form(one.row)] if name in row]
        if taken:
            raise where.fault(f'field "{taken[0]}" is there already; rename it')
    return judged


def _form(row: Row) -> str:
    return next(name for name in ADDED if name in row)


def _one_response(row: Row, where: Where) -> RowResponses:
    """Empty texts are scored as well: a model can answer nothing, and a classifier's prompt is empty."""
    prompt, response = (text(row, where, name, is_empty_allowed=True) for name in ("prompt", "response"))
    return RowResponses(row, where, prompt, (response,))


def _several_responses(row: Row, where: Where) -> RowResponses:
    responses = [
        as_text(found, where, f"responses[{i}]", is_empty_allowed=True)
        for i, found in enumerate(items(row, where, "responses"))
    ]
    return RowResponses(row, where, text(row, where, "prompt", is_empty_allowed=True), tuple(responses))


def _compared(where: Where, row: Row, comparison: Comparison) -> RowResponses:
    return RowResponses(row, where, comparison.prompt.text, comparison.responses, comparison)


def prompts_to_compare(rows: Sequence[RowResponses], data: Path) -> list[Prompt]:
    """The prompt of each row with its references, id and facts. InputError for rows with one response only."""
    single = [row.where for row in rows if len(row.responses) < 2]
    if single:
        raise InputError(
            f"--pairs: {len(single)} of {len(rows)} rows of {data} have one response, line {single[0].line} first; "
            "sample more of each prompt (posttrain sample --decoding sampling --num-samples 2)"
        )
    seen: dict[str, Where] = {}
    return [
        row.comparison.prompt if row.comparison else prompt_jsonl.prompt_of(row.row, row.where, seen) for row in rows
    ]


def compare(prompt: Prompt, row: RowResponses, scores: Sequence[float]) -> Comparison:
    """Every pair of the responses, the higher score the better. Equal texts are a tie, whatever rounding says."""
    pairs = []
    for first, second in combinations(range(len(scores)), 2):
        is_tie = scores[first] == scores[second] or row.responses[first] == row.responses[second]
        pairs.append(Pair(first, second, 0 if is_tie else 1 if scores[first] > scores[second] else 2))
    return Comparison(prompt, row.responses, tuple(pairs))


def write_pairs(path: Path, comparisons: Sequence[Comparison]) -> None:
    with durable_files.faults_named(path, "give another path or make room"):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_rows(path, (preference_jsonl.to_row(comparison) for comparison in comparisons))
    labels = [pair.label for comparison in comparisons for pair in comparison.pairs]
    print(f"{path}: {len(labels)} pairs of {len(comparisons)} prompts, {labels.count(0)} of them ties")


@torch.no_grad()
def score(scorer: SequenceScorer, tokenizer: Any, rows: Sequence[RowResponses], source: str) -> list[list[float]]:
    """Raw scores of each row's responses. InputError with counts for rows that the model cannot read whole."""
    config = scorer.backbone.config
    encoder = Encoder(tokenizer, bool(config.is_encoder_decoder), ANY_LENGTH, ANY_LENGTH)
    prompts = encoder.prompts([row.prompt for row in rows])
    encoded = iter(encoder.responses([response for row in rows for response in row.responses]))
    responses = [[next(encoded) for _ in row.responses] for row in rows]
    lengths = [(len(ids), max(map(len, some))) for ids, some in zip(prompts, responses, strict=True)]
    check_positions(config, lengths, source, "shorten them")
    device = next(scorer.parameters()).device
    scores: list[list[float]] = []
    with Progress("score") as progress:
        progress.start(0, len(rows))
        for batch in _batches(responses):
            texts = collate_prompts([prompts[i] for i in batch], [Prompt(rows[i].prompt) for i in batch])
            index = [place for place, i in enumerate(batch) for _ in responses[i]]
            sequences = collate_sequences(texts, index, [ids for i in batch for ids in responses[i]])
            values = iter(scorer(sequences.to(device)).tolist())
            scores += [[next(values) for _ in responses[i]] for i in batch]
            progress.show(len(scores), {})
    _check_finite(scores, source)
    return scores


def _batches(responses: Sequence[Sequence[list[int]]]) -> Iterator[list[int]]:
    """Row numbers, in order; a row's responses stay together, so that its prompt is read once."""
    batch: list[int] = []
    num_responses = 0
    for i, some in enumerate(responses):
        if batch and num_responses + len(some) > RESPONSES_AT_ONCE:
            yield batch
            batch, num_responses = [], 0
        batch.append(i)
        num_responses += len(some)
    yield batch


def _check_finite(scores: Sequence[Sequence[float]], source: str) -> None:
    wrong = [place for place, some in enumerate(scores, 1) if not torch.tensor(some).isfinite().all()]
    if wrong:
        raise NumericStop(f"{source}: {len(wrong)} rows have scores that are no finite numbers, row {wrong[0]} first")


def with_scores(read_row: RowResponses, scores: Sequence[float], statistics: ScoreStatistics) -> dict[str, Any]:
    """The row with raw scores, and with scores brought to the mean 0 and std 1 that held-out responses have."""
    normalized = [(one - statistics.mean) / max(statistics.std, 1e-6) for one in scores]
    form = _form(read_row.row)
    values = [list(scores), normalized] if form == "responses" else [*scores, *normalized]
    return read_row.row | dict(zip(ADDED[form], values, strict=True))
