"""From logits to the log-probabilities of given tokens, under the distribution that sampled them."""

import math

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

MASKED = -1e9
"""Log-probability of a token that a filter removed: finite, so that no gradient becomes NaN."""


def keep_top_k(logits: Float[Tensor, "*S V"], top_k: int) -> Float[Tensor, "*S V"]:
    """Keep the k largest logits (and ties with the k-th). Source: Fan et al. 2018, arXiv:1805.04833, section 5.3."""
    if top_k >= logits.shape[-1]:
        return logits
    threshold = logits.topk(top_k, dim=-1).values[..., -1:]
    return logits.masked_fill(logits < threshold, MASKED)


def keep_top_p(logits: Float[Tensor, "*S V"], top_p: float) -> Float[Tensor, "*S V"]:
    """Keep the smallest set of largest logits whose probability reaches p. Source: Holtzman et al. 2020, 1904.09751."""
    sorted_logits, order = logits.sort(dim=-1, descending=True, stable=True)  # equal logits always fall the same way
    probabilities = sorted_logits.softmax(-1)
    before = probabilities.cumsum(-1) - probabilities
    removed = torch.zeros_like(logits, dtype=torch.bool).scatter(-1, order, before >= top_p)
    return logits.masked_fill(removed, MASKED)


def keep_min_p(logits: Float[Tensor, "*S V"], min_p: float) -> Float[Tensor, "*S V"]:
    """Keep what is at least min_p times as likely as the likeliest token. Source: Nguyen et al. 2024, 2407.01082."""
    return logits.masked_fill(logits < logits.amax(-1, keepdim=True) + math.log(min_p), MASKED)


def distribution_logits(
    logits: Float[Tensor, "*S V"], temperature: float, top_k: int, top_p: float, min_p: float = 0.0
) -> Float[Tensor, "*S V"]:
    """Logits of the sampling distribution: temperature, then top-k, top-p and min-p.

    top_k 0, top_p 1 and min_p 0 mean no filter.
    """
    logits = logits.float()
    if temperature != 1.0:
        logits = logits / temperature
    if top_k > 0:
        logits = keep_top_k(logits, top_k)
    if top_p < 1.0:
        logits = keep_top_p(logits, top_p)
    if min_p > 0.0:
        logits = keep_min_p(logits, min_p)
    return logits


def token_logprobs(
    logits: Float[Tensor, "*S V"],
    ids: Int[Tensor, "*S"],
    temperature: float,
    top_k: int,
    top_p: float,
    min_p: float = 0.0,
) -> Float[Tensor, "*S"]:
    """log π(id) under the sampling distribution of these logits.

    A token that was sampled under other weights stays in the support: it counts as kept even where today's
    filter would remove it. So the log-probability of a sampled token is always finite, and the ratio of a
    policy to itself is 1.
    """
    filtered = distribution_logits(logits, temperature, top_k, top_p, min_p)
    chosen = logits.float().gather(-1, ids.unsqueeze(-1)) / temperature
    if top_k > 0 or top_p < 1.0 or min_p > 0.0:
        filtered = filtered.scatter(-1, ids.unsqueeze(-1), chosen)
    return chosen.squeeze(-1) - filtered.logsumexp(-1)


def sequence_logprobs(logprobs: Float[Tensor, "B R"], mask: Bool[Tensor, "B R"]) -> Float[Tensor, "B"]:
    """log π(y|x) = Σ_t log π(a_t|s_t) over the mask."""
    return torch.where(mask, logprobs, 0.0).sum(-1)
