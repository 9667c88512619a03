"""Log-probabilities straight from last hidden states, without keeping the logits of all tokens.

Most of what a small model with a large vocabulary holds and computes stands behind its head: N tokens × V logits, their
exponentials and their gradient. Here a rectangle of logits lives at a time, and only the logarithm of each token's sum
is kept; the backward pass makes each rectangle again and turns it into its gradient in place.
"""

from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

MOST_KEPT = 2**24
"""Logits (64 MiB in float32) that are kept for the backward pass; of larger problems none are."""
TILE_TOKENS, TILE_WORDS = 1024, 2048
"""The rectangle that lives at a time when none are kept: 8 MiB in float32, about what a CPU's cache holds."""


def head_logprobs(
    hidden: Float[Tensor, "N D"],
    weight: Float[Tensor, "V D"],
    bias: Float[Tensor, "V"] | None,
    ids: Int[Tensor, "N"],
    temperature: float,
) -> Float[Tensor, "N"]:
    """log softmax((hidden · weightᵀ + bias) / temperature) at `ids`, in float32, with gradients by hand.

    ∂/∂logit_v of log π(a) is 1[v = a] − π(v). Logits of at most MOST_KEPT are kept, which saves a product, and become
    their own gradient; a second backward pass through the same graph makes them again. Under autocast the products are
    in its format and all sums in float32.
    """
    device = hidden.device.type
    if torch.is_autocast_enabled(device):
        dtype = torch.get_autocast_dtype(device)
        hidden, weight = hidden.to(dtype), weight.to(dtype)
    keeps = torch.is_grad_enabled() and len(ids) * len(weight) <= MOST_KEPT
    logprobs: Tensor = _HeadLogprobs.apply(hidden, weight, bias, ids, temperature, keeps)  # pyright: ignore[reportAssignmentType]
    return logprobs


class _HeadLogprobs(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, ids: Tensor, temperature: float, keeps: bool
    ) -> Tensor:
        ctx.save_for_backward(hidden, weight, bias, ids)
        ctx.temperature, ctx.logits = temperature, None
        if keeps:
            ctx.logits = _logits(hidden, weight, bias, temperature)
            ctx.log_sum = ctx.logits.logsumexp(-1)
            return ctx.logits.gather(1, ids.unsqueeze(1)).squeeze(1) - ctx.log_sum
        chosen, largest = (torch.full_like(ids, fill, dtype=torch.float32) for fill in (0.0, float("-inf")))
        total = torch.zeros_like(chosen)
        for rows, words in _tiles(len(hidden), len(weight)):
            tile = _logits(hidden[rows], weight[words], None if bias is None else bias[words], temperature)
            number, column = _places(ids[rows], words)
            chosen[rows][number] = tile[number, column]
            new_largest = torch.maximum(largest[rows], tile.amax(-1))
            total[rows] *= (largest[rows] - new_largest).exp()
            total[rows] += tile.sub_(new_largest.unsqueeze(1)).exp_().sum(-1)
            largest[rows] = new_largest
        ctx.log_sum = largest + total.log()
        return chosen - ctx.log_sum

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients
        hidden, weight, bias, ids = ctx.saved_tensors
        # Sums over tiles are in float32, whatever the numbers of the model.
        of_hidden, of_weight, of_bias = (
            torch.zeros_like(each, dtype=torch.float32) if is_needed else None
            for each, is_needed in zip((hidden, weight, bias), ctx.needs_input_grad[:3], strict=True)
        )
        kept, ctx.logits = ctx.logits, None
        whole = slice(0, len(hidden)), slice(0, len(weight))
        for rows, words in _tiles(len(hidden), len(weight)) if kept is None else [whole]:
            if kept is not None:
                tile = kept
            else:
                tile = _logits(hidden[rows], weight[words], None if bias is None else bias[words], ctx.temperature)
            tile.sub_(ctx.log_sum[rows].unsqueeze(1)).exp_().mul_(-gradient[rows].unsqueeze(1))
            number, column = _places(ids[rows], words)
            tile[number, column] += gradient[rows][number]
            if ctx.temperature != 1.0:
                tile.div_(ctx.temperature)
            if of_bias is not None:
                of_bias[words] += tile.sum(0)
            tile = tile.to(hidden.dtype)
            if of_hidden is not None:
                _add_product(of_hidden[rows], tile, weight[words])
            if of_weight is not None:
                _add_product(of_weight[words], tile.t(), hidden[rows])
        dtypes = (hidden.dtype, weight.dtype, None if bias is None else bias.dtype)
        sums = zip((of_hidden, of_weight, of_bias), dtypes, strict=True)
        return *(None if each is None else each.to(dtype) for each, dtype in sums), None, None, None


def _logits(hidden: Tensor, weight: Tensor, bias: Tensor | None, temperature: float) -> Float[Tensor, "N V"]:
    logits = (hidden @ weight.t()).float()
    if bias is not None:
        logits += bias
    return logits if temperature == 1.0 else logits.div_(temperature)


def _tiles(num_tokens: int, num_words: int) -> Iterator[tuple[slice, slice]]:
    for first in range(0, num_tokens, TILE_TOKENS):
        for word in range(0, num_words, TILE_WORDS):
            yield slice(first, first + TILE_TOKENS), slice(word, min(word + TILE_WORDS, num_words))


def _places(ids: Int[Tensor, "N"], words: slice) -> tuple[Int[Tensor, "K"], Int[Tensor, "K"]]:
    """Which tokens are among these words, and their columns there."""
    number = ((ids >= words.start) & (ids < words.stop)).nonzero().squeeze(1)
    return number, ids[number] - words.start


def _add_product(total: Float[Tensor, "N M"], left: Float[Tensor, "N K"], right: Float[Tensor, "K M"]) -> None:
    if left.dtype == total.dtype:
        total.addmm_(left, right)
    else:
        total += left @ right
