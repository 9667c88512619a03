"""The losses of both kinds of reward model, by hand."""

import math

import pytest
import torch

from posttrain.algorithms.judgement_reward_model import JudgementRewardModel
from posttrain.algorithms.preference_reward_model import Config, PreferenceRewardModel
from posttrain.batches import Judged, PreferencePairs
from tests.algorithms.given import Given, gradient, sequences_of


def nll(x: float) -> float:
    return math.log(1 + math.exp(-x))


def pairs(
    better: list[int], worse: list[int], is_tie: list[bool], weight: list[float], index: list[int]
) -> PreferencePairs:
    sequences = sequences_of([1] * len(index), index)
    return PreferencePairs(
        sequences, torch.tensor(better), torch.tensor(worse), torch.tensor(is_tie), torch.tensor(weight)
    )


def test_preferences_by_hand():
    module = Given(torch.tensor([2.0, 0.5, 1.0, 1.0, 3.0]))
    batch = pairs([0, 2, 3], [1, 4, 2], [False, False, False], [1.0, 0.5, 0.5], [0, 0, 1, 1, 1])
    report = PreferenceRewardModel(Config(), module).loss(batch)
    assert report.loss_sum.item() == pytest.approx(nll(1.5) + 0.5 * nll(-2.0) + 0.5 * nll(0.0))
    assert report.count == 2
    assert report.metric_sums["accuracy"] == 1 + 0 + 0.5  # equal scores are half right
    assert report.metric_sums["margin"] == pytest.approx(1.5 - 2.0)
    assert report.metric_counts["accuracy"] == 3


def test_centering_is_added_by_hand():
    module = Given(torch.tensor([2.0, 0.5]))
    report = PreferenceRewardModel(Config(centering=0.1), module).loss(pairs([0], [1], [False], [1.0], [0, 0]))
    assert report.loss_sum.item() == pytest.approx(nll(1.5) + 0.1 * 2.5**2)


@pytest.mark.parametrize(
    ("ties", "loss", "count"), [("half", 0.5 * (nll(1.5) + nll(-1.5)) + nll(1.5), 2), ("drop", nll(1.5), 1)]
)
def test_ties_are_half_a_win_each_or_are_dropped(ties, loss, count):
    module = Given(torch.tensor([2.0, 0.5]))
    batch = pairs([0, 0], [1, 1], [True, False], [1.0, 1.0], [0, 0])
    report = PreferenceRewardModel(Config(ties=ties), module).loss(batch)
    assert report.loss_sum.item() == pytest.approx(loss)
    assert report.count == count
    assert report.metric_counts["accuracy"] == 1  # a tie is neither right nor wrong


def test_a_prompt_with_six_pairs_weighs_as_one_with_one():
    scores = torch.tensor([0.0] * 6)
    six = [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]
    better, worse = zip(*six, (4, 5), strict=True)
    batch = pairs([*better], [*worse], [False] * 7, [1 / 6] * 6 + [1.0], [0, 0, 0, 0, 1, 1])
    module = Given(scores)
    report = PreferenceRewardModel(Config(), module).loss(batch)
    assert report.count.item() == pytest.approx(2)
    pull = gradient(module, report.loss_sum)
    # At equal scores each pair pulls its two scores apart by weight / 2.
    assert pull.tolist() == pytest.approx([-3 / 12, -1 / 12, 1 / 12, 3 / 12, -0.5, 0.5], abs=1e-6)


def test_judgements_by_hand():
    module = Given(torch.tensor([2.0, 1.0, -3.0]))
    batch = Judged(sequences_of([1, 1, 1]), torch.tensor([True, False, False]))
    report = JudgementRewardModel(module).loss(batch)
    assert report.loss_sum.item() == pytest.approx(nll(2.0) + nll(-1.0) + nll(3.0))
    assert report.count == 3
    assert report.metric_sums["accuracy"] == 2


def test_counts_are_where_the_loss_is():
    """A count on the CPU beside a loss on a GPU could not be added up with it."""
    batch = Judged(sequences_of([1, 1]), torch.tensor([True, False])).to("meta")
    report = JudgementRewardModel(Given(torch.zeros(2, device="meta"))).loss(batch)
    assert report.count.device == report.loss_sum.device == torch.device("meta")


