"""A run in time: batch after batch, with metrics, evaluations, checkpoints and stops between them.

A step is one batch. Everything that has memory is in `state_dict`; data order, shuffles, sampling and the learning
rate are functions of (seed, step), so that a resumed run continues with the same bits.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from posttrain import randomness
from posttrain.config import TrainingSettings
from posttrain.interfaces import Algorithm, OnlineAlgorithm
from posttrain.training.distributed import Ranks
from posttrain.training.loop import Passes, SideLoss, train_on_batch
from posttrain.training.optimizer import learning_rate_factor, set_learning_rate
from posttrain.training.signals import Stop


class Batches(Protocol):
    """Where batches come from; a row order that is saved and restored."""

    def next(self, step: int) -> tuple[Any, dict[str, float]]: ...
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: Mapping[str, Any]) -> None: ...


@dataclass
class Trainer:
    algorithm: Algorithm
    optimizer: torch.optim.Optimizer
    batches: Batches
    settings: TrainingSettings
    num_steps: int
    seed: int
    ranks: Ranks
    log: Callable[[int, dict[str, float]], None]
    evaluate: Callable[[int], None]  # measures and logs the module as it is at this step
    save: Callable[[int, dict[str, Any]], None]
    evaluate_every: int | None
    save_every: int
    side: SideLoss | None = None
    step: int = 0
    stop_reason: str | None = None

    def run(self, stop: Stop) -> None:
        """Train to the last step, or until the algorithm says why to stop, which is then `stop_reason`."""
        if self.step == 0:
            self.evaluate(0)
        saved_step = self.step
        while self.step < self.num_steps and self.stop_reason is None:
            self.stop_reason = self._one_step()
            is_last = self.step == self.num_steps or self.stop_reason is not None
            if is_last or (self.evaluate_every and self.step % self.evaluate_every == 0):
                self.evaluate(self.step)
            if is_last or self.step % self.save_every == 0 or stop.requested:
                self.save(self.step, self.state_dict())
                saved_step = self.step
            stop.raise_if_requested(f"stopped after step {saved_step}, which is saved")

    def _one_step(self) -> str | None:
        batch, metrics = self.batches.next(self.step)
        factor = learning_rate_factor(self.step, self.num_steps, self.settings)
        set_learning_rate(self.optimizer, factor)
        self.algorithm.module.train()
        shuffle = randomness.stream(self.seed, "minibatches", self.step)
        trained = train_on_batch(self.algorithm, batch, self.optimizer, self._passes, shuffle, self.ranks, self.side)
        self.step += 1
        learning_rate = factor * self.settings.learning_rate
        rollout_metrics = {f"rollout/{name}": value for name, value in metrics.items()}
        self.log(
            self.step,
            rollout_metrics | {f"train/{n}": v for n, v in trained.items()} | {"train/learning_rate": learning_rate},
        )
        return self.algorithm.should_stop(metrics) if isinstance(self.algorithm, OnlineAlgorithm) else None

    @property
    def _passes(self) -> Passes:
        s = self.settings
        return Passes(s.passes, s.minibatch_size, s.microbatch_size, s.max_grad_norm, s.keeps_prompts_together)

    def state_dict(self) -> dict[str, Any]:
        return {
            "model": self.algorithm.module.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "algorithm": self.algorithm.state_dict() if isinstance(self.algorithm, OnlineAlgorithm) else {},
            "loop": {
                "step": self.step,
                "stop_reason": self.stop_reason,
                "batches": self.batches.state_dict(),
                "side": self.side.state_dict() if self.side else {},
            },
            "randomness": randomness.capture(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.algorithm.module.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        if isinstance(self.algorithm, OnlineAlgorithm):
            self.algorithm.load_state_dict(state["algorithm"])
        self.step, self.stop_reason = state["loop"]["step"], state["loop"]["stop_reason"]
        self.batches.load_state_dict(state["loop"]["batches"])
        if self.side:
            self.side.load_state_dict(state["loop"]["side"])
        randomness.restore(state["randomness"])  # last: building the rest drew random numbers


def steps_of(settings: TrainingSettings, batches_per_epoch: int) -> int:
    if settings.num_steps is not None:
        return settings.num_steps
    assert settings.num_epochs is not None
    return max(1, math.ceil(settings.num_epochs * batches_per_epoch))
