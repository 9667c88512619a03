"""Simulated annotators: they compare responses through a true score, with noise and ties, and read nothing else.

A look at responses i and j follows Rao & Kupper 1967 with s = scale * score, as in worlds/grounded_qa; with θ = 1 it is
Bradley & Terry 1952: P(i better) = σ(s_i - s_j).
"""

import random
from collections.abc import Sequence
from itertools import combinations

from pydantic import Field

from posttrain.data.records import Comparison, Label, Pair, Prompt
from posttrain.settings import Settings
from posttrain.worlds.grounded_qa.annotators import label_probabilities


class Config(Settings):
    seed: int = 0
    scale: float = Field(default=8.0, gt=0)
    """Logits per unit of the score: the larger, the surer the annotators."""
    tie_theta: float = Field(default=1.3, ge=1)
    """θ: 1 never ties; two equal responses tie with probability (θ - 1) / (θ + 1)."""


def label(prompt: Prompt, responses: Sequence[str], scores: Sequence[float], config: Config) -> Comparison:
    """All pairs compared (12, 13, 14, 23, 24, 34 for four responses); `scores` are the true ones.

    The draw depends on the seed, the prompt and the responses only: labelling in another order gives the same labels.
    """
    assert len(responses) == len(scores), f"{len(responses)} responses with {len(scores)} scores"
    rng = random.Random("\n".join([str(config.seed), prompt.text, *responses]))
    pairs = []
    for first, second in combinations(range(len(responses)), 2):
        weights = label_probabilities(config.scale * (scores[first] - scores[second]), config.tie_theta)
        chosen: Label = rng.choices((0, 1, 2), weights)[0]
        pairs.append(Pair(first, second, chosen))
    return Comparison(prompt, tuple(responses), tuple(pairs))


def most_preferred(comparison: Comparison) -> int | None:
    """The response that won most of its pairs, the first of several; None where every pair is a tie."""
    wins = [0] * len(comparison.responses)
    for pair in comparison.pairs:
        if pair.label != 0:
            wins[pair.first if pair.label == 1 else pair.second] += 1
    return wins.index(max(wins)) if any(wins) else None
