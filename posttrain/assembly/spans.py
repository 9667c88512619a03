"""What a run needs to know of its judged spans: the weights of their classes, and how good the trained model is."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from posttrain.batches import JudgedSpans
from posttrain.config import RunConfig
from posttrain.data.collate import Tokenized
from posttrain.data.span_labels import LabelledRow, check_kinds, class_counts, judged_spans, labelled
from posttrain.errors import InputError
from posttrain.evaluation.span_scores import span_report
from posttrain.models.spans.report import lines_of, write_span_report
from posttrain.models.spans.scorer import SpanScorer

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SpanData:
    """The labelled spans of a run's records; `class_weights` are made from those it trains on."""

    train: Sequence[LabelledRow]
    evaluation: Sequence[LabelledRow]
    class_weights: tuple[float, ...]

    def collator(self, is_evaluation: bool) -> Callable[[Sequence[int]], JudgedSpans]:
        rows = self.evaluation if is_evaluation else self.train
        return lambda numbers: judged_spans([rows[i] for i in numbers], self.class_weights)


def span_data(config: RunConfig, train: Sequence[Tokenized], evaluation: Sequence[Tokenized]) -> SpanData:
    """InputError where a class has no errors to learn from; says how many spans of each class there are."""
    settings: Any = config.algorithm.settings
    absent = check_kinds(train, settings, "data.train")
    if absent:
        log.warning("data.train: no error of the kinds %s; is a name of algorithm.classes misspelt?", ", ".join(absent))
    rows = {"data.train": labelled(train, settings), "data.evaluation": labelled(evaluation, settings)}
    for where, some in rows.items():
        counts = class_counts(some, len(settings.names))
        shown = ", ".join(f"{number} {name}" for name, number in zip(settings.names, counts, strict=True))
        cut = sum(each.num_cut for each in some)
        more = f"; {cut} spans are behind the cut of their response and left out" if cut else ""
        log.info("%s: %d responses, spans: %s%s", where, len(some), shown, more)
        if not sum(counts):
            raise InputError(f"{where}: no span is left to judge; set algorithm.segments or data.max_response_tokens")
    counts = class_counts(rows["data.train"], len(settings.names))
    weights = [1.0] * len(counts)
    if settings.class_weights == "balanced":
        weights = [sum(counts) / (len(counts) * number) if number else 1.0 for number in counts]
    return SpanData(rows["data.train"], rows["data.evaluation"], tuple(weights))


def report_spans(scorer: SpanScorer, batches: Sequence[JudgedSpans], device: torch.device, folder: Path) -> None:
    """Writes what RL and readers need to know of a trained span reward model into its folder, and says it."""
    scorer.eval()
    report = span_report(scorer, batches, device)
    write_span_report(folder, report)
    for name, line in lines_of(report).items():
        log.info("%s: %s", name, line)
