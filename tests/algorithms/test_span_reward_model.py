"""The loss of a span reward model and what it logs, by hand."""

import math

import pytest
import torch
from torch import Tensor, nn

from posttrain.algorithms import span_reward_model
from posttrain.algorithms.span_reward_model import Config, SpanRewardModel, class_metrics
from posttrain.batches import JudgedSpans
from posttrain.data.span_labels import SpanClass, SpanSettings
from tests.algorithms.given import sequences_of

CONFIG = Config(classes=(SpanClass(name="wrong", kinds=("w",)), SpanClass(name="dull", kinds=("d",))))
NO = -1


class GivenSpans(nn.Module):
    """The logits of a table for the spans that are asked for: row and column name them."""

    def __init__(self, table: Tensor):
        super().__init__()
        self.table = nn.Parameter(table)
        self.asked: list[tuple[Tensor, Tensor]] = []

    def forward(self, sequences, first, is_end):
        self.asked.append((first, is_end))
        return self.table[is_end]


def batch(label: list[list[int]], weight: list[list[float]] | None = None) -> JudgedSpans:
    labels = torch.tensor(label)
    weights = (labels >= 0).float() if weight is None else torch.tensor(weight)
    return JudgedSpans(sequences_of([labels.shape[1]] * len(label)), torch.zeros_like(labels), labels, weights)


def table() -> Tensor:
    """Probabilities 1/2, 1/4, 1/4 at the first span; 1/10, 6/10, 3/10; 1/4, 1/4, 1/2."""
    shares = torch.tensor([[2.0, 1.0, 1.0], [9.0, 9.0, 9.0], [1.0, 6.0, 3.0], [1.0, 1.0, 2.0]])
    return shares.log().view(2, 2, 3)


def test_the_loss_is_the_weighted_mean_over_spans_by_hand():
    module = GivenSpans(table())
    report = SpanRewardModel(CONFIG, module).loss(batch([[0, NO], [1, 0]], [[1.0, 0.0], [3.0, 0.5]]))
    expected = -math.log(1 / 2) - 3 * math.log(6 / 10) - 0.5 * math.log(1 / 4)
    assert report.loss_sum.item() == pytest.approx(expected, rel=1e-6)
    assert report.count == 4.5, "weights are what the sum is divided by"
    report.loss_sum.backward()
    gradient = module.table.grad
    assert gradient[0, 0].tolist() == pytest.approx([0.5 - 1, 0.25, 0.25], abs=1e-6)
    assert gradient[1, 0].tolist() == pytest.approx([0.3, 3 * (0.6 - 1), 0.9], abs=1e-6)
    assert not gradient[0, 1].any(), "no span ends there"


def test_metrics_by_hand():
    """Found 0, 1, 2 where 0, 1, 0 is so."""
    report = SpanRewardModel(CONFIG, GivenSpans(table())).loss(batch([[0, NO], [1, 0]]))
    shares = {name: float(value / report.metric_counts[name]) for name, value in report.metric_sums.items()
              if report.metric_counts[name] > 0}  # fmt: skip
    assert shares == pytest.approx({
        "accuracy": 2 / 3,
        "precision/good": 1.0, "recall/good": 1 / 2, "f1/good": 2 / 3,
        "precision/wrong": 1.0, "recall/wrong": 1.0, "f1/wrong": 1.0,
        "precision/dull": 0.0, "f1/dull": 0.0,  # no recall: nothing is dull
    })  # fmt: skip
    assert report.metric_counts["recall/dull"] == 0


def test_sums_over_parts_are_the_sums_of_the_whole():
    generator = torch.Generator().manual_seed(0)
    found, label = (torch.randint(0, 3, (60,), generator=generator) for _ in range(2))
    whole = class_metrics(found, label, CONFIG.names)
    parts = [class_metrics(found[i : i + 7], label[i : i + 7], CONFIG.names) for i in range(0, 60, 7)]
    for place in (0, 1):
        for name, value in whole[place].items():
            assert float(sum(part[place][name] for part in parts)) == float(value)
    sums, counts = whole
    precision, recall = (float(sums[f"{name}/wrong"] / counts[f"{name}/wrong"]) for name in ("precision", "recall"))
    f1 = 2 * precision * recall / (precision + recall)
    assert float(sums["f1/wrong"] / counts["f1/wrong"]) == pytest.approx(f1)


def test_a_batch_without_spans_counts_nothing():
    module = GivenSpans(table())
    report = SpanRewardModel(CONFIG, module).loss(batch([[NO, NO], [NO, NO]]))
    assert report.loss_sum == 0
    assert report.count == 0
    assert all(count == 0 for count in report.metric_counts.values())
    report.loss_sum.backward()
    assert not module.table.grad.any()


def test_the_model_is_asked_for_the_spans_of_the_batch():
    module = GivenSpans(table())
    given = batch([[0, NO], [1, 0]])
    SpanRewardModel(CONFIG, module).loss(given)
    ((first, is_end),) = module.asked
    assert first is given.first
    assert is_end.tolist() == [[True, False], [True, True]]


def test_the_folder_keeps_what_is_judged_and_not_how_it_was_learnt():
    class Parts:
        def span_scorer(self, spans):
            assert type(spans) is SpanSettings
            return spans

    weighted = CONFIG.model_copy(update={"class_weights": "balanced"})
    built = span_reward_model.build(weighted, Parts())
    assert built.config is weighted
    assert built.module == SpanSettings(classes=CONFIG.classes)
    assert span_reward_model.CONSUMES == "span_judgements"
