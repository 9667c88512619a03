"""What responses are like beside their reward: how much each repeats itself, and whether reward goes with length."""

from collections.abc import Hashable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor


def repeats(tokens: Sequence[Hashable], size: int) -> list[bool]:
    """Of each n-gram of a response's tokens or words, n = `size`, from left to right: whether it came before."""
    grams = [tuple(tokens[start : start + size]) for start in range(len(tokens) - size + 1)]
    seen: set[tuple[Hashable, ...]] = set()
    return [gram in seen or bool(seen.add(gram)) for gram in grams]


def repeated_share(tokens: Sequence[Hashable], size: int) -> float:
    """1 − distinct n-grams / n-grams of a response's tokens or words, n = `size`; 0 where it is shorter than one.

    Source: Welleck et al. 2020, arXiv:1908.04319, section 6, seq-rep-n.
    """
    found = repeats(tokens, size)
    return sum(found) / len(found) if found else 0.0


def joint_moments(x: Float[Tensor, "B"], y: Float[Tensor, "B"]) -> Float[Tensor, "5"]:
    """Means of x, y, x², y² and xy: the mean of these over ranks that hold equally many is that of all rows."""
    x, y = x.double(), y.double()
    return torch.stack([x.mean(), y.mean(), (x * x).mean(), (y * y).mean(), (x * y).mean()])


def correlation(moments: Float[Tensor, "5"]) -> Float[Tensor, ""]:
    """(E[xy] − E[x]E[y]) / √(Var[x] Var[y]) of `joint_moments`; 0 where one of them does not vary."""
    x, y, xx, yy, xy = moments.unbind()
    of_x, of_y = xx - x * x, yy - y * y
    # beside the squares, a variance below this is rounding
    does_vary = (of_x > 1e-12 * xx) & (of_y > 1e-12 * yy)
    return torch.where(does_vary, (xy - x * y) / (of_x * of_y).clamp(min=0).sqrt(), 0.0).clamp(-1, 1)
