import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from posttrain.functional.policy_gradient import (
    clipped_surrogate_loss,
    clipped_value_loss,
    explained_variance,
    is_clipped,
    surrogate_loss,
    value_loss,
)

# ratio, advantage → loss with clip 0.2, clipped
CASES = (
    (1.0, 2.0, -2.0, False),
    (1.5, 2.0, -1.2 * 2.0, True),  # no more is earned above 1.2
    (0.5, 2.0, -0.5 * 2.0, False),
    (1.5, -2.0, 1.5 * 2.0, False),
    (0.5, -2.0, 0.8 * 2.0, True),  # no more is earned below 0.8
    (1.1, -1.0, 1.1, False),
)


@pytest.mark.parametrize(("ratio", "advantage", "loss", "clipped"), CASES)
def test_surrogate_by_hand(ratio, advantage, loss, clipped):
    old = torch.tensor([[-1.0]])
    logprobs = (old + math.log(ratio)).requires_grad_()
    value = clipped_surrogate_loss(logprobs, old, torch.tensor([[advantage]]), 0.2)
    assert value.item() == pytest.approx(loss, rel=1e-5)
    assert is_clipped(logprobs - old, torch.tensor([[advantage]]), 0.2).item() is clipped
    value.sum().backward()
    assert logprobs.grad is not None
    assert logprobs.grad.item() == pytest.approx(0 if clipped else -ratio * advantage, rel=1e-5)


@given(st.floats(0.801, 1.199), st.floats(-5, 5))
@settings(max_examples=50, deadline=None)
def test_surrogate_within_the_clip_is_minus_ratio_times_advantage(ratio, advantage):
    old = torch.zeros(1, 1, dtype=torch.float64)
    loss = clipped_surrogate_loss(old + math.log(ratio), old, torch.full_like(old, advantage), 0.2)
    assert loss.item() == pytest.approx(-ratio * advantage, abs=1e-12)


@pytest.mark.parametrize(
    ("value", "old", "target", "loss"),
    [
        (1.0, 1.0, 3.0, 0.5 * 4.0),
        (2.0, 1.0, 3.0, 0.5 * (1.2 - 3.0) ** 2),  # held back at 1.2: the larger loss counts
        (2.0, 1.0, 0.0, 0.5 * 4.0),  # held at 1.2 would be the smaller loss
        (0.0, 1.0, 0.5, 0.5 * 0.25),  # held at 0.8 gives 0.09, moving on gives 0.25
        (1.1, 1.0, 3.0, 0.5 * 1.9**2),
    ],
)
def test_value_loss_by_hand(value, old, target, loss):
    actual = clipped_value_loss(torch.tensor([[value]]), torch.tensor([[old]]), torch.tensor([[target]]), 0.2)
    assert actual.item() == pytest.approx(loss, rel=1e-5)


def test_explained_variance_by_hand():
    mask = torch.tensor([[True, True, True, False]])
    returns = torch.tensor([[1.0, 2.0, 3.0, float("nan")]])
    # residuals 1, 1, 2 of variance 2/9; returns of variance 6/9
    values = torch.tensor([[0.0, 1.0, 1.0, float("nan")]])
    assert explained_variance(values, returns, mask).item() == pytest.approx(1 - 2 / 6)
    assert explained_variance(returns, returns, mask) == 1
    assert explained_variance(torch.full_like(values, 7.0), returns, mask) == 0


def test_without_a_clip_the_ratio_earns_what_it_is():
    old = torch.tensor([[-1.0, -2.0]])
    logprobs = (old + torch.tensor([[3.0, 0.25]]).log()).requires_grad_()
    losses = surrogate_loss(logprobs, old, torch.tensor([[2.0, -1.0]]))
    assert losses.flatten().tolist() == pytest.approx([-6.0, 0.25], rel=1e-6)
    losses.sum().backward()
    assert logprobs.grad is not None
    assert logprobs.grad.flatten().tolist() == pytest.approx([-6.0, 0.25], rel=1e-6)


def test_value_loss_is_half_a_square():
    assert value_loss(torch.tensor([[1.0, -2.0]]), torch.tensor([[3.0, -2.5]])).tolist() == [[2.0, 0.125]]
