"""How often one model's response beats another's to the same prompt, by any score; the mean is the win rate.

Unlike the other measures it judges two lists of scores, so its function is `compare`.
"""

import math
from collections.abc import Sequence

from pydantic import Field

from posttrain.errors import InputError
from posttrain.settings import Settings


class Config(Settings):
    tie_margin: float = Field(default=0.0, ge=0)  # scores that differ by at most this much are a tie


def compare(scores: Sequence[float], opponent_scores: Sequence[float], config: Config) -> list[float]:
    """Per prompt 1 for a win of `scores`, 0.5 for a tie, 0 for a loss."""
    if len(scores) != len(opponent_scores):
        raise InputError(f"win rate needs the same prompts: {len(scores)} scores against {len(opponent_scores)}")
    for place, pair in enumerate(zip(scores, opponent_scores, strict=True)):
        if not all(math.isfinite(score) for score in pair):
            raise InputError(f"win rate needs finite scores: prompt {place} has {pair[0]} against {pair[1]}")
    return [
        0.5 if abs(score - opponent) <= config.tie_margin else float(score > opponent)
        for score, opponent in zip(scores, opponent_scores, strict=True)
    ]
