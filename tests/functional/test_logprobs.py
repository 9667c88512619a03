import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from posttrain.functional.logprobs import (
    MASKED,
    distribution_logits,
    keep_min_p,
    keep_top_k,
    keep_top_p,
    sequence_logprobs,
    token_logprobs,
)


def kept(filtered: torch.Tensor) -> list[int]:
    return (filtered > MASKED / 2).nonzero().flatten().tolist()


def test_top_k_by_hand():
    logits = torch.tensor([1.0, 3.0, 2.0, 0.0])
    assert kept(keep_top_k(logits, 2)) == [1, 2]
    assert kept(keep_top_k(logits, 4)) == kept(keep_top_k(logits, 9)) == [0, 1, 2, 3]


def test_top_k_keeps_ties_with_the_last_kept():
    assert kept(keep_top_k(torch.tensor([2.0, 1.0, 2.0, 2.0]), 2)) == [0, 2, 3]


def test_top_p_by_hand():
    logits = torch.tensor([0.1, 0.5, 0.15, 0.25]).log()
    assert kept(keep_top_p(logits, 0.4)) == [1]
    assert kept(keep_top_p(logits, 0.7)) == [1, 3]
    assert kept(keep_top_p(logits, 0.8)) == [1, 2, 3]
    assert kept(keep_top_p(logits, 0.99)) == [0, 1, 2, 3]


def test_top_p_of_equal_logits_keeps_the_first_ones():
    for width in (4, 100):  # a sort that is not stable shuffles equal logits of longer rows
        assert kept(keep_top_p(torch.zeros(width), 2.5 / width)) == [0, 1, 2]


def test_min_p_by_hand():
    logits = torch.tensor([0.1, 0.5, 0.15, 0.25]).log()
    assert kept(keep_min_p(logits, 0.6)) == [1]
    assert kept(keep_min_p(logits, 0.4)) == [1, 3]
    assert kept(keep_min_p(logits, 0.25)) == [1, 2, 3]
    assert kept(keep_min_p(logits, 0.1)) == [0, 1, 2, 3]


def test_a_filter_always_keeps_the_most_likely_token():
    logits = torch.tensor([50.0, 0.0, 0.0])
    assert kept(keep_top_p(logits, 1e-9)) == [0]


def brute_force(logits: list[float], token: int, temperature: float, top_k: int, top_p: float) -> float:
    """log π(token), step by step over a Python list of distinct logits."""
    scaled = [value / temperature for value in logits]
    order = sorted(range(len(scaled)), key=lambda i: -scaled[i])
    if top_k:
        order = order[:top_k]
    total = sum(math.exp(scaled[i]) for i in order)
    support, reached = [], 0.0
    for i in order:
        if top_p < 1 and reached >= top_p:
            break
        support.append(i)
        reached += math.exp(scaled[i]) / total
    normaliser = sum(math.exp(scaled[i]) for i in {*support, token})
    return scaled[token] - math.log(normaliser)


@given(st.permutations([-1.3, 0.0, 0.4, 1.1, 2.0, 2.9]), st.integers(0, 5), st.sampled_from([0.5, 0.7, 1.0, 2.0]),
       st.integers(0, 7), st.sampled_from([0.3, 0.6, 0.9, 1.0]))  # fmt: skip
@settings(max_examples=200, deadline=None)
def test_token_logprob_is_the_renormalised_one(logits, token, temperature, top_k, top_p):
    actual = token_logprobs(torch.tensor(logits), torch.tensor(token), temperature, top_k, top_p)
    assert actual.item() == pytest.approx(brute_force(logits, token, temperature, top_k, top_p), abs=1e-5)


def test_a_filtered_token_that_was_sampled_stays_in_the_support():
    logits = torch.tensor([3.0, 2.0, 1.0], requires_grad=True)
    logprob = token_logprobs(logits, torch.tensor(2), 1.0, 1, 1.0)
    assert logprob.item() == pytest.approx(1 - math.log(math.exp(3) + math.exp(1)))
    logprob.backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()
    assert logits.grad[1] == 0  # not in the support
    assert logits.grad[2] > 0


def test_no_filter_is_the_log_softmax_and_half_precision_is_scored_in_float32():
    logits = torch.randn(2, 3, 7, generator=torch.Generator().manual_seed(0)).bfloat16()
    ids = torch.tensor([[0, 1, 2], [3, 4, 6]])
    expected = logits.float().log_softmax(-1).gather(-1, ids.unsqueeze(-1)).squeeze(-1)
    actual = token_logprobs(logits, ids, 1.0, 0, 1.0)
    assert actual.dtype == torch.float32
    assert torch.allclose(actual, expected, atol=1e-6)


def test_the_order_is_temperature_then_top_k_then_top_p():
    logits = torch.tensor([0.4, 0.3, 0.2, 0.1]).log()
    # At temperature 0.5 the shares are 16 : 9 : 4 : 1; the best three of them 16/29, 9/29, 4/29.
    filtered = distribution_logits(logits, 0.5, 3, 0.86)
    assert kept(filtered) == [0, 1]  # 25/29 = 0.862 is enough; of all four, 25/30 would not be
    assert filtered.softmax(-1)[:2].tolist() == pytest.approx([16 / 25, 9 / 25])


def test_sequence_logprobs_sums_the_mask():
    logprobs = torch.tensor([[-1.0, -2.0, float("nan")]])
    assert sequence_logprobs(logprobs, torch.tensor([[True, True, False]])).tolist() == [-3]
