"""Ranks: the processes that train together, and what they must add up.

A run is one process here; a launcher that starts several is refused, since each would train alone.
"""

import os
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from posttrain.errors import InputError


@dataclass(frozen=True)
class Ranks:
    rank: int
    size: int
    device: torch.device

    def sum(self, values: Tensor) -> Tensor:
        """The sum of this tensor over all ranks, on each of them."""
        assert self.size == 1
        return values

    def wrap(self, module: nn.Module) -> nn.Module:
        """The module whose backward averages gradients over ranks; call it through `forward`."""
        assert self.size == 1
        return module


def start_ranks() -> Ranks:
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    if world_size != 1:
        raise InputError(f"WORLD_SIZE={world_size}: a run is one process; start it without a launcher such as torchrun")
    return Ranks(0, 1, torch.device("cuda" if torch.cuda.is_available() else "cpu"))
