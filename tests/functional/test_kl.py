import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from posttrain.functional.kl import best_of_n_kl, entropy, exact_kl, k1, k2, k3

LOG_RATIOS = st.floats(-20, 20, width=32)


def test_estimators_by_hand():
    ratio = torch.tensor([math.log(2.0), 0.0, -math.log(4.0)])
    assert k1(ratio).tolist() == pytest.approx([math.log(2), 0, -math.log(4)])
    assert k2(ratio).tolist() == pytest.approx([math.log(2) ** 2 / 2, 0, math.log(4) ** 2 / 2])
    assert k3(ratio).tolist() == pytest.approx([1 / 2 - 1 + math.log(2), 0, 4 - 1 - math.log(4)])


@given(LOG_RATIOS)
@settings(max_examples=100, deadline=None)
def test_k2_and_k3_are_never_negative(log_ratio):
    ratio = torch.tensor(log_ratio)
    assert k2(ratio) >= 0
    assert k3(ratio) >= 0


def test_k3_of_a_small_ratio_is_not_lost_to_rounding():
    ratio = torch.tensor([1e-4, -1e-4], dtype=torch.float64)
    # e^(-r) - 1 + r = r^2/2 - r^3/6 + ...
    assert k3(ratio).tolist() == pytest.approx([0.5e-8 - 1e-12 / 6, 0.5e-8 + 1e-12 / 6], rel=1e-6)


def test_k1_and_k3_are_unbiased():
    logits = torch.tensor([[1.0, 0.0, -1.0], [0.5, 0.5, 0.0]], dtype=torch.float64)
    p, q = logits.log_softmax(-1)
    for estimator in (k1, k3):
        assert (p.exp() * estimator(p - q)).sum().item() == pytest.approx(exact_kl(p, q).item(), abs=1e-12)


def test_exact_kl_by_hand():
    p, q = torch.tensor([0.5, 0.5]), torch.tensor([0.25, 0.75])
    expected = 0.5 * math.log(2) + 0.5 * math.log(2 / 3)
    assert exact_kl(p.log(), q.log()).item() == pytest.approx(expected)


def test_exact_kl_where_the_policy_never_goes():
    p, q = torch.tensor([1.0, 0.0]), torch.tensor([0.5, 0.5])
    assert exact_kl(p.log(), q.log()).item() == pytest.approx(math.log(2))


@given(st.lists(st.floats(-5, 5, width=32), min_size=6, max_size=6))
@settings(max_examples=100, deadline=None)
def test_exact_kl_is_zero_only_for_equal_distributions(numbers):
    p, q = torch.tensor(numbers, dtype=torch.float64).view(2, 3).log_softmax(-1)
    assert exact_kl(p, p) == 0
    assert exact_kl(p, q) >= -1e-15
    if (p - q).abs().max() > 1e-3:
        assert exact_kl(p, q) > 0


def test_entropy_by_hand():
    logprobs = torch.tensor([[0.5, 0.25, 0.25], [1.0, 0.0, 0.0]]).log().requires_grad_()
    values = entropy(logprobs)
    assert values.tolist() == pytest.approx([1.5 * math.log(2), 0.0], rel=1e-6)
    values.sum().backward()
    assert logprobs.grad is not None
    assert logprobs.grad.isfinite().all()


def test_best_of_n_by_hand():
    assert best_of_n_kl(1) == 0
    assert best_of_n_kl(4) == pytest.approx(math.log(4) - 0.75)


@pytest.mark.parametrize("num", [2, 4])
def test_best_of_n_is_at_the_bound_without_ties_and_below_it_with_them(num):
    """Best-of-n of a uniform policy over m outcomes has the k-th worst with (k/m)^n − ((k−1)/m)^n."""

    def kl(outcomes: int) -> float:
        shares = torch.arange(outcomes + 1, dtype=torch.float64) / outcomes
        best = (shares**num).diff()
        return exact_kl(best.log(), torch.full_like(best, 1 / outcomes).log()).item()

    assert kl(3) < best_of_n_kl(num) - 0.01
    assert kl(100_000) == pytest.approx(best_of_n_kl(num), abs=1e-4)
    assert kl(100_000) < best_of_n_kl(num)
