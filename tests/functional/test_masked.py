import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from posttrain.functional.masked import masked_mean, masked_sum, moments, whiten

X = torch.tensor([[1.0, 2.0, float("nan")], [4.0, float("inf"), float("nan")]])
MASK = torch.tensor([[True, True, False], [True, False, False]])


def test_sum_and_mean_by_hand():
    assert masked_sum(X, MASK) == 1 + 2 + 4
    assert masked_mean(X, MASK) == pytest.approx(7 / 3)


def test_mean_of_nothing_is_zero():
    assert masked_mean(X, torch.zeros_like(MASK)) == 0


def test_moments_by_hand():
    assert moments(X, MASK).tolist() == [3, 7, 1 + 4 + 16]


def test_moments_add_up_over_parts():
    both = moments(X[:1], MASK[:1]) + moments(X[1:], MASK[1:])
    assert torch.equal(both, moments(X, MASK))


def test_whiten_by_hand():
    # mean 7/3; Σ(x−m)² = 16/9 + 1/9 + 25/9 = 42/9; unbiased variance 42/18 = 7/3
    std = math.sqrt(7 / 3)
    shifted = whiten(X, MASK, moments(X, MASK), should_shift=True)
    scaled = whiten(X, MASK, moments(X, MASK), should_shift=False)
    assert shifted.flatten().tolist() == pytest.approx([-4 / 3 / std, -1 / 3 / std, 0, 5 / 3 / std, 0, 0])
    assert scaled.flatten().tolist() == pytest.approx([1 / std, 2 / std, 0, 4 / std, 0, 0])


@given(st.lists(st.floats(-100, 100, width=32), min_size=3, max_size=20), st.integers(0, 5))
@settings(max_examples=50, deadline=None)
def test_whitened_has_mean_0_and_variance_1_and_ignores_what_is_masked(numbers, num_masked):
    real = torch.tensor(numbers)
    if real.std() < 0.1:
        return
    x = torch.cat([real, torch.full((num_masked,), float("nan"))])
    mask = torch.arange(len(x)) < len(real)
    whitened = whiten(x, mask, moments(x, mask), should_shift=True)
    assert whitened[mask].mean().abs() < 1e-4
    assert whitened[mask].std() == pytest.approx(1, abs=1e-3)
    assert torch.equal(whitened[~mask], torch.zeros(num_masked))
    assert torch.equal(whitened[mask], whiten(real, mask[mask], moments(real, mask[mask]), should_shift=True))


def test_whitening_one_value_or_equal_values_stays_finite():
    for x in (torch.tensor([3.0]), torch.tensor([3.0, 3.0])):
        mask = torch.ones_like(x, dtype=torch.bool)
        assert torch.equal(whiten(x, mask, moments(x, mask), should_shift=True), torch.zeros_like(x))


@pytest.mark.parametrize("value", [0.1, 1.0, -3.3, 1e4])
def test_equal_values_are_not_scaled(value):
    x = torch.full((7,), value)
    mask = torch.arange(7) < 6
    assert torch.equal(whiten(x, mask, moments(x, mask), should_shift=False)[:6], x[:6])
    x[0] *= 1.001
    assert whiten(x, mask, moments(x, mask), should_shift=False)[1].abs() > 100


def test_no_gradient_comes_from_masked_cells():
    x = X.clone().requires_grad_()
    masked_sum(x * 2, MASK).backward()
    assert x.grad is not None
    assert torch.equal(x.grad, 2.0 * MASK)
