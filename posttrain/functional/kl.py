"""Kullback-Leibler divergence: estimates from sampled tokens, and the exact sum over the vocabulary.

`log_ratio` = log π − log π_ref of sampled tokens. Source of k1, k2, k3: Schulman 2020, joschu.net/blog/kl-approx.html.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor


def k1(log_ratio: Float[Tensor, "*S"]) -> Float[Tensor, "*S"]:
    """ρ. Unbiased, high variance, can be negative."""
    return log_ratio


def k2(log_ratio: Float[Tensor, "*S"]) -> Float[Tensor, "*S"]:
    """½ρ². Biased, low variance, never negative."""
    return 0.5 * log_ratio**2


def k3(log_ratio: Float[Tensor, "*S"]) -> Float[Tensor, "*S"]:
    """e^(−ρ) − 1 + ρ. Unbiased, low variance, never negative."""
    return torch.expm1(-log_ratio) + log_ratio


def exact_kl(logprobs: Float[Tensor, "*S V"], reference_logprobs: Float[Tensor, "*S V"]) -> Float[Tensor, "*S"]:
    """Σ_a π(a) (log π(a) − log π_ref(a)) of normalised log-probabilities; 0·log 0 counts as 0."""
    probabilities = logprobs.exp()
    return torch.where(probabilities > 0, probabilities * (logprobs - reference_logprobs), 0.0).sum(-1)


def best_of_n_kl(num_samples: int) -> float:
    """log n − (n − 1)/n nats: what the KL of best-of-n to the sampled policy is at most, and is without ties.

    Source: Stiennon et al. 2020, arXiv:2009.01325, appendix G.3; that it is a bound, Beirami et al. 2024, 2401.01879.
    """
    return math.log(num_samples) - (num_samples - 1) / num_samples


def entropy(logprobs: Float[Tensor, "*S V"]) -> Float[Tensor, "*S"]:
    """−Σ_a π(a) log π(a) of normalised log-probabilities; 0·log 0 counts as 0."""
    probabilities = logprobs.exp()
    return -(probabilities * torch.where(probabilities > 0, logprobs, 0.0)).sum(-1)
