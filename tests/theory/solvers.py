"""Maximum likelihood of paired comparisons and rankings by repeated formulas, without gradients or losses.

Minorisation-maximisation of Hunter 2004, "MM algorithms for generalized Bradley-Terry models", Annals of Statistics 32;
Davidson's by the equations of Davidson 1970, section 3. Strengths are γ = e^score; scores are given with mean 0.
"""

import numpy as np

SWEEPS = 5000


def scores_of(strengths: np.ndarray) -> np.ndarray:
    return np.log(strengths) - np.log(strengths).mean()


def bradley_terry_scores(wins: np.ndarray) -> np.ndarray:
    """γ_i ← W_i / Σ_j n_ij / (γ_i + γ_j). `wins[i, j]`: how often i won against j."""
    strengths, games = np.ones(len(wins)), wins + wins.T
    for _ in range(SWEEPS):
        strengths = wins.sum(1) / (games / (strengths[:, None] + strengths)).sum(1)
        strengths /= strengths.mean()
    return scores_of(strengths)


def rao_kupper_scores(wins: np.ndarray, ties: np.ndarray) -> tuple[np.ndarray, float]:
    """Also θ. A tie counts as a win of each: its probability has both of their factors, and θ² − 1."""
    strengths, theta, won, num_ties = np.ones(len(wins)), 2.0, wins + ties, ties.sum() / 2
    for _ in range(SWEEPS):
        total = strengths[:, None] + theta * strengths  # γ_i + θ γ_j
        strengths = won.sum(1) / ((won / total).sum(1) + theta * (won / total).sum(0))
        strengths /= strengths.mean()
        total = strengths[:, None] + theta * strengths
        rest = (won * strengths / total).sum()
        theta = (num_ties + np.sqrt(num_ties**2 + rest**2)) / rest
    return scores_of(strengths), float(theta)


def davidson_scores(wins: np.ndarray, ties: np.ndarray) -> tuple[np.ndarray, float]:
    """Also ν. A tie counts as half a win of each; ν is led to as many ties as there were."""
    strengths, nu, games, num_ties = np.ones(len(wins)), 1.0, wins + wins.T + ties, ties.sum() / 2
    for _ in range(SWEEPS):
        means = np.sqrt(strengths[:, None] * strengths)
        total = strengths[:, None] + strengths + nu * means
        expected = games * (1 + 0.5 * nu * means / strengths[:, None]) / total
        strengths = (wins.sum(1) + 0.5 * ties.sum(1)) / expected.sum(1)
        strengths /= strengths.mean()
        means = np.sqrt(strengths[:, None] * strengths)
        total = strengths[:, None] + strengths + nu * means
        nu = num_ties / (0.5 * (games * means / total).sum())
    return scores_of(strengths), float(nu)


def plackett_luce_scores(rankings: np.ndarray, num_items: int) -> np.ndarray:
    """γ_i ← (rankings where i is not last) / Σ over the choices where i was still there of 1 / Σ of those there."""
    strengths, chosen = np.ones(num_items), np.bincount(rankings[:, :-1].ravel(), minlength=num_items)
    for _ in range(SWEEPS // 10):
        there = strengths[rankings][:, ::-1].cumsum(1)[:, ::-1]  # of a place: it and all behind it
        seen = (1 / there[:, :-1]).cumsum(1)
        seen = np.concatenate([seen, seen[:, -1:]], axis=1)  # the last item was there at each choice
        strengths = chosen / np.bincount(rankings.ravel(), weights=seen.ravel(), minlength=num_items)
        strengths /= strengths.mean()
    return scores_of(strengths)
