"""Against log-softmax of all logits at once, with gradients by autograd."""

import math

import pytest
import torch

from posttrain.functional import head_logprobs as module
from posttrain.functional.head_logprobs import head_logprobs

TOKENS, WIDTH, WORDS = 7, 5, 13


def problem(has_bias: bool, dtype: torch.dtype = torch.float32) -> list[torch.Tensor | None]:
    draws = torch.Generator().manual_seed(0)
    hidden, weight, bias = (
        torch.randn(*shape, generator=draws, dtype=torch.float64).to(dtype).requires_grad_()
        for shape in ((TOKENS, WIDTH), (WORDS, WIDTH), (WORDS,))
    )
    return [hidden, weight, bias if has_bias else None]


IDS = torch.tensor([0, 12, 3, 4, 5, 0, 11])  # the first and the last word, and words at the edges of tiles


def plain(hidden, weight, bias, temperature):
    logits = hidden.float() @ weight.float().t()
    logits = logits if bias is None else logits + bias.float()
    return (logits / temperature).log_softmax(-1).gather(1, IDS.unsqueeze(1)).squeeze(1)


@pytest.fixture(params=["kept", "tiled"])
def way(request, monkeypatch) -> str:
    if request.param == "tiled":
        for name, value in {"MOST_KEPT": 0, "TILE_TOKENS": 3, "TILE_WORDS": 4}.items():
            monkeypatch.setattr(module, name, value)
    return request.param


def test_by_hand():
    """Two words with logits 2h and 0."""
    hidden, weight = torch.tensor([[1.0], [-1.0]]), torch.tensor([[2.0], [0.0]])
    expected = [2 - math.log(math.exp(2) + 1), -math.log(math.exp(-2) + 1)]
    assert head_logprobs(hidden, weight, None, torch.tensor([0, 1]), 1.0).tolist() == pytest.approx(expected)
    cooler = [1 - math.log(math.exp(1) + 1), -math.log(math.exp(-1) + 1)]
    assert head_logprobs(hidden, weight, None, torch.tensor([0, 1]), 2.0).tolist() == pytest.approx(cooler)


@pytest.mark.parametrize("temperature", [1.0, 0.6])
@pytest.mark.parametrize("has_bias", [False, True])
def test_values_and_gradients(has_bias, temperature, way):
    ours, theirs = problem(has_bias), problem(has_bias)
    factors = torch.linspace(-1.0, 2.0, TOKENS)
    actual, expected = head_logprobs(*ours, IDS, temperature), plain(*theirs, temperature)
    assert torch.allclose(actual, expected, atol=1e-6)
    (actual * factors).sum().backward()
    (expected * factors).sum().backward()
    for one, other in zip(ours, theirs, strict=True):
        if one is not None:
            assert torch.allclose(one.grad, other.grad, atol=1e-5)


@pytest.mark.parametrize("frozen", [0, 1, 2])
def test_what_is_frozen_gets_no_gradient(frozen, way):
    given, expected = problem(has_bias=True), problem(has_bias=True)
    given[frozen].requires_grad_(False)
    head_logprobs(*given, IDS, 1.0).sum().backward()
    plain(*expected, 1.0).sum().backward()
    for number in range(3):
        if number == frozen:
            assert given[number].grad is None
        else:
            assert torch.allclose(given[number].grad, expected[number].grad, atol=1e-5)


def test_large_logits_do_not_overflow(way):
    hidden, weight, _ = problem(has_bias=False)
    with torch.no_grad():
        actual = head_logprobs(hidden * 1e4, weight, None, IDS, 1.0)
        assert torch.allclose(actual, plain(hidden * 1e4, weight, None, 1.0), rtol=1e-5)
    assert actual.isfinite().all()


def test_sums_over_tiles_are_in_float32(monkeypatch):
    """100 tiles of a bfloat16 head: a gradient is then off by its own rounding, not by that of each sum."""
    for name, value in {"MOST_KEPT": 0, "TILE_TOKENS": 3, "TILE_WORDS": 4}.items():
        monkeypatch.setattr(module, name, value)
    draws = torch.Generator().manual_seed(0)
    exact = [torch.randn(n, WIDTH, generator=draws).bfloat16().float().requires_grad_() for n in (TOKENS, 400)]
    halved = [each.detach().bfloat16().requires_grad_() for each in exact]
    logprobs, expected = head_logprobs(*halved, None, IDS, 1.0), plain(*exact, None, 1.0)
    assert logprobs.dtype == torch.float32
    logprobs.sum().backward()
    expected.sum().backward()
    rounding = torch.finfo(torch.bfloat16).eps / 2
    for one, other in zip(halved, exact, strict=True):
        assert one.grad.dtype == torch.bfloat16
        assert (one.grad.float() - other.grad).norm() < rounding * other.grad.norm()


def test_a_second_backward_pass_gives_the_same_again(way):
    hidden, weight, _ = problem(has_bias=False)
    total = head_logprobs(hidden, weight, None, IDS, 1.0).sum()
    first = torch.autograd.grad(total, (hidden, weight), retain_graph=True)
    second = torch.autograd.grad(total, (hidden, weight))
    for one, other in zip(first, second, strict=True):
        assert torch.allclose(one, other, atol=1e-6)


def test_nothing_to_score(way):
    hidden, weight, _ = problem(has_bias=False)
    none = head_logprobs(hidden[:0], weight, None, IDS[:0], 1.0)
    assert none.shape == (0,)
    none.sum().backward()
    assert not weight.grad.any()


def test_under_autocast_both_passes_read_rounded_numbers():
    generator = torch.Generator().manual_seed(0)
    hidden, weight = (torch.randn(rows, 6, generator=generator) for rows in (5, 11))
    ids = torch.tensor([0, 3, 10, 7, 7])
    gradients = []
    for is_rounded_before in (False, True):
        leaves = [each.clone().requires_grad_() for each in (hidden, weight)]
        if is_rounded_before:
            value = head_logprobs(*(leaf.bfloat16() for leaf in leaves), None, ids, 0.7)
        else:
            with torch.autocast("cpu", dtype=torch.bfloat16):
                value = head_logprobs(*leaves, None, ids, 0.7)
        assert value.dtype == torch.float32
        value.sum().backward()
        gradients.append([value, *(leaf.grad for leaf in leaves)])
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(*gradients, strict=True))
