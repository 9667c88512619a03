"""Where a run's batches come from: recorded rows, or prompts that the policy answers."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from posttrain.data.collate import Tokenized, prompts
from posttrain.data.loading import DataOrder
from posttrain.interfaces import OnlineAlgorithm
from posttrain.training.experience import Act


@dataclass
class RecordBatches:
    """Batches of recorded rows; `collate` gets row numbers."""

    order: DataOrder
    collate: Callable[[Sequence[int]], Any]
    device: torch.device

    def next(self, step: int) -> tuple[Any, dict[str, float]]:
        return self.collate(next(self.order)).to(self.device), {}

    def state_dict(self) -> dict[str, Any]:
        return self.order.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.order.load_state_dict(dict(state))


@dataclass
class RolloutBatches:
    """Batches of experience: the next prompts, answered by the policy as it is at this step."""

    order: DataOrder
    rows: Sequence[Tokenized]
    act: Act
    algorithm: OnlineAlgorithm
    device: torch.device

    def next(self, step: int) -> tuple[Any, dict[str, float]]:
        chosen = prompts([self.rows[i] for i in next(self.order)]).to(self.device)
        self.algorithm.module.eval()
        experience, metrics, _, _ = self.act.experience(self.algorithm, chosen, step)
        return experience, metrics

    def state_dict(self) -> dict[str, Any]:
        return self.order.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.order.load_state_dict(dict(state))
