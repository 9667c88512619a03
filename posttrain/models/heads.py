"""One number from a hidden state: a score or a value."""

from torch import nn


def linear_head(width: int, is_zero: bool) -> nn.Linear:
    """A value head starts at 0: no opinion. A score head starts small and random, or nothing below it would learn."""
    head = nn.Linear(width, 1)
    if is_zero:
        nn.init.zeros_(head.weight)
    else:
        nn.init.normal_(head.weight, std=(width + 1) ** -0.5)
    nn.init.zeros_(head.bias)
    return head
