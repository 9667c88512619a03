"""Ranks: how many processes train together, and what they must add up. The only importer of accelerate.

One process needs no launcher. Several are started by `torchrun`, which sets WORLD_SIZE.
"""

import os
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Ranks:
    rank: int
    size: int
    device: torch.device
    accelerator: Any = None  # accelerate.Accelerator when there are several

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    def sum(self, values: Tensor) -> Tensor:
        """The sum of this tensor over all ranks, on each of them."""
        return values if self.size == 1 else self.accelerator.reduce(values, reduction="sum")

    def wrap(self, module: nn.Module) -> nn.Module:
        """The module whose backward averages gradients over ranks; call it through `forward`."""
        return module if self.size == 1 else self.accelerator.prepare_model(module)

    def wait(self) -> None:
        if self.size > 1:
            self.accelerator.wait_for_everyone()


def start_ranks() -> Ranks:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return Ranks(0, 1, device)
    from accelerate import Accelerator

    accelerator = Accelerator(cpu=device.type == "cpu")
    assert accelerator.num_processes == int(os.environ["WORLD_SIZE"]), "the launcher gave another world size than asked"
    return Ranks(accelerator.process_index, accelerator.num_processes, accelerator.device, accelerator)
