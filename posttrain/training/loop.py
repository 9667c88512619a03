"""The one training loop: for each pass over a batch, for each minibatch, one optimiser step.

Losses come as a sum and a count from each microbatch; they are divided here, once, by the count of the whole
minibatch over all ranks. So results depend neither on the microbatch size nor on the number of ranks.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from posttrain.batches import Sequences
from posttrain.errors import NumericStop
from posttrain.interfaces import Algorithm, LossReport, OnlineAlgorithm
from posttrain.training.batch_sources import RecordBatches
from posttrain.training.distributed import Ranks
from posttrain.training.optimizer import trained_parameters


@dataclass(frozen=True)
class Passes:
    """How one batch is gone through."""

    num_passes: int
    minibatch_size: int | None
    microbatch_size: int | None
    max_grad_norm: float
    keeps_prompts_together: bool = False


@dataclass
class SideLoss:
    """PPO-ptx, with language modelling at the side (Ouyang et al. 2022, arXiv:2203.02155, eq. 2).

    `algorithm` counts the actions of its batches, and trains a part of the module that the step is on.
    """

    name: str
    algorithm: Algorithm
    batches: RecordBatches
    weight: float
    microbatch_size: int | None

    def backward(self, ranks: Ranks) -> dict[str, float]:
        """Add weight × the gradient of the next batch's mean loss to what parameters have; the loss, by its name."""
        batch, _ = self.batches.next(0)
        assert isinstance(batch, Sequences)
        count, total = ranks.sum(batch.action_mask.sum().double()), torch.zeros((), dtype=torch.float64)
        for part in batch.split(self.microbatch_size or len(batch)):
            report = self.algorithm.loss(part)
            (report.loss_sum * (self.weight * ranks.size / float(count))).backward()
            total += report.loss_sum.detach().double().cpu()
        return {self.name: float(ranks.sum(total) / count.cpu())}

    def state_dict(self) -> dict[str, Any]:
        return self.batches.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.batches.load_state_dict(state)


def train_on_batch(
    algorithm: Algorithm,
    batch: Any,
    optimizer: torch.optim.Optimizer,
    passes: Passes,
    shuffle: torch.Generator,
    ranks: Ranks,
    side: SideLoss | None = None,
) -> dict[str, float]:
    """Train on one batch; the mean of each metric over the optimiser steps that have it.

    A minibatch that holds nothing to train on, such as only ties that are dropped, is passed over and counted.
    Raises NumericStop before a bad step.
    """
    values: dict[str, list[float]] = {}
    last: dict[str, float] | None = None
    num_updates = num_empty = 0
    for minibatch in _minibatches(batch, passes, shuffle):
        metrics = optimizer_step(algorithm, minibatch, optimizer, passes, ranks, side)
        if metrics is None:
            num_empty += 1
            continue
        num_updates += 1
        for name, value in metrics.items():
            values.setdefault(name, []).append(value)
        last = metrics
        if isinstance(algorithm, OnlineAlgorithm) and algorithm.should_leave_batch(metrics):
            break
    if isinstance(algorithm, OnlineAlgorithm) and last is not None:
        algorithm.after_batch(last)
    means = {name: sum(some) / len(some) for name, some in values.items()}
    return means | {"num_updates": float(num_updates), "empty_minibatches": float(num_empty)}


def _minibatches(batch: Any, passes: Passes, shuffle: torch.Generator) -> Iterator[Any]:
    size = passes.minibatch_size or len(batch)
    for _ in range(passes.num_passes):
        if size >= len(batch):
            yield batch
            continue
        shuffled = torch.randperm(len(batch), generator=shuffle).tolist()
        is_grouped = passes.keeps_prompts_together
        order = [row for group in _by_prompt(batch, shuffled) for row in group] if is_grouped else shuffled
        for start in range(0, len(order), size):
            yield batch.select(order[start : start + size])


def _microbatches(minibatch: Any, size: int) -> list[Any]:
    """Rows of like length go together, so that little is padded, and responses to one prompt.

    The sum of the losses is the same in any order.
    """
    if size >= len(minibatch):
        return [minibatch]
    lengths = minibatch.row_lengths()
    groups = sorted(_by_prompt(minibatch, range(len(minibatch))), key=lambda rows: max(lengths[row] for row in rows))
    order = [row for group in groups for row in sorted(group, key=lengths.__getitem__)]
    return [minibatch.select(order[start : start + size]) for start in range(0, len(order), size)]


def _by_prompt(batch: Any, rows: Sequence[int]) -> list[list[int]]:
    """These rows in groups of one prompt, in the order in which the prompts come first."""
    prompts = batch.row_prompts()
    groups: dict[int, list[int]] = {}
    for row in rows:
        groups.setdefault(prompts[row], []).append(row)
    return list(groups.values())


def optimizer_step(
    algorithm: Algorithm, minibatch: Any, optimizer: torch.optim.Optimizer, passes: Passes, ranks: Ranks,
    side: SideLoss | None = None,
) -> dict[str, float] | None:  # fmt: skip
    """One step on the mean loss of the minibatch, and its metrics; None, and no step, where its count is 0."""
    reports = []
    for microbatch in _microbatches(minibatch, passes.microbatch_size or len(minibatch)):
        report = algorithm.loss(microbatch)
        report.loss_sum.backward()
        reports.append(report)
    metrics, count = _means(reports, ranks)
    if count == 0:
        optimizer.zero_grad()
        return None
    for parameter in trained_parameters(optimizer):
        if parameter.grad is not None:
            parameter.grad *= ranks.size / count  # across ranks the backward took the mean of the sums
    if side is not None:
        metrics |= side.backward(ranks)
    parameters = [p for p in trained_parameters(optimizer) if p.grad is not None]
    grad_norm = float(torch.nn.utils.clip_grad_norm_(parameters, passes.max_grad_norm))
    metrics["grad_norm"] = grad_norm
    # Every metric: the loss of an infinite score is 0, as if the pair were decided, but its margin is infinite.
    wrong = [name for name, value in metrics.items() if not math.isfinite(value)]
    if wrong:
        optimizer.zero_grad()
        raise NumericStop(
            f"{' and '.join(wrong)} is not finite ({metrics}); the step was not taken", minibatch.prompt_records
        )
    optimizer.step()
    optimizer.zero_grad()
    return metrics


def _means(reports: list[LossReport], ranks: Ranks) -> tuple[dict[str, float], float]:
    """Each metric that counts anything as sum / count over microbatches and ranks, and the count of the loss."""
    sums: dict[str, Tensor] = {"loss": torch.stack([r.loss_sum.detach() for r in reports]).sum()}
    counts: dict[str, Tensor] = {"loss": torch.stack([r.count.float() for r in reports]).sum()}
    for name in reports[0].metric_sums:
        sums[name] = torch.stack([r.metric_sums[name].float() for r in reports]).sum()
        counts[name] = torch.stack([r.metric_counts.get(name, r.count).float() for r in reports]).sum()
    names = list(sums)
    both = ranks.sum(torch.stack([*(sums[n].double() for n in names), *(counts[n].double() for n in names)])).tolist()
    totals, numbers = both[: len(names)], both[len(names) :]
    means = {n: t / c for n, t, c in zip(names, totals, numbers, strict=True) if c > 0}
    return means, numbers[0]
