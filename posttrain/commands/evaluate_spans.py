"""`posttrain evaluate` of a span reward model: against the marked errors of held-out responses."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from posttrain.algorithms.span_reward_model import Config, SpanRewardModel
from posttrain.assembly.records import tokenized
from posttrain.batches import JudgedSpans
from posttrain.config import RunConfig
from posttrain.data.records import Record, SpanJudgement
from posttrain.data.span_labels import LabelledRow, judged_spans, labelled
from posttrain.errors import InputError
from posttrain.evaluation.evaluate import loss_metrics
from posttrain.evaluation.results import Interval
from posttrain.evaluation.span_intervals import span_intervals
from posttrain.evaluation.span_scores import span_report
from posttrain.models.loading import Pretrained, load_span_scorer, locate
from posttrain.models.positions import check_positions
from posttrain.models.spans.scorer import SPAN_HEAD_FILE, SpanScorer
from posttrain.training.distributed import start_ranks

BATCH = 32  # records


def is_span_model(path: str) -> bool:
    return (Path(locate(path)) / SPAN_HEAD_FILE).exists()


def of_span_model(
    path: str, settings: RunConfig, records: Sequence[Record], remedy: str
) -> tuple[Mapping[str, float], Mapping[str, Interval]]:
    """Loss, majority class and calibration over all spans, and the intervals of what a class reaches."""
    if not all(isinstance(record, SpanJudgement) for record in records):
        raise InputError(
            "data.evaluation: a span reward model is measured by responses whose errors are marked; give a source of "
            "span judgements (qa_feedback with records: span_judgements, or span_jsonl)"
        )
    scorer, tokenizer = load_span_scorer(path)
    scorer.to(start_ranks().device)
    rows = tokenized(records, Pretrained(scorer.backbone, tokenizer, ()), settings.data, "data.evaluation")
    lengths = [(len(row.prompt), max(map(len, row.responses), default=0)) for row in rows]
    check_positions(scorer.backbone.config, lengths, "data.evaluation", remedy)
    spans = labelled(rows, scorer.spans)
    weights = scorer.log_weights.exp().tolist()
    parts = [spans[i : i + BATCH] for i in range(0, len(spans), BATCH)]
    batches = [judged_spans(part, weights) for part in parts]
    if not any(bool((batch.label >= 0).any()) for batch in batches):
        raise InputError("data.evaluation: no span is left to judge; raise data.max_response_tokens")
    device = scorer.head.weight.device
    report = span_report(scorer, batches, device)
    algorithm = SpanRewardModel(Config(**scorer.spans.model_dump()), scorer)
    overall = {
        "loss": loss_metrics(algorithm, batches, device)["loss"],
        "spans": float(report.num_spans),
        "majority_accuracy": report.majority_accuracy,
        "majority_macro_f1": report.majority_macro_f1,
        "calibration_error": report.calibration_error,
    }
    confusions = np.concatenate([_confusions(scorer, *each) for each in zip(parts, batches, strict=True)])
    return overall, span_intervals(confusions, scorer.spans.names, settings.seed)


@torch.no_grad()
def _confusions(scorer: SpanScorer, rows: Sequence[LabelledRow], batch: JudgedSpans) -> np.ndarray:
    """Spans of each record by true and found class, [records, C, C]."""
    batch = batch.to(scorer.head.weight.device)
    is_end = batch.label >= 0
    found = scorer(batch.sequences, batch.first, is_end).argmax(-1)
    record_of = [number for number, row in enumerate(rows) for _ in row.spans]
    confusions = np.zeros((len(rows), len(scorer.spans.names), len(scorer.spans.names)), dtype=np.int64)
    for response, true, is_found in zip(is_end.nonzero()[:, 0].tolist(), batch.label[is_end].tolist(), found.tolist(),
                                        strict=True):  # fmt: skip
        confusions[record_of[response], true, is_found] += 1
    return confusions
