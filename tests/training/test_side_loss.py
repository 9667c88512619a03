"""PPO-ptx: a second mean is added to the step's own, whatever the sizes of the two."""

import math
from dataclasses import dataclass, field, replace

import pytest
import torch
from torch import Tensor, nn

from posttrain.batches import Sequences
from posttrain.data.loading import DataOrder
from posttrain.interfaces import LossReport
from posttrain.training.batch_sources import RecordBatches
from posttrain.training.loop import Passes, SideLoss, train_on_batch
from tests.tiny_models import random_sequences
from tests.training.test_loop import ONE

WHOLE = Passes(num_passes=1, minibatch_size=None, microbatch_size=None, max_grad_norm=math.inf)


@dataclass
class Linear:
    """w times the number of tokens, a token."""

    module: nn.Module = field(default_factory=lambda: nn.Linear(1, 1, bias=False))
    factor: float = 1.0

    def loss(self, batch: Sequences) -> LossReport:
        w = next(self.module.parameters())
        return LossReport((w * self.factor * batch.lengths.float()).sum(), batch.action_mask.sum(), {}, {})


def side(algorithm: Linear, weight: float, microbatch_size: int | None) -> SideLoss:
    texts = [random_sequences([1], [[n]]) for n in (1, 2, 3, 4)]

    def collate(numbers) -> Sequences:
        return random_sequences([1], [[int(texts[i].lengths) for i in numbers]])

    order = DataOrder(4, 3, seed=0, should_shuffle=False)
    batches = RecordBatches(order, collate, torch.device("cpu"))
    return SideLoss("pretraining_loss", Linear(algorithm.module, 10.0), batches, weight, microbatch_size)


def stepped(
    weight: float, microbatch_size: int | None = None, num: int = 1
) -> tuple[Tensor, dict[str, float], SideLoss]:
    torch.manual_seed(0)
    algorithm = Linear()
    nn.init.zeros_(next(algorithm.module.parameters()))
    beside = side(algorithm, weight, microbatch_size)
    optimizer = torch.optim.SGD(algorithm.module.parameters(), lr=1.0)
    passes = replace(WHOLE, num_passes=num)
    metrics = train_on_batch(
        algorithm, random_sequences([1], [[2, 5]]), optimizer, passes, torch.Generator(), ONE, beside
    )
    return next(algorithm.module.parameters()).detach(), metrics, beside


@pytest.mark.parametrize("microbatch_size", [None, 1, 2])
def test_both_means_add_up(microbatch_size):
    weights, metrics, _ = stepped(0.5, microbatch_size)
    assert weights.item() == pytest.approx(-(1 + 0.5 * 10)), "each is the same for each token, however many there are"
    assert metrics["pretraining_loss"] == 0


def test_each_step_takes_the_next_records():
    _, metrics, beside = stepped(0.5, num=3)
    assert beside.state_dict() == {"epoch": 1, "position": 3}
    # w is 0, −6, −12 before the three steps
    assert metrics["pretraining_loss"] == pytest.approx((0 - 60 - 120) / 3)
    again = side(Linear(), 0.5, None)
    again.load_state_dict(beside.state_dict())
    assert again.state_dict() == beside.state_dict()
