"""Whatever is not a finite number, and wherever it comes from: no step is taken, and the batch is known by name."""

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from posttrain.algorithms.ppo import PPO
from posttrain.batches import ActorCriticExperience, ReferencedPairs, Sequences
from posttrain.errors import NumericStop
from posttrain.interfaces import Algorithm, LossReport
from posttrain.training.loop import Passes, train_on_batch
from tests.algorithms.variants import problem
from tests.training.test_loop import ONE, WHOLE

METHODS = ("sft", "preference_reward_model", "reinforce", "ppo", "dpo")
NOT_FINITE = (float("nan"), float("inf"), -float("inf"))
pytestmark = pytest.mark.parametrize("wrong", NOT_FINITE, ids=["nan", "inf", "-inf"])


class Disturbed(nn.Module):
    """`change` is applied to the first output of a module: log-probabilities [B, R], or scores [B]."""

    def __init__(self, module: nn.Module, change: Callable[[Tensor, Sequences], Tensor]):
        super().__init__()
        self.module, self.change = module, change

    def forward(self, sequences: Sequences, *more: Any) -> Any:
        output = self.module(sequences, *more)
        if isinstance(output, tuple):
            return self.change(output[0], sequences), *output[1:]
        return self.change(output, sequences)


@dataclass
class DisturbedLoss:
    """`change` is applied to the sum of the losses."""

    algorithm: Algorithm
    change: Callable[[Tensor], Tensor]

    @property
    def module(self) -> nn.Module:
        return self.algorithm.module

    def loss(self, batch: Any) -> LossReport:
        report = self.algorithm.loss(batch)
        return replace(report, loss_sum=self.change(report.loss_sum))


def add_to_first(wrong: float) -> Callable[[Tensor, Sequences], Tensor]:
    def change(output: Tensor, sequences: Sequences) -> Tensor:
        place = torch.zeros_like(output)
        place.view(-1)[0] = wrong
        return output + place

    return change


def bits_of(algorithm: Algorithm, optimizer: torch.optim.Optimizer) -> list[Tensor]:
    """Weights and the optimiser's state as integers, for which NaN equals NaN."""
    states = [value for state in optimizer.state.values() for value in state.values()]
    return [tensor.detach().clone().view(torch.int32) for tensor in (*algorithm.module.parameters(), *states)]


def refused(algorithm: Algorithm, disturbed: Any, batch: Any, undisturbed_batch: Any) -> NumericStop:
    """The stop that the disturbed algorithm ends in, on its second step, with the bits of the first."""
    optimizer = torch.optim.AdamW(algorithm.module.parameters(), lr=1e-3)
    train_on_batch(algorithm, undisturbed_batch, optimizer, WHOLE, torch.Generator(), ONE)
    before = bits_of(algorithm, optimizer)
    with pytest.raises(NumericStop, match=r"is not finite .* the step was not taken") as stop:
        train_on_batch(disturbed, batch, optimizer, WHOLE, torch.Generator(), ONE)
    after = bits_of(algorithm, optimizer)
    assert len(after) == len(before)
    assert all(torch.equal(*both) for both in zip(before, after, strict=True))
    assert all(parameter.grad is None for parameter in algorithm.module.parameters())
    return stop.value


@pytest.fixture(params=METHODS)
def method(request) -> str:
    return request.param


def test_in_an_output_of_the_model(method, wrong, model_folder):
    algorithm, batch = problem(method, str(model_folder("t5")))
    disturbed = copy.copy(algorithm)
    disturbed.module = Disturbed(algorithm.module, add_to_first(wrong))
    stop = refused(algorithm, disturbed, batch, batch)
    assert [prompt.text for prompt in stop.prompts] == [f"prompt {i}" for i in range(4)]


def test_in_the_loss(method, wrong, model_folder):
    algorithm, batch = problem(method, str(model_folder("t5")))
    refused(algorithm, DisturbedLoss(algorithm, lambda loss: loss + wrong), batch, batch)


def test_in_a_gradient(method, wrong, model_folder):
    algorithm, batch = problem(method, str(model_folder("t5")))
    last = list(algorithm.module.parameters())[-1]

    def change(loss: Tensor) -> Tensor:
        weight = last.view(-1)[:1].clone()
        weight.register_hook(lambda gradient: torch.full_like(gradient, wrong))
        return loss + (weight - weight.detach()).sum()  # 0

    refused(algorithm, DisturbedLoss(algorithm, change), batch, batch)


def test_in_a_weight(method, wrong, model_folder):
    algorithm, batch = problem(method, str(model_folder("t5")))
    optimizer = torch.optim.AdamW(algorithm.module.parameters(), lr=1e-3)
    norm = next(p for name, p in reversed(list(algorithm.module.named_parameters())) if "final_layer_norm" in name)
    with torch.no_grad():
        norm[0] = wrong
    before = bits_of(algorithm, optimizer)
    with pytest.raises(NumericStop, match="is not finite"):
        train_on_batch(algorithm, batch, optimizer, WHOLE, torch.Generator(), ONE)
    assert all(torch.equal(*both) for both in zip(before, bits_of(algorithm, optimizer), strict=True))


@pytest.mark.parametrize("name", ["old_logprobs", "advantages", "returns", "old_values"])
def test_in_experience(name, wrong, model_folder):
    algorithm, batch = problem("ppo", str(model_folder("t5")))
    assert isinstance(batch, ActorCriticExperience)
    values = getattr(batch, name).clone()
    values[0, 0] = wrong
    refused(algorithm, algorithm, replace(batch, **{name: values}), batch)


def test_in_what_the_reference_says(wrong, model_folder):
    algorithm, batch = problem("dpo", str(model_folder("t5")))
    assert isinstance(batch, ReferencedPairs)
    values = batch.reference_logprobs.clone()
    values[0] = wrong
    refused(algorithm, algorithm, replace(batch, reference_logprobs=values), batch)


@pytest.mark.parametrize("name", ["sft", "ppo", "dpo"])
def test_in_a_masked_slot_it_changes_no_bit(name, wrong, model_folder):
    def weights_after(value: float) -> Tensor:
        algorithm, batch = problem(name, str(model_folder("t5")))
        disturbed = copy.copy(algorithm)
        disturbed.module = Disturbed(
            algorithm.module, lambda output, sequences: output.masked_fill(~sequences.response_mask, value)
        )
        if isinstance(algorithm, PPO):
            assert isinstance(batch, ActorCriticExperience)
            outside = ~batch.sequences.action_mask
            names = ("old_logprobs", "advantages", "returns", "old_values")
            batch = replace(batch, **{n: getattr(batch, n).masked_fill(outside, value) for n in names})
        optimizer = torch.optim.AdamW(algorithm.module.parameters(), lr=1e-3)
        passes = Passes(num_passes=2, minibatch_size=2, microbatch_size=1, max_grad_norm=1.0)
        train_on_batch(disturbed, batch, optimizer, passes, torch.Generator().manual_seed(0), ONE)
        return nn.utils.parameters_to_vector(algorithm.module.parameters()).detach()

    assert torch.equal(weights_after(wrong), weights_after(0.0))