def test_a_margin_and_smoothed_labels_by_hand():
    module = Given(torch.tensor([2.0, 0.5]))
    batch = pairs([0, 0], [1, 1], [False, True], [1.0, 1.0], [0, 0])
    report = PreferenceRewardModel(Config(margin=0.5, label_smoothing=0.1), module).loss(batch)
    tie = 0.5 * (nll(1.5) + nll(-1.5))  # a tie has no lead
    assert report.loss_sum.item() == pytest.approx(0.9 * nll(1.0) + 0.1 * nll(-1.0) + tie)


def test_pairs_can_count_once_each():
    module = Given(torch.tensor([2.0, 0.5, 1.0]))
    batch = pairs([0, 0], [1, 2], [False, False], [0.5, 0.5], [0, 0, 0])
    report = PreferenceRewardModel(Config(pair_weighting="pair"), module).loss(batch)
    assert report.loss_sum.item() == pytest.approx(nll(1.5) + nll(1.0))
    assert report.count == 2


@pytest.mark.parametrize("is_learnt", [False, True])
@pytest.mark.parametrize("ties", ["rao_kupper", "davidson"])
def test_ties_with_a_probability_of_their_own(ties, is_learnt):
    """e^Δ = 4; θ = 2: 4/6 and the rest of 4/6 and 1/9; ν = 2: 2 and 2 of 4.5."""
    scores = torch.tensor([math.log(4.0), 0.0])
    raw = torch.tensor(2.0).log()
    if ties == "rao_kupper":
        raw = torch.tensor(math.expm1(math.log(2.0))).log()  # softplus gives log 2
    module = Given(scores, raw) if is_learnt else Given(scores)
    algorithm = PreferenceRewardModel(Config(ties=ties, tie_strength=None if is_learnt else 2.0), module)
    report = algorithm.loss(pairs([0, 0], [1, 1], [False, True], [1.0, 1.0], [0, 0]))
    better, tie = (4 / 6, 1 - 4 / 6 - 1 / 9) if ties == "rao_kupper" else (2 / 4.5, 2 / 4.5)
    assert report.loss_sum.item() == pytest.approx(-math.log(better) - math.log(tie), rel=1e-5)
    assert report.metric_sums["tie_strength"].item() == pytest.approx(2.0, rel=1e-5)
    report.loss_sum.backward()
    if is_learnt:
        assert module.values[1].grad.abs() > 0.01


def test_a_ranking_by_hand():
    """Weights 2, 3, 1 and 1; the ranking is 1, 0, 2: 3/6 · 2/3; the other prompt's is 3 alone."""
    module = Given(torch.tensor([2.0, 3.0, 1.0, 1.0, 4.0]).log())
    batch = pairs([1, 1, 0, 4], [0, 2, 2, 3], [False] * 4, [1 / 3] * 3 + [1.0], [0, 0, 0, 1, 1])
    report = PreferenceRewardModel(Config(reads="rankings"), module).loss(batch)
    assert report.loss_sum.item() == pytest.approx(-math.log(3 / 6 * 2 / 3) - math.log(4 / 5), rel=1e-5)
    assert report.count == 2
    assert report.metric_counts["accuracy"] == 4


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"ties": "davidson", "label_smoothing": 0.1}, "is a likelihood of pairs"),
        ({"ties": "rao_kupper", "reads": "rankings"}, "is a likelihood of pairs"),
        ({"reads": "rankings", "margin": 1.0}, "neither margin nor label_smoothing"),
        ({"reads": "rankings", "pair_weighting": "pair"}, "leave pair_weighting out"),
        ({"tie_strength": 2.0}, "belongs to ties rao_kupper and davidson"),
        ({"ties": "rao_kupper", "tie_strength": 1.0}, "above 1"),
    ],
)
def test_settings_that_do_not_go_together(settings, message):
    with pytest.raises(ValueError, match=message):
        Config(**settings)
