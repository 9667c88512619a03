"""What happens when in a run: steps, evaluations, checkpoints and stops, in this order."""

import copy
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import nn

from posttrain import randomness
from posttrain.batches import Sequences
from posttrain.config import TrainingSettings
from posttrain.interfaces import LossReport
from posttrain.training.distributed import Ranks
from posttrain.training.optimizer import build_optimizer
from posttrain.training.signals import Interrupted, Stop
from posttrain.training.trainer import Trainer, steps_of
from tests.tiny_models import random_sequences

ONE = Ranks(0, 1, torch.device("cpu"))


@dataclass
class Line:
    """Σ (w − length)², with noise from torch's own generator as dropout has it."""

    module: nn.Module = field(default_factory=lambda: nn.Linear(1, 1))
    modes: list[bool] = field(default_factory=list)

    def loss(self, batch: Sequences) -> LossReport:
        self.modes.append(self.module.training)
        rows = batch.lengths.float().unsqueeze(-1)
        noise = torch.rand(()) + random.random()
        return LossReport(((self.module(rows) - rows - noise) ** 2).sum(), torch.tensor(len(rows)), {}, {})


@dataclass
class OnlineLine(Line):
    """Stops when the batch says so; has a memory of its own."""

    seen: int = 0

    def experience(self, rollout: Any, rewards: Any) -> Any:
        raise AssertionError("the batches here are ready made")

    def should_leave_batch(self, metrics: Mapping[str, float]) -> bool:
        self.seen += 1
        return False

    def after_batch(self, metrics: Mapping[str, float]) -> None:
        pass

    def should_stop(self, metrics: Mapping[str, float]) -> str | None:
        return "far enough" if metrics["number"] == 4 else None

    def state_dict(self) -> dict[str, Any]:
        return {"seen": self.seen}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.seen = state["seen"]


@dataclass
class Counted:
    """Batch n has the metric n."""

    number: int = 0

    def next(self, step: int) -> tuple[Sequences, dict[str, float]]:
        assert step == self.number
        self.number += 1
        return random_sequences([2, 3], [[1, 2], [3, 4]], seed=step), {"number": float(self.number)}

    def state_dict(self) -> dict[str, Any]:
        return {"number": self.number}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.number = state["number"]


class Diary:
    """A trainer whose callbacks write down what they were called for, and which states were saved."""

    def __init__(self, algorithm: Line | None = None, **changes: Any):
        randomness.seed_everything(0)
        self.events: list[str] = []
        self.values: dict[int, dict[str, float]] = {}
        self.saved: dict[int, dict[str, Any]] = {}
        self.stop = Stop()
        self.signal_at: int | None = None
        algorithm = algorithm or Line()
        settings = TrainingSettings(num_steps=6, batch_size=4, minibatch_size=2, learning_rate=0.1, warmup_steps=2)
        arguments = {"evaluate_every": 2, "save_every": 3, "num_steps": 6} | changes
        self.trainer = Trainer(
            algorithm=algorithm, optimizer=build_optimizer(algorithm.module, settings), batches=Counted(),
            settings=settings, seed=0, ranks=ONE, log=self._log, save=self._save,
            evaluate=lambda step: self.events.append(f"eval {step}"), **arguments,
        )  # fmt: skip

    def _log(self, step: int, values: dict[str, float]) -> None:
        self.events.append(f"step {step}")
        self.values[step] = values
        if step == self.signal_at:
            self.stop.signal_number = 15

    def _save(self, step: int, state: dict[str, Any]) -> None:
        self.events.append(f"save {step}")
        self.saved[step] = copy.deepcopy(state)

    def run(self) -> list[str]:
        self.trainer.run(self.stop)
        return self.events


def weights(diary: Diary) -> list[float]:
    return nn.utils.parameters_to_vector(diary.trainer.algorithm.module.parameters()).tolist()


def test_the_order_of_a_run():
    assert Diary().run() == [
        "eval 0", "step 1", "step 2", "eval 2", "step 3", "save 3", "step 4", "eval 4", "step 5", "step 6", "eval 6",
        "save 6",
    ]  # fmt: skip


