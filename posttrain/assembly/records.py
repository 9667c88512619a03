"""From the data section of a run to the batches that its algorithm consumes."""

import logging
import random
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from posttrain import plugins
from posttrain.config import DataSettings
from posttrain.data.collate import COLLATE, Encoder, Tokenized, preferences, prompt_of, responses_of, tokenize
from posttrain.data.records import Comparison, Demonstration, Judgement, Prompt, Record, SpanJudgement
from posttrain.errors import InputError
from posttrain.models.language_model import LanguageModel
from posttrain.models.loading import Pretrained
from posttrain.reading.config_reading import Choice
from posttrain.settings import Settings
from posttrain.training.references import reference_logprobs, with_reference

log = logging.getLogger(__name__)

RECORD_TYPES: dict[str, tuple[type, ...]] = {
    "demonstrations": (Demonstration,),
    "judgements": (Judgement,),
    "span_judgements": (SpanJudgement,),
    "preferences": (Comparison,),
    "referenced_preferences": (Comparison,),
    "rollouts": (Prompt, Demonstration, Comparison, SpanJudgement),
}
REFERENCE_BATCH = 16  # prompts, each with all of its responses


def load_records(choice: Choice, where: str, consumes: str) -> list[Record]:
    """The records of a source. InputError if there are none, or if the algorithm consumes another kind."""
    records = choice.plugin.load(choice.settings)
    if not records:
        raise InputError(f"{where}: source {choice.name} gave no records")
    wrong = next((record for record in records if not isinstance(record, RECORD_TYPES[consumes])), None)
    if wrong is not None:
        wanted = " or ".join(kind.__name__ for kind in RECORD_TYPES[consumes])
        raise InputError(
            f"{where}: source {choice.name} gives {type(wrong).__name__} records; the algorithm needs {wanted}"
        )
    return [prompt_of(record) for record in records] if consumes == "rollouts" else records


def check_pairs(records: Sequence[Record], settings: Settings, where: str) -> None:
    """InputError where the algorithm drops ties and nothing else is there, or asks for rankings and there is none."""
    if settings.model_dump().get("reads") == "rankings":
        _check_rankings(records, where)
    pairs = [pair for record in records if isinstance(record, Comparison) for pair in record.pairs]
    is_dropping = settings.model_dump().get("ties") == "drop"  # a setting of the methods that learn from pairs
    if pairs and is_dropping and all(pair.label == 0 for pair in pairs):
        raise InputError(
            f"{where}: each of its {len(pairs)} pairs is a tie, and algorithm.ties=drop leaves ties out, so that there "
            "is nothing to train on; set algorithm.ties to half, or give pairs of which one response is preferred"
        )


def _check_rankings(records: Sequence[Record], where: str) -> None:
    """Each pair of a record's responses is judged, once and without a tie, and no three of them run in a circle."""
    for number, record in enumerate(records, 1):
        if not isinstance(record, Comparison):
            continue
        lost = Counter(dict.fromkeys(range(len(record.responses)), 0))
        lost.update(pair.second if pair.label == 1 else pair.first for pair in record.pairs if pair.label != 0)
        if sorted(lost.values()) != list(range(len(record.responses))):
            raise InputError(
                f"{where}: record {number} of {len(records)} is no ranking of its {len(record.responses)} responses (a "
                "pair is missing, tied or judged twice, or they beat each other in a circle); set algorithm.reads to "
                "pairs, which takes any judgements"
            )


def tokenized(records: Sequence[Record], start: Pretrained, data: DataSettings, where: str) -> list[Tokenized]:
    """InputError with counts for what is too long; a warning with counts for what a policy cut."""
    encoder = Encoder(
        start.tokenizer,
        start.is_encoder_decoder,
        data.max_prompt_tokens,
        data.max_response_tokens,
        data.prompt_truncation,
        data.response_truncation,
    )
    rows = tokenize(records, encoder, where)
    if encoder.num_cut_prompts or encoder.num_cut_responses:
        log.warning(
            "%s: cut %d prompts and %d responses of %d records to the limits",
            where,
            encoder.num_cut_prompts,
            encoder.num_cut_responses,
            len(records),
        )
    return rows


def collator(
    consumes: str, rows: Sequence[Tokenized], reference: Callable[[], LanguageModel], cache: Path
) -> Callable[[Sequence[int]], Any]:
    """Row numbers → the batch that the algorithm consumes; reference log-probabilities are computed here, once."""
    if consumes != "referenced_preferences":
        return lambda numbers: COLLATE[consumes]([rows[i] for i in numbers])
    logprobs, was_cached = reference_logprobs(reference(), rows, REFERENCE_BATCH, cache)
    log.info("reference log-probabilities of %d prompts: %s", len(rows), "from the cache" if was_cached else "computed")
    return lambda numbers: with_reference(preferences([rows[i] for i in numbers]), [logprobs[i] for i in numbers])


def texts_of(records: Sequence[Record]) -> list[str]:
    """Every text of the records, in a fixed random order so that a tokenizer sees all kinds alike."""
    texts = [text for record in records for text in (prompt_of(record).text, *responses_of(record))]
    random.Random(0).shuffle(texts)
    return texts


def measures_of(names: Sequence[str]) -> dict[str, Callable[..., list[float]]]:
    """Measures by the names that their numbers are logged under."""
    modules = [plugins.find("evaluation.measures", name) for name in names]
    return {
        module.NAME: lambda responses, prompts, m=module: m.measure(responses, prompts, m.Config())
        for module in modules
    }
