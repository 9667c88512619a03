"""How good a span reward model is said to be, by hand."""

import pytest
import torch
from torch import nn

from posttrain.batches import JudgedSpans
from posttrain.data.span_labels import SpanClass, SpanSettings
from posttrain.evaluation.span_scores import calibration_error, span_report
from posttrain.models.spans.report import ClassReport
from tests.algorithms.given import sequences_of

CPU = torch.device("cpu")
SPANS = SpanSettings(
    classes=(SpanClass(name="wrong", kinds=("w",), value=-2.0), SpanClass(name="dull", kinds=("d",), value=-0.5)),
    good_value=1.0,
)


class GivenScorer(nn.Module):
    """Probabilities of each span, in the order of the batches."""

    def __init__(self, shares: list[list[float]], log_weights: list[float] | None = None):
        super().__init__()
        self.spans, self.left = SPANS, torch.tensor(shares, dtype=torch.float64).log()
        self.log_weights = torch.tensor(log_weights or [0.0] * 3, dtype=torch.float64)

    def forward(self, sequences, first, is_end):
        found, self.left = self.left[: is_end.sum()], self.left[is_end.sum() :]
        return found

    def probabilities(self, logits):
        return (logits - self.log_weights).softmax(-1)


def batch(*labels: list[int]) -> JudgedSpans:
    label = torch.tensor(labels)
    zeros = torch.zeros_like(label)
    return JudgedSpans(sequences_of([label.shape[1]] * len(labels)), zeros, label, zeros.float())


SHARES = [
    [0.82, 0.08, 0.1],  # good, and so it is
    [0.72, 0.18, 0.1],  # good, but wrong
    [0.18, 0.52, 0.3],  # wrong, and so it is
    [0.33, 0.62, 0.05],  # wrong, but good
    [0.64, 0.16, 0.2],  # good, and so it is
]
BATCHES = (batch([0, -1, 1], [-1, 1, -1]), batch([0, 0]))


def test_every_number_by_hand():
    report = span_report(GivenScorer(SHARES), BATCHES, CPU)
    assert (report.num_responses, report.num_spans) == (3, 5)
    assert report.accuracy == pytest.approx(3 / 5)
    assert report.majority_accuracy == pytest.approx(3 / 5)
    assert report.classes == {
        "good": ClassReport(num_spans=3, precision=2 / 3, recall=2 / 3, f1=2 / 3),
        "wrong": ClassReport(num_spans=2, precision=1 / 2, recall=1 / 2, f1=1 / 2),
        "dull": ClassReport(num_spans=0, precision=None, recall=None, f1=None),
    }
    assert report.macro_f1 == pytest.approx((2 / 3 + 1 / 2) / 2), "over the classes that are there"
    # Always good: precision 3/5, recall 1, so 6/8; nothing for the other class that is there.
    assert report.majority_macro_f1 == pytest.approx((6 / 8 + 0) / 2)
    # Tenths from .5 on: .52 right; .62 and .64, of which one is right; .72 wrong; .82 right.
    gaps = (1 - 0.52) + abs(1 - (0.62 + 0.64)) + 0.72 + (1 - 0.82)
    assert report.calibration_error == pytest.approx(gaps / 5)
    rewards = [shares[0] - 2 * shares[1] - 0.5 * shares[2] for shares in SHARES]
    mean = sum(rewards) / 5
    std = (sum((reward - mean) ** 2 for reward in rewards) / 5) ** 0.5
    assert report.expected.mean == pytest.approx(mean)
    assert report.expected.std == pytest.approx(std)
    assert report.likeliest.mean == pytest.approx((1 + 1 - 2 - 2 + 1) / 5)
    assert report.likeliest.std == pytest.approx((3 * 1.2**2 + 2 * 1.8**2) ** 0.5 / 5**0.5)


def test_a_class_that_is_there_and_never_found_counts_as_nothing():
    report = span_report(GivenScorer([[0.8, 0.1, 0.1]] * 4), [batch([0, 0, 2, 2])], CPU)
    assert report.classes["dull"] == ClassReport(num_spans=2, precision=None, recall=0.0, f1=0.0)
    assert report.classes["wrong"] == ClassReport(num_spans=0, precision=None, recall=None, f1=None)
    assert report.macro_f1 == pytest.approx((2 / 3 + 0) / 2)
    assert report.macro_f1 == pytest.approx(report.majority_macro_f1), "it says the most frequent class each time"


def test_a_class_that_is_found_and_not_there_has_no_recall():
    report = span_report(GivenScorer([[0.1, 0.8, 0.1]] * 2), [batch([0, 0])], CPU)
    assert report.classes["wrong"] == ClassReport(num_spans=0, precision=0.0, recall=None, f1=0.0)
    assert report.macro_f1 == 0


def test_a_response_without_spans_counts_as_a_response():
    report = span_report(GivenScorer([[0.8, 0.1, 0.1]]), [batch([0], [-1]), batch([-1])], CPU)
    assert (report.num_responses, report.num_spans) == (3, 1)


def test_weights_of_classes_shift_what_is_expected_and_calibrated():
    """Twice as likely as so: after the correction, 0.8 / 0.9 and 0.1 / 0.9 of which half."""
    scorer = GivenScorer([[0.8, 0.2 / 3, 0.4 / 3]], [0.0, 0.0, torch.tensor(2.0).log().item()])
    report = span_report(scorer, [batch([0])], CPU)
    total = 0.8 + 0.2 / 3 + 0.2 / 3
    assert report.expected.mean == pytest.approx((0.8 - 2 * 0.2 / 3 - 0.5 * 0.2 / 3) / total)
    assert report.calibration_error == pytest.approx(1 - 0.8 / total)


def test_calibration_by_hand():
    shares = torch.tensor([[0.95, 0.05], [0.95, 0.05], [0.45, 0.55], [1.0, 0.0], [0.5, 0.5]]).double().numpy()
    label = torch.tensor([0, 1, 1, 0, 1]).numpy()
    # The last bin: .95 right, .95 wrong, 1. right; the sixth: .55 right and .5 wrong.
    gaps = abs(2 - (0.95 + 0.95 + 1.0)) + abs(1 - (0.55 + 0.5))
    assert calibration_error(shares, label) == pytest.approx(gaps / 5, abs=1e-6)


def test_a_model_that_knows_how_sure_it_may_be_is_calibrated():
    """Of 10 spans of 0.7, 7 are right; of 10 of 0.9, 9."""
    shares = torch.tensor([[0.7, 0.3]] * 10 + [[0.9, 0.1]] * 10).double().numpy()
    label = torch.tensor([0] * 7 + [1] * 3 + [0] * 9 + [1]).numpy()
    assert calibration_error(shares, label) == pytest.approx(0, abs=1e-6)


def test_precision_is_of_what_is_found_and_recall_of_what_is_there():
    """Said to be wrong: two of three spans, of which one is; good: one, which is. There: two good, one wrong."""
    report = span_report(GivenScorer([SHARES[0], SHARES[2], SHARES[3]]), (batch([0, 1, 0]),), CPU)
    assert report.classes["good"] == ClassReport(num_spans=2, precision=1.0, recall=1 / 2, f1=2 / 3)
    assert report.classes["wrong"] == ClassReport(num_spans=1, precision=1 / 2, recall=1.0, f1=2 / 3)