def test_without_a_number_it_is_evaluated_first_and_last():
    diary = Diary(evaluate_every=None, save_every=100)
    assert diary.run() == ["eval 0", *(f"step {i}" for i in range(1, 7)), "eval 6", "save 6"]


def test_the_last_step_is_evaluated_and_saved_once_where_it_is_due_anyhow():
    events = Diary(num_steps=3, evaluate_every=3, save_every=1).run()
    assert events[-3:] == ["step 3", "eval 3", "save 3"]


def test_what_is_logged_of_a_step():
    diary = Diary()
    diary.run()
    assert set(diary.values[1]) == {
        "rollout/number", "train/loss", "train/grad_norm", "train/num_updates", "train/empty_minibatches",
        "train/learning_rate",
    }  # fmt: skip
    rates = [diary.values[step]["train/learning_rate"] for step in range(1, 7)]
    assert rates == pytest.approx([0.1 / 3, 0.2 / 3, 0.1, 0.075, 0.05, 0.025])  # two of warm-up, then to 0
    assert diary.values[4]["rollout/number"] == 4
    assert diary.values[1]["train/num_updates"] == 2
    assert isinstance(diary.trainer.algorithm, Line)
    assert all(diary.trainer.algorithm.modes)


def test_a_stop_that_was_asked_for_is_granted_after_the_step_with_a_checkpoint():
    diary = Diary()
    diary.signal_at = 4
    with pytest.raises(Interrupted, match="stopped after step 4, which is saved") as interrupted:
        diary.run()
    assert interrupted.value.exit_code == 143
    assert diary.events[-3:] == ["step 4", "eval 4", "save 4"]
    assert diary.trainer.step == 4


def test_a_stop_that_comes_with_the_last_step():
    diary = Diary()
    diary.signal_at = 6
    with pytest.raises(Interrupted, match="stopped after step 6"):
        diary.run()
    assert diary.events.count("save 6") == 1


def test_the_algorithm_ends_the_run():
    diary = Diary(OnlineLine())
    assert diary.run()[-3:] == ["step 4", "eval 4", "save 4"]
    assert diary.trainer.stop_reason == "far enough"
    assert diary.saved[4]["loop"]["stop_reason"] == "far enough"


@pytest.mark.parametrize("kind", [Line, OnlineLine])
@pytest.mark.parametrize("step", [1, 2, 3])
def test_a_run_goes_on_from_its_state_to_the_same_bits(kind: type[Line], step: int):
    undisturbed = Diary(kind(), save_every=1)
    undisturbed.run()
    resumed = Diary(kind(), save_every=1)
    torch.rand(7), random.random()  # what building the rest of a run may draw
    resumed.trainer.load_state_dict(undisturbed.saved[step])
    assert resumed.trainer.step == step
    events = resumed.run()
    assert events == undisturbed.events[undisturbed.events.index(f"save {step}") + 1 :], "no second evaluation at 0"
    assert weights(resumed) == weights(undisturbed)
    assert {i: undisturbed.values[i] for i in resumed.values} == resumed.values
    if isinstance(resumed.trainer.algorithm, OnlineLine):
        assert isinstance(undisturbed.trainer.algorithm, OnlineLine)
        assert resumed.trainer.algorithm.seen == undisturbed.trainer.algorithm.seen


def test_the_state_of_a_run_that_the_algorithm_ended_stays_ended():
    ended = Diary(OnlineLine())
    ended.run()
    resumed = Diary(OnlineLine())
    resumed.trainer.load_state_dict(ended.saved[4])
    assert resumed.run() == []
    assert resumed.trainer.stop_reason == "far enough"


def test_steps_of_a_run():
    settings = TrainingSettings(num_steps=7, batch_size=4, learning_rate=0.1)
    assert steps_of(settings, 10) == 7
    for epochs, steps in ((1.0, 10), (2.5, 25), (0.01, 1), (0.31, 4)):
        assert steps_of(TrainingSettings(num_epochs=epochs, batch_size=4, learning_rate=0.1), 10) == steps
