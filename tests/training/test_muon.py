"""Muon: what a step does to a matrix, which parameters it takes, and that a run with it resumes to the same bits."""

import copy

import pytest
import torch
from torch import nn

from posttrain.config import TrainingSettings
from posttrain.models.language_model import LanguageModel
from posttrain.models.loading import load_language_model, new_scorer
from posttrain.training.optimizer import MOMENTUM, Muon, build_optimizer, orthogonalized


@pytest.mark.parametrize("shape", [(6, 6), (12, 5), (5, 12)])
def test_singular_values_go_to_about_one_and_directions_stay(shape):
    torch.manual_seed(0)
    u, s, vh = torch.linalg.svd(torch.randn(shape), full_matrices=False)
    matrix = u @ torch.diag(torch.linspace(1.0, 0.05, len(s))) @ vh
    found = orthogonalized(matrix.unsqueeze(0))[0]
    aligned = u.T @ found @ vh.T
    assert (aligned - torch.diag(aligned.diagonal())).abs().max() < 1e-4
    assert aligned.diagonal().min() > 0.65
    assert aligned.diagonal().max() < 1.25


def test_each_matrix_of_a_stack_is_its_own():
    torch.manual_seed(0)
    stack = torch.randn(3, 4, 7) * torch.tensor([1.0, 1e3, 0.0]).view(3, 1, 1)
    together = orthogonalized(stack)
    for alone, among in zip(stack, together, strict=True):
        torch.testing.assert_close(orthogonalized(alone.unsqueeze(0))[0], among, rtol=1e-5, atol=1e-6)
    assert (together[2] == 0).all()


def muon(parameter: nn.Parameter, lr: float, weight_decay: float) -> Muon:
    return Muon([{"params": [parameter], "lr": lr, "weight_decay": weight_decay, "is_matrix": True}])


def test_a_step_by_hand():
    """A tall matrix of orthogonal columns: the update is it with both singular values moved near 1, times √(4/2)."""
    parameter = nn.Parameter(torch.ones(4, 2))
    gradient = torch.tensor([[3.0, 0.0], [0.0, 3.0], [0.0, 0.0], [0.0, 0.0]])
    optimizer = muon(parameter, 0.1, 0.5)
    parameter.grad = gradient.clone()
    optimizer.step()
    # Newton-Schulz on the scalar 1/√2, the singular values of the gradient over its Frobenius norm.
    x = 2**-0.5
    for _ in range(5):
        x = 3.4445 * x - 4.7750 * x**3 + 2.0315 * x**5
    expected = torch.full((4, 2), 1 - 0.1 * 0.5) - 0.1 * 2**0.5 * x * gradient / 3
    torch.testing.assert_close(parameter.detach(), expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(optimizer.state[parameter]["momentum"], (1 - MOMENTUM) * gradient)


def test_the_size_of_the_gradient_does_not_matter():
    torch.manual_seed(0)
    start, gradient = torch.randn(5, 3), torch.randn(5, 3)
    ends = []
    for scale in (1.0, 1e4):
        parameter = nn.Parameter(start.clone())
        parameter.grad = scale * gradient
        muon(parameter, 0.1, 0.0).step()
        ends.append(parameter.detach())
    assert not torch.equal(ends[0], start)
    torch.testing.assert_close(ends[0], ends[1], rtol=1e-5, atol=1e-5)


def settings(**changes) -> TrainingSettings:
    return TrainingSettings(**{"num_steps": 10, "batch_size": 1, "learning_rate": 0.1, **changes})


@pytest.mark.parametrize("architecture", ["t5", "bart", "gpt2", "llama"])
def test_matrices_are_weights_between_hidden_states(architecture, model_folder):
    policy = LanguageModel(load_language_model(str(model_folder(architecture)), 0.0).model)
    names = {parameter: name for name, parameter in policy.named_parameters()}
    optimizer = build_optimizer(policy, settings(matrix_learning_rate=0.02))
    taken = {names[p] for group in optimizer.param_groups if group["is_matrix"] for p in group["params"]}
    assert {group["lr"] for group in optimizer.param_groups if group["is_matrix"]} == {0.02}
    assert {group["lr"] for group in optimizer.param_groups if not group["is_matrix"]} == {0.1}
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(names)
    outside = ("embed", "shared", "relative_attention_bias", "wte", "wpe", "norm", "bias", "ln_", "lm_head")
    assert taken == {name for name in names.values() if not any(word in name for word in outside)}


def test_the_score_head_is_no_matrix(model_folder):
    scorer = new_scorer(str(model_folder("llama")), 0.0)
    optimizer = build_optimizer(scorer, settings(matrix_learning_rate=0.02))
    matrices = [p for group in optimizer.param_groups if group["is_matrix"] for p in group["params"]]
    assert not any(p is scorer.head.weight for p in matrices)


def test_without_a_matrix_rate_it_is_adamw(model_folder):
    policy = LanguageModel(load_language_model(str(model_folder("llama")), 0.0).model)
    assert type(build_optimizer(policy, settings())) is torch.optim.AdamW


def test_its_state_resumes_to_the_same_bits():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(4, 6), nn.Linear(6, 3))
    inputs = torch.randn(5, 4)

    def steps(module: nn.Module, optimizer: torch.optim.Optimizer, num: int) -> None:
        for _ in range(num):
            module(inputs).square().sum().backward()
            optimizer.step()
            optimizer.zero_grad()

    optimizer = build_optimizer(module, settings(matrix_learning_rate=0.02))
    steps(module, optimizer, 2)
    resumed = copy.deepcopy(module)
    other = build_optimizer(resumed, settings(matrix_learning_rate=0.02))
    other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    steps(module, optimizer, 3)
    steps(resumed, other, 3)
    for ours, theirs in zip(module.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(ours, theirs)
