"""Texts of random words with lengths as real data has them: log-normal, prompts longer than responses."""

import math
import random
from dataclasses import dataclass

from benchmarks.shapes import FIRST_WORD, VOCABULARY

SPREAD = 0.6  # standard deviation of the logarithm


@dataclass(frozen=True)
class Lengths:
    """Tokens of a text without its end token: the mean of the distribution, and what it is cut to."""

    mean: float
    shortest: int
    longest: int


PROMPT = Lengths(200, 16, 440)
PAIR_PROMPT = Lengths(300, 16, 440)
RESPONSE = Lengths(60, 8, 70)


class Writer:
    def __init__(self, seed: int):
        self.random = random.Random(seed)

    def text(self, lengths: Lengths) -> str:
        middle = math.log(lengths.mean) - SPREAD**2 / 2
        drawn = int(self.random.lognormvariate(middle, SPREAD))
        num = min(lengths.longest, max(lengths.shortest, drawn))
        return " ".join(f"w{self.random.randrange(FIRST_WORD, VOCABULARY)}" for _ in range(num))
