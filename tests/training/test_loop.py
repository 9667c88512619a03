"""Sums are divided once: the size of a microbatch changes nothing, and a bad step is not taken."""

import copy
import math
from dataclasses import dataclass, field, replace

import pytest
import torch
from torch import Tensor, nn

from posttrain.algorithms import dpo
from posttrain.batches import Sequences
from posttrain.errors import NumericStop
from posttrain.interfaces import Algorithm, LossReport
from posttrain.training.distributed import Ranks
from posttrain.training.loop import Passes, optimizer_step, train_on_batch
from tests.algorithms.variants import LENGTHS, VARIANTS, preference_pairs, problem
from tests.tiny_models import ONE_PER_FAMILY, random_sequences

ONE = Ranks(0, 1, torch.device("cpu"))
WHOLE = Passes(num_passes=1, minibatch_size=None, microbatch_size=None, max_grad_norm=math.inf)


def weights_after_a_step(algorithm: Algorithm, batch: object, passes: Passes) -> tuple[Tensor, dict[str, float]]:
    """Plain gradient descent at rate 1, so that the step is the gradient."""
    algorithm = copy.deepcopy(algorithm)
    optimizer = torch.optim.SGD(algorithm.module.parameters(), lr=1.0)
    metrics = train_on_batch(algorithm, batch, optimizer, passes, torch.Generator().manual_seed(0), ONE)
    return nn.utils.parameters_to_vector(algorithm.module.parameters()).detach(), metrics


@pytest.mark.parametrize(("name", "size"), list(zip(ONE_PER_FAMILY, (1, 3), strict=True)))
@pytest.mark.parametrize("variant", VARIANTS)
def test_the_size_of_a_microbatch_changes_nothing(variant, name, size, model_folder):
    algorithm, batch = problem(variant, str(model_folder(name)))
    before = nn.utils.parameters_to_vector(algorithm.module.parameters()).detach()
    whole, whole_metrics = weights_after_a_step(algorithm, batch, WHOLE)
    step = (whole - before).norm()
    assert step > 1e-3
    parts, metrics = weights_after_a_step(algorithm, batch, replace(WHOLE, microbatch_size=size))
    assert (parts - whole).norm() <= 1e-6 * whole.norm()
    assert metrics == pytest.approx(whole_metrics, rel=1e-5, abs=1e-6)


@dataclass
class Squares:
    """Σ (w − row)² over rows; `count` can be another number."""

    module: nn.Module = field(default_factory=lambda: nn.Linear(1, 1, bias=False))
    seen: list[list[float]] = field(default_factory=list)

    @property
    def w(self) -> Tensor:
        return next(self.module.parameters())

    def loss(self, batch: Sequences) -> LossReport:
        rows = batch.lengths.float()
        self.seen.append(rows.tolist())
        is_long = rows > 2
        sums = {"length": rows.sum(), "long_length": rows[is_long].sum()}
        return LossReport(((self.w - rows) ** 2).sum(), torch.tensor(len(rows)), sums, {"long_length": is_long.sum()})


def rows_of(*lengths: int) -> Sequences:
    return random_sequences([2], [list(lengths)])


def run(algorithm, batch: Sequences, passes: Passes, seed: int = 0) -> dict[str, float]:
    optimizer = torch.optim.SGD(algorithm.module.parameters(), lr=0.1)
    return train_on_batch(algorithm, batch, optimizer, passes, torch.Generator().manual_seed(seed), ONE)


def test_one_step_by_hand():
    algorithm = Squares()
    nn.init.constant_(algorithm.w, 1.0)
    metrics = run(algorithm, rows_of(1, 3, 5), replace(WHOLE, microbatch_size=2))
    # loss (0 + 4 + 16) / 3; gradient 2·(0 − 2 − 4) / 3 = −4; step 0.1·4
    assert metrics["loss"] == pytest.approx(20 / 3)
    assert metrics["grad_norm"] == pytest.approx(4)
    assert algorithm.w.item() == pytest.approx(1.4)
    assert metrics["length"] == pytest.approx(9 / 3)
    assert metrics["long_length"] == pytest.approx(8 / 2)
    assert algorithm.seen == [[1, 3], [5]]
    assert algorithm.w.grad is None


