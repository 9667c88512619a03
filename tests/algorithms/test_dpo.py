import math

import pytest
import torch

from posttrain.algorithms.dpo import DPO, Config
from posttrain.batches import ReferencedPairs
from posttrain.data.collate import Encoder, preferences, tokenize
from posttrain.data.records import Comparison, Pair, Prompt
from posttrain.models.language_model import LanguageModel
from posttrain.models.loading import freeze, load_language_model
from posttrain.training.references import reference_logprobs, with_reference
from tests.algorithms.given import NAN, Given, gradient, sequences_of
from tests.tiny_models import EVERY


def nll(x: float) -> float:
    return math.log(1 + math.exp(-x))


def batch(reference: list[float], is_tie: list[bool]) -> ReferencedPairs:
    """Prompt 0: 0 over 1; prompt 1: 3 over 2."""
    return ReferencedPairs(sequences_of([2, 1, 2, 1], [0, 0, 1, 1]), torch.tensor([0, 3]), torch.tensor([1, 2]),
                           torch.tensor(is_tie), torch.tensor([1.0, 1.0]), torch.tensor(reference))  # fmt: skip


LOGPROBS = torch.tensor([[-1.0, -1.0], [-3.0, NAN], [-0.5, -0.5], [-2.0, NAN]])
REFERENCE = [-3.0, -2.0, -2.0, -1.5]  # log-ratios 1, −1, 1, −0.5; margins 2 and −1.5


def test_loss_and_metrics_by_hand():
    module = Given(LOGPROBS.clone())
    report = DPO(Config(beta=0.5), module).loss(batch(REFERENCE, [False, False]))
    assert report.loss_sum.item() == pytest.approx(nll(0.5 * 2) + nll(0.5 * -1.5))
    assert report.count == 2
    sums = {name: value.item() for name, value in report.metric_sums.items()}
    assert sums == pytest.approx(
        {
            "accuracy": 1, "margin": 0.5 * (2 - 1.5), "chosen_log_ratio": 1 - 0.5, "rejected_log_ratio": -1 + 1,
            "chosen_below_reference": 1, "displacement": 0.5, "saturated": 0,
        }
    )  # fmt: skip
    assert set(report.metric_counts) == set(sums)
    pull = gradient(module, report.loss_sum)
    first, second = (0.5 * torch.sigmoid(torch.tensor(-0.5 * margin)).item() for margin in (2.0, -1.5))
    assert pull.flatten().tolist() == pytest.approx([-first, -first, first, 0, second, second, -second, 0])


def test_saturation_is_a_sigmoid_above_99_percent():
    report = DPO(Config(beta=2.4), Given(LOGPROBS.clone())).loss(batch(REFERENCE, [False, False]))
    assert torch.sigmoid(torch.tensor(2.4 * 2)) > 0.99
    assert report.metric_sums["saturated"] == 1


@pytest.mark.parametrize(
    ("ties", "loss", "count"), [("drop", nll(1.0), 1), ("half", nll(1.0) + 0.5 * (nll(-0.75) + nll(0.75)), 2)]
)
def test_ties_are_dropped_or_half_a_win_each(ties, loss, count):
    report = DPO(Config(beta=0.5, ties=ties), Given(LOGPROBS.clone())).loss(batch(REFERENCE, [False, True]))
    assert report.loss_sum.item() == pytest.approx(loss)
    assert report.count == count
    assert report.metric_counts["accuracy"] == 1


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("ties", ["drop", "half"])
def test_at_the_start_the_loss_is_log_2(name, ties, model_folder, tmp_path):
    start = load_language_model(str(model_folder(name)), 0.0)
    policy = LanguageModel(start.model)
    reference = freeze(LanguageModel(load_language_model(str(model_folder(name)), 0.0).model))
    records = [
        Comparison(Prompt("aa ae"), ("ba be bi", "bo", "bu ba"), (Pair(0, 1, 1), Pair(0, 2, 2), Pair(1, 2, 0))),
        Comparison(Prompt("ca"), ("ca ce", "ci co cu"), (Pair(0, 1, 2),)),
    ]
    rows = tokenize(records, Encoder(start.tokenizer, start.is_encoder_decoder, 20, 20), "data")
    logprobs, _ = reference_logprobs(reference, rows, 1, tmp_path)
    report = DPO(Config(ties=ties), policy.train()).loss(with_reference(preferences(rows), logprobs))
    assert (report.loss_sum / report.count).item() == pytest.approx(math.log(2), abs=1e-6)
    assert report.metric_sums["margin"].item() == pytest.approx(0, abs=1e-5)
    assert report.count.item() == pytest.approx(2 if ties == "half" else 5 / 3)


def test_smoothed_labels_by_hand():
    report = DPO(Config(beta=0.5, label_smoothing=0.1), Given(LOGPROBS.clone())).loss(batch(REFERENCE, [False, False]))
    expected = sum(0.9 * nll(x) + 0.1 * nll(-x) for x in (1.0, -0.75))
    assert report.loss_sum.item() == pytest.approx(expected)


def test_ipo_by_hand():
    report = DPO(Config(beta=0.5, objective="ipo"), Given(LOGPROBS.clone())).loss(batch(REFERENCE, [False, False]))
    assert report.loss_sum.item() == pytest.approx((2 - 1) ** 2 + (-1.5 - 1) ** 2)
    assert report.metric_sums["margin"].item() == pytest.approx(0.5 * (2 - 1.5))


@pytest.mark.parametrize(("convention", "weight", "outside"), [("outside_beta", 1.5, 1.5), ("inside_beta", 3.0, 1.5)])
def test_displacement_in_both_conventions(convention, weight, outside):
    """The second pair's better response is half a nat below the reference."""
    config = Config(beta=0.5, displacement_weight=weight, displacement_convention=convention)
    report = DPO(config, Given(LOGPROBS.clone())).loss(batch(REFERENCE, [False, False]))
    assert report.loss_sum.item() == pytest.approx(nll(1.0) + nll(-0.75 - outside * 0.5))
    sums, counts = report.metric_sums, report.metric_counts
    assert sums["displacement"].item() == pytest.approx(0.5)
    assert (sums["displacement_weight_outside_beta"] / counts["displacement_weight_outside_beta"]).item() == 1.5
    assert (sums["displacement_weight_inside_beta"] / counts["displacement_weight_inside_beta"]).item() == 3.0


def test_the_likelihood_of_what_was_preferred_is_a_mean_over_its_tokens():
    module = Given(LOGPROBS.clone())
    report = DPO(Config(beta=0.5, sft_weight=0.2, ties="half"), module).loss(batch(REFERENCE, [False, True]))
    tie = 0.5 * (nll(-0.75) + nll(0.75))
    assert report.loss_sum.item() == pytest.approx(nll(1.0) + 0.2 * 2.0 / 2 + tie)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"objective": "ipo", "displacement_weight": 1.0}, "belong to objective sigmoid"),
        ({"label_smoothing": 0.1, "displacement_weight": 1.0}, "would reward displacement"),
    ],
)
def test_settings_that_do_not_go_together(settings, message):
    with pytest.raises(ValueError, match=message):
        Config(**settings)
