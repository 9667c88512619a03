"""How good a span reward model is on held-out spans, and the mean and spread of what it gives."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from posttrain.batches import JudgedSpans
from posttrain.models.spans.report import ClassReport, Moments, SpanReport
from posttrain.models.spans.scorer import SpanScorer

NUM_BINS = 10

Numbers = NDArray[np.float64]


@torch.no_grad()
def span_report(scorer: SpanScorer, batches: Sequence[JudgedSpans], device: torch.device) -> SpanReport:
    logits, labels = [], []
    for batch in batches:
        batch = batch.to(device)
        is_end = batch.label >= 0
        logits.append(scorer(batch.sequences, batch.first, is_end))
        labels.append(batch.label[is_end])
    every = torch.cat(logits)
    label = torch.cat(labels).cpu().numpy()
    probabilities = scorer.probabilities(every).double().cpu().numpy()
    found = every.argmax(-1).cpu().numpy()
    values = np.array(scorer.spans.values)
    reports = {name: _class_report(found == i, label == i) for i, name in enumerate(scorer.spans.names)}
    most = np.bincount(label, minlength=len(values)).argmax()
    there = [report for report in reports.values() if report.num_spans]
    share = float((label == most).mean())
    return SpanReport(
        num_responses=sum(len(batch) for batch in batches),
        num_spans=len(label),
        accuracy=float((found == label).mean()),
        majority_accuracy=share,
        macro_f1=sum(report.f1 or 0.0 for report in there) / len(there),
        majority_macro_f1=2 * share / (1 + share) / len(there),
        calibration_error=calibration_error(probabilities, label),
        classes=reports,
        expected=_moments(probabilities @ values),
        likeliest=_moments(values[found]),
    )


def _class_report(is_found: NDArray[np.bool_], is_so: NDArray[np.bool_]) -> ClassReport:
    right, num_found, num_so = int((is_found & is_so).sum()), int(is_found.sum()), int(is_so.sum())
    return ClassReport(
        num_spans=num_so,
        precision=right / num_found if num_found else None,
        recall=right / num_so if num_so else None,
        f1=2 * right / (num_found + num_so) if num_found + num_so else None,
    )


def _moments(rewards: Numbers) -> Moments:
    return Moments(mean=float(rewards.mean()), std=float(rewards.std()))


def calibration_error(probabilities: Numbers, label: NDArray[np.int64]) -> float:
    """Σ_b n_b / N · |accuracy_b − confidence_b| over `NUM_BINS` equal bins of the likeliest class's probability.

    Source: Guo et al. 2017, arXiv:1706.04599, eq. 3.
    """
    confidence, is_right = probabilities.max(-1), probabilities.argmax(-1) == label
    bins = np.minimum((confidence * NUM_BINS).astype(int), NUM_BINS - 1)
    gaps = [abs(float((is_right[bins == b] - confidence[bins == b]).sum())) for b in range(NUM_BINS)]
    return sum(gaps) / len(label)
