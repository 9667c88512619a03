import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from posttrain.functional.preference import (
    bradley_terry_loss,
    davidson_loss,
    displacement,
    dpo_loss,
    ipo_loss,
    plackett_luce_loss,
    rao_kupper_loss,
)

DECIDED, TIED = torch.tensor([False]), torch.tensor([True])


def test_bradley_terry_by_hand():
    difference = torch.tensor([math.log(3.0)])  # σ = 3/4
    assert bradley_terry_loss(difference, DECIDED, 0.0).item() == pytest.approx(-math.log(3 / 4))
    assert bradley_terry_loss(difference, TIED, 0.0).item() == pytest.approx(
        -0.5 * math.log(3 / 4) - 0.5 * math.log(1 / 4)
    )


def test_a_tie_pulls_scores_together_and_does_not_care_who_is_named_first():
    difference = torch.tensor([0.7], requires_grad=True)
    loss = bradley_terry_loss(difference, TIED, 0.0)
    assert loss.item() == pytest.approx(bradley_terry_loss(-difference, TIED, 0.0).item())
    loss.sum().backward()
    assert difference.grad is not None
    assert difference.grad.item() == pytest.approx(torch.tensor(0.7).sigmoid().item() - 0.5)


def test_large_differences_stay_finite():
    difference = torch.tensor([-1000.0, 1000.0], requires_grad=True)
    loss = bradley_terry_loss(difference, torch.tensor([False, False]), 0.0)
    assert loss.tolist() == [1000, 0]
    loss.sum().backward()
    assert difference.grad is not None
    assert difference.grad.tolist() == [-1, 0]


def test_dpo_at_the_reference_is_log_2():
    same = torch.tensor([-3.0, -3.0])
    is_tie = torch.tensor([False, True])
    assert dpo_loss(same, same, is_tie, 0.3, 0.0, 0.0).tolist() == pytest.approx([math.log(2)] * 2)


def test_dpo_by_hand():
    loss = dpo_loss(torch.tensor([1.0]), torch.tensor([-2.0]), DECIDED, 0.5, 0.0, 0.0)
    assert loss.item() == pytest.approx(math.log(1 + math.exp(-0.5 * 3)))
    tie = dpo_loss(torch.tensor([1.0]), torch.tensor([-2.0]), TIED, 0.5, 0.0, 0.0)
    assert tie.item() == pytest.approx(0.5 * math.log(1 + math.exp(-1.5)) + 0.5 * math.log(1 + math.exp(1.5)))


def test_label_smoothing_by_hand():
    difference = torch.tensor([math.log(3.0)] * 2)
    expected = -0.9 * math.log(3 / 4) - 0.1 * math.log(1 / 4)
    tie = -0.5 * math.log(3 / 4) - 0.5 * math.log(1 / 4)  # is smoothed already
    assert bradley_terry_loss(difference, torch.tensor([False, True]), 0.1).tolist() == pytest.approx([expected, tie])


def test_rao_kupper_by_hand():
    """e^Δ = 3, θ = 2: better 3/5, worse 1/7, and ties have the rest."""
    difference, strength = torch.tensor([math.log(3.0)] * 2), torch.tensor(math.log(2.0))
    losses = rao_kupper_loss(difference, torch.tensor([False, True]), strength)
    assert losses.exp().reciprocal().tolist() == pytest.approx([3 / 5, 1 - 3 / 5 - 1 / 7], rel=1e-6)


def test_davidson_by_hand():
    """e^Δ = 4, ν = 1/2: 2, 1/2 and 1/2 of 3."""
    difference, strength = torch.tensor([math.log(4.0)] * 2), torch.tensor(math.log(0.5))
    losses = davidson_loss(difference, torch.tensor([False, True]), strength)
    assert losses.exp().reciprocal().tolist() == pytest.approx([2 / 3, 0.5 / 3], rel=1e-6)