@pytest.mark.parametrize("microbatch_size", [None, 3])
def test_responses_to_one_prompt_go_together(microbatch_size):
    """Four prompts with three responses each, in minibatches of six: each prompt is in one minibatch of a pass."""
    batch = random_sequences([2, 3, 1, 2], [[1, 2, 3], [4, 5, 6], [7, 8, 9], [10, 11, 12]])
    batch = batch.select([3, 0, 6, 9, 1, 4, 7, 10, 2, 5, 8, 11])  # rows of a prompt stand apart
    algorithm = Squares()
    passes = Passes(
        num_passes=3, minibatch_size=6, microbatch_size=microbatch_size, max_grad_norm=1.0, keeps_prompts_together=True
    )
    run(algorithm, batch, passes)
    prompts = [{int((length - 1) // 3) for length in rows} for rows in algorithm.seen]
    if microbatch_size is None:
        assert [len(some) for some in prompts] == [2] * 6
        assert len({frozenset(some) for some in prompts}) > 2, "each pass has pairs of prompts of its own"
        assert any(rows != sorted(rows) for rows in algorithm.seen)
    else:
        assert [len(some) for some in prompts] == [1] * 12


def test_microbatches_hold_rows_of_like_length():
    algorithm = Squares()
    run(algorithm, rows_of(5, 1, 6, 2), replace(WHOLE, microbatch_size=2))
    assert algorithm.seen == [[1, 2], [5, 6]]
    algorithm = Squares()
    run(algorithm, random_sequences([2] * 4, [[5], [1], [6], [2]]), replace(WHOLE, microbatch_size=2))
    assert algorithm.seen == [[1, 2], [5, 6]]


def test_microbatches_of_pairs_hold_prompts_of_like_length():
    pairs = preference_pairs(random_sequences(*LENGTHS))
    seen = []

    class Recorder(Squares):
        def loss(self, batch) -> LossReport:
            seen.append(sorted(batch.row_lengths()))
            return super().loss(batch.sequences)

    run(Recorder(), pairs, replace(WHOLE, microbatch_size=2))
    assert pairs.row_lengths() == [8, 13, 5, 10]
    assert seen == [[5, 8], [10, 13]]


def test_the_gradient_is_clipped_after_it_was_divided():
    algorithm = Squares()
    nn.init.constant_(algorithm.w, 1.0)
    metrics = run(algorithm, rows_of(1, 3, 5), replace(WHOLE, max_grad_norm=0.5))
    assert metrics["grad_norm"] == pytest.approx(4)  # as it was before
    assert algorithm.w.item() == pytest.approx(1 + 0.1 * 0.5, abs=1e-5)


def test_each_pass_goes_over_all_rows_once_in_an_order_of_its_own():
    passes = Passes(num_passes=2, minibatch_size=4, microbatch_size=None, max_grad_norm=1.0)
    orders = []
    for seed in (0, 0, 1):
        algorithm = Squares()
        metrics = run(algorithm, rows_of(*range(1, 11)), passes, seed)
        assert metrics["num_updates"] == 6
        assert [len(rows) for rows in algorithm.seen] == [4, 4, 2] * 2
        first, second = ([x for rows in algorithm.seen[i : i + 3] for x in rows] for i in (0, 3))
        assert sorted(first) == sorted(second) == list(range(1, 11))
        assert first != second
        orders.append(algorithm.seen)
    assert orders[0] == orders[1] != orders[2]


def test_metrics_are_means_over_the_steps_of_a_batch():
    algorithm = Squares()
    metrics = run(algorithm, rows_of(1, 1, 3, 3), Passes(1, 2, None, 1.0))
    assert metrics["length"] == 2


def test_a_batch_is_left_when_the_algorithm_says_so():
    class Leaves(Squares):
        def experience(self, rollout, rewards):
            raise AssertionError

        def should_leave_batch(self, metrics) -> bool:
            return len(self.seen) == 2

        def after_batch(self, metrics) -> None:
            self.last = metrics["length"]

        def should_stop(self, metrics) -> str | None:
            return None

        def state_dict(self) -> dict:
            return {}

        def load_state_dict(self, state) -> None: ...

    algorithm = Leaves()
    metrics = run(algorithm, rows_of(1, 2, 3, 4), Passes(3, 1, None, 1.0))
    assert metrics["num_updates"] == 2
    assert len(algorithm.seen) == 2
    assert algorithm.last == algorithm.seen[1][0], "it is told of the last step on the batch"


class NotFiniteLoss(Squares):
    def loss(self, batch) -> LossReport:
        report = super().loss(batch)
        return replace(report, loss_sum=report.loss_sum * float("nan"))


class NotFiniteGradient(Squares):
    def loss(self, batch) -> LossReport:
        report = super().loss(batch)
        return replace(report, loss_sum=report.loss_sum + (self.w - self.w).sqrt().sum())  # 0, of gradient inf − inf


@pytest.mark.parametrize(
    ("kind", "message"),
    [(NotFiniteLoss, "loss and grad_norm is not finite"), (NotFiniteGradient, "grad_norm is not finite")],
)
def test_a_step_that_is_not_finite_is_not_taken(kind, message):
    algorithm = Squares()
    optimizer = torch.optim.AdamW(algorithm.module.parameters(), lr=0.1)
    optimizer_step(algorithm, rows_of(1, 2), optimizer, WHOLE, ONE)
    bad = kind(algorithm.module)
    before, state = copy.deepcopy(algorithm.module.state_dict()), copy.deepcopy(optimizer.state_dict())
    with pytest.raises(NumericStop, match=f"^{message}.*the step was not taken$"):
        optimizer_step(bad, rows_of(1, 2), optimizer, WHOLE, ONE)
    assert torch.equal(algorithm.module.state_dict()["weight"], before["weight"])
    after = optimizer.state_dict()["state"][0]
    assert all(torch.equal(after[name], value) for name, value in state["state"][0].items())
    assert algorithm.w.grad is None


def test_a_minibatch_without_anything_to_train_on_is_passed_over(model_folder):
    """Of four prompts in minibatches of one, two have ties only: two steps, and the weights of a batch without them."""
    algorithm, batch = problem("dpo", str(model_folder("t5")))
    assert isinstance(algorithm, dpo.DPO)
    algorithm.config = dpo.Config(ties="drop")
    prompt_of_pair = batch.sequences.prompt_index[batch.better]
    with_ties = replace(batch, is_tie=(prompt_of_pair == 1) | (prompt_of_pair == 3))
    one_by_one = Passes(num_passes=2, minibatch_size=1, microbatch_size=None, max_grad_norm=math.inf)
    weights, metrics = weights_after_steps_of_adam(algorithm, with_ties, one_by_one)
    assert (metrics["num_updates"], metrics["empty_minibatches"]) == (4, 4)
    assert all(math.isfinite(value) for value in metrics.values())

    torch.manual_seed(0)
    undisturbed = copy.deepcopy(algorithm)
    optimizer = torch.optim.AdamW(undisturbed.module.parameters(), lr=0.01)
    shuffle = torch.Generator().manual_seed(0)
    steps = []
    for _ in range(2):
        for row in torch.randperm(4, generator=shuffle).tolist():
            if row in (0, 2):
                steps.append(optimizer_step(undisturbed, with_ties.select([row]), optimizer, one_by_one, ONE))
    assert torch.equal(nn.utils.parameters_to_vector(undisturbed.module.parameters()), weights)
    assert metrics["loss"] == pytest.approx(sum(step["loss"] for step in steps) / 4)


def weights_after_steps_of_adam(algorithm: Algorithm, batch: object, passes: Passes) -> tuple[Tensor, dict[str, float]]:
    """Adam moves the weights at a step of no gradient too, by its momentum."""
    algorithm = copy.deepcopy(algorithm)
    optimizer = torch.optim.AdamW(algorithm.module.parameters(), lr=0.01)
    metrics = train_on_batch(algorithm, batch, optimizer, passes, torch.Generator().manual_seed(0), ONE)
    return nn.utils.parameters_to_vector(algorithm.module.parameters()).detach(), metrics


def test_a_batch_without_anything_to_train_on_changes_nothing(model_folder):
    algorithm, batch = problem("dpo", str(model_folder("t5")))
    assert isinstance(algorithm, dpo.DPO)
    algorithm.config = dpo.Config(ties="drop")
    before = nn.utils.parameters_to_vector(algorithm.module.parameters()).detach()
    ties = replace(batch, is_tie=torch.ones_like(batch.is_tie))
    weights, metrics = weights_after_steps_of_adam(algorithm, ties, WHOLE)
    assert metrics == {"num_updates": 0, "empty_minibatches": 1}
    assert torch.equal(weights, before)


def test_a_metric_is_not_averaged_over_minibatches_that_have_nothing_of_it():
    """Rows of 1 and 1, then of 3 and 5: only the second two count as long."""
    algorithm = Squares()
    metrics = run(algorithm, rows_of(1, 1), WHOLE)
    assert "long_length" not in metrics
    metrics = run(algorithm, rows_of(1, 5), Passes(1, 1, None, 1.0))
    assert metrics["long_length"] == 5
    assert metrics["length"] == 3
