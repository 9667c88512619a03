"""How a simulated annotator answers, given how good the responses truly are.

A careful look at A and B follows Rao & Kupper 1967 (`worlds.grounded_qa.annotators`); a lazy one does not look at all.
"""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from posttrain.worlds.grounded_qa.annotators import label_probabilities

Side = Literal["left", "right", "tie", "both_bad"]

MAX_LOGIT = 500.0  # as sure as can be; e^710 is beyond floating point


@dataclass(frozen=True)
class Behaviour:
    scale: float = 12.0  # logits per unit of reward: the larger, the surer
    tie_theta: float = 2.0  # 1 never ties
    side_bias: float = 0.0  # logits added to what stands left
    laziness: float = 0.0  # share of tasks answered without looking
    bad_below: float = -0.5  # a tie of two rewards below this is "both bad"
    overlooked: float = 0.1  # share of wrong spans that are not marked

    def compare(self, left: float, right: float, rng: random.Random) -> Side:
        """Of two true rewards, by the side on which they stand."""
        advantage = self.scale * (left - right) + self.side_bias
        weights = label_probabilities(min(max(advantage, -MAX_LOGIT), MAX_LOGIT), self.tie_theta)
        if rng.random() < self.laziness:
            weights = (1.0, 1.0, 1.0)
        side: Side = rng.choices(("tie", "left", "right"), weights)[0]
        return "both_bad" if side == "tie" and max(left, right) < self.bad_below else side

    def rank(self, rewards: Sequence[float], rng: random.Random) -> list[int]:
        """Ranks from 1 in the order shown. Noise of a Gumbel distribution makes their pairs as `compare` does."""
        if rng.random() < self.laziness:
            return [rng.randint(1, len(rewards)) for _ in rewards]
        seen = [reward + _gumbel(rng) / self.scale for reward in rewards]
        return [1 + sum(other > own for other in seen) for own in seen]


CROWD: dict[str, Behaviour] = {
    "careful": Behaviour(scale=20.0),
    "usual": Behaviour(),
    "leftish": Behaviour(side_bias=12.0),
    "lazy": Behaviour(laziness=0.5),
}
"""Named after what the dashboard should find out about them."""


def _gumbel(rng: random.Random) -> float:
    """The difference of two such draws is logistic, as the comparison of two rewards is."""
    return -math.log(-math.log(max(rng.random(), 1e-12)))
