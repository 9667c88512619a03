"""What no training is needed for: best-of-n, and the best that any policy can do, both from samples of the reference.

Arrays are [P, N]: N samples of the reference to each of P prompts.
"""

import math

import numpy as np

Scores = np.ndarray


def best_of_n(chosen_by: Scores, measured: Scores, n: int) -> np.ndarray:
    """The mean of `measured` at the best by `chosen_by` over all sets of n of the N samples, [P].

    The i-th worst is the best of C(i - 1, n - 1) of the C(N, n) sets; among equals the first counts as the worse.
    """
    size = chosen_by.shape[1]
    assert 1 <= n <= size, f"best of {n} out of {size} samples"
    weights = np.array([math.comb(place, n - 1) / math.comb(size, n) for place in range(size)])
    order = np.argsort(chosen_by, axis=1, kind="stable")
    return np.take_along_axis(measured, order, axis=1) @ weights


def tilted(rewards: Scores, kl_weight: float) -> tuple[np.ndarray, np.ndarray]:
    """(KL, reward) per prompt, [P] each, of π*(y|x) ∝ π_ref(y|x) exp(r / β), which no policy of equal KL exceeds.

    Self-normalised over the samples: w = softmax(r / β), reward Σ w r, KL Σ w log(N w). The KL cannot exceed log N,
    and is too small as it comes near to it.
    """
    logits = rewards / kl_weight
    logits = logits - logits.max(axis=1, keepdims=True)
    weights = np.exp(logits)
    weights /= weights.sum(axis=1, keepdims=True)
    log_ratio = np.log(np.maximum(weights * rewards.shape[1], 1e-300))
    return (weights * log_ratio).sum(axis=1), (weights * rewards).sum(axis=1)


def optimum(rewards: Scores, num_points: int = 40) -> list[tuple[float, float]]:
    """(mean KL, mean reward) of `tilted` for kl_weights from weak to strong, up to a mean KL of half of log N."""
    spread = float(rewards.std()) or 1.0
    points = []
    for kl_weight in spread * np.geomspace(30, 0.03, num_points):
        kl, reward = tilted(rewards, float(kl_weight))
        if kl.mean() > 0.5 * math.log(rewards.shape[1]):
            break
        points.append((float(kl.mean()), float(reward.mean())))
    return points