@pytest.mark.parametrize("loss", [rao_kupper_loss, davidson_loss])
@given(st.floats(-5, 5), st.floats(0.01, 3))
@settings(max_examples=50, deadline=None)
def test_better_worse_and_tie_are_all_there_is(loss, difference, strength):
    both = torch.tensor([difference, -difference, difference], dtype=torch.float64)
    is_tie = torch.tensor([False, False, True])
    of_each = (-loss(both, is_tie, torch.tensor(strength, dtype=torch.float64))).exp()
    assert of_each.sum().item() == pytest.approx(1, abs=1e-12)
    other_way = (-loss(-both, is_tie, torch.tensor(strength, dtype=torch.float64))).exp()
    assert other_way[2].item() == pytest.approx(of_each[2].item(), abs=1e-12)


def test_tie_models_without_ties_are_bradley_terry():
    difference = torch.tensor([-2.0, 0.3, 1.5], dtype=torch.float64)
    decided = torch.zeros(3, dtype=torch.bool)
    expected = bradley_terry_loss(difference, decided, 0.0)
    nearly_one = torch.tensor(1e-12, dtype=torch.float64)
    assert torch.allclose(rao_kupper_loss(difference, decided, nearly_one), expected, atol=1e-11)
    nearly_none = torch.tensor(-30.0, dtype=torch.float64)
    assert torch.allclose(davidson_loss(difference, decided, nearly_none), expected, atol=1e-11)


def test_plackett_luce_by_hand():
    """Weights 3, 1, 2 in this order: 3/6 · 1/3 · 2/2; the second row is a pair with 1 over 3."""
    ranked = torch.tensor([[3.0, 1.0, 2.0], [1.0, 3.0, float("nan")]]).log().requires_grad_()
    mask = torch.tensor([[True] * 3, [True, True, False]])
    losses = plackett_luce_loss(ranked, mask)
    assert losses.tolist() == pytest.approx([-math.log(1 / 6), -math.log(1 / 4)], rel=1e-6)
    losses.sum().backward()
    assert ranked.grad is not None
    # Minus one, and the probability of being taken at each place where it still stood.
    assert ranked.grad[0].tolist() == pytest.approx([3 / 6 - 1, 1 / 6 + 1 / 3 - 1, 2 / 6 + 2 / 3 + 1 - 1], abs=1e-6)
    assert ranked.grad[1].tolist() == pytest.approx([1 / 4 - 1, 3 / 4 + 1 - 1, 0], abs=1e-6)


def test_a_ranking_of_two_is_bradley_terry():
    scores = torch.tensor([[0.4, -1.1]], dtype=torch.float64)
    loss = plackett_luce_loss(scores, torch.ones(1, 2, dtype=torch.bool))
    assert loss.item() == pytest.approx(bradley_terry_loss(scores[:, 0] - scores[:, 1], DECIDED, 0.0).item(), abs=1e-12)


def test_displacement_is_taken_from_the_margin_of_a_decided_pair():
    better, worse = torch.tensor([-1.0, 1.0, -1.0]), torch.tensor([-4.0, 0.0, -4.0])
    assert displacement(better).tolist() == [1, 0, 1]
    losses = dpo_loss(better, worse, torch.tensor([False, False, True]), 0.5, 0.0, 2.0)
    tie = 0.5 * (math.log(1 + math.exp(-1.5)) + math.log(1 + math.exp(1.5)))
    expected = [math.log(1 + math.exp(-(1.5 - 2.0))), math.log(1 + math.exp(-0.5)), tie]
    assert losses.tolist() == pytest.approx(expected, rel=1e-6)


def test_ipo_by_hand():
    better, worse = torch.tensor([1.0, 1.0]), torch.tensor([-2.0, -2.0])
    losses = ipo_loss(better, worse, torch.tensor([False, True]), 0.25)
    assert losses.tolist() == pytest.approx([(3 - 2) ** 2, 9])
