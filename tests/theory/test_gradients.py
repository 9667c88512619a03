"""Sampled gradients equal the exact one in the mean; what a baseline does to it, and to the variance."""

from dataclasses import replace

import pytest
import torch

from posttrain.algorithms import a2c, ppo, reinforce
from tests.theory.backwards import state_values
from tests.theory.estimates import exact_gradient, mean_and_variance
from tests.theory.methods import BETA, Method
from tests.theory.tabular import Problem, Shape, TablePolicy, policy_of, random_problem

FEW = Shape(num_prompts=2, vocabulary=2, max_length=3)  # four responses to each prompt
ONE_PROMPT = Shape(num_prompts=1, vocabulary=3, max_length=2)  # seven responses
UNWHITENED = {"should_whiten_advantages": False, "trace_decay": 1.0}


def started(method: Method, problem: Problem, has_exact_values: bool = False):
    """The algorithm with a policy away from the reference, so that there is a KL to pay."""
    other = random_problem(7, problem.shape).reference
    assert isinstance(other, TablePolicy)
    values = state_values(problem, other, BETA) if has_exact_values else None
    algorithm = method.build(problem, values)
    with torch.no_grad():
        policy_of(algorithm.module).logits.copy_(other.logits)
    return algorithm


def of_baseline(name: str, **settings: object) -> Method:
    return Method(reinforce, {"baseline": name, **settings})


@pytest.mark.parametrize("view", ["sequence", "token"])
@pytest.mark.parametrize("name", ["none", "leave_one_out", "greedy", "value"])
def test_the_score_function_gradient_is_exact_in_the_mean(name, view):
    problem = random_problem(0, FEW)
    algorithm = started(of_baseline(name, view=view), problem)
    mean, variance = mean_and_variance(algorithm, problem, samples=2)
    exact = exact_gradient(algorithm, problem, BETA)
    assert exact.norm() > 0.1
    assert variance > 0.1
    assert torch.allclose(mean, exact, atol=1e-10)


def test_a_running_mean_is_of_earlier_batches_and_so_leaves_the_mean_alone():
    problem = random_problem(0, FEW)
    algorithm = started(of_baseline("running_mean"), problem)
    algorithm.load_state_dict(algorithm.state_dict() | {"running_mean": 0.8})
    mean, _ = mean_and_variance(algorithm, problem, samples=2)
    assert torch.allclose(mean, exact_gradient(algorithm, problem, BETA), atol=1e-10)


@pytest.mark.parametrize("size", [2, 3])
def test_a_batch_mean_scales_the_gradient_by_1_less_1_over_b(size):
    """It holds the response's own return; divided by 1 − 1/B it is the leave-one-out baseline of one prompt."""
    problem, found = random_problem(0, ONE_PROMPT), {}
    for name in ("batch_mean", "leave_one_out"):
        algorithm = started(of_baseline(name), problem)
        found[name] = mean_and_variance(algorithm, problem, size)
    share = 1 - 1 / size
    exact = exact_gradient(algorithm, problem, BETA)
    assert torch.allclose(found["batch_mean"][0], share * exact, atol=1e-10)
    assert torch.allclose(found["leave_one_out"][0], exact, atol=1e-10)
    assert found["batch_mean"][1] == pytest.approx(share**2 * found["leave_one_out"][1], rel=1e-9)


@pytest.mark.parametrize("module", [a2c, ppo])
@pytest.mark.parametrize("view", ["sequence", "token"])
def test_actor_critics_without_trace_decay_are_exact_whatever_the_values(module, view):
    problem = random_problem(0, FEW)
    values = torch.randn(2, FEW.num_states, generator=torch.Generator().manual_seed(0))
    settings = UNWHITENED | {"view": view} | ({"entropy_weight": 0.0} if module is a2c else {})
    algorithm = started(Method(module, settings), problem)
    with torch.no_grad():
        algorithm.module.values.copy_(values)
    mean, _ = mean_and_variance(algorithm, problem, samples=1)
    assert torch.allclose(mean, exact_gradient(algorithm, problem, BETA), atol=1e-10)


def test_trace_decay_is_exact_with_exact_values_only():
    problem = random_problem(0, FEW)
    method = Method(ppo, UNWHITENED | {"trace_decay": 0.5})
    errors = []
    for has_exact_values in (True, False):
        algorithm = started(method, problem, has_exact_values)
        mean, _ = mean_and_variance(algorithm, problem, samples=1)
        errors.append(float((mean - exact_gradient(algorithm, problem, BETA)).norm()))
    assert errors[0] < 1e-10
    assert errors[1] > 0.01


ORDER = ("none", "batch_mean", "leave_one_out", "value")


def variances(problem: Problem, samples: int = 2) -> dict[str, float]:
    """Of the gradient of one batch, per baseline. That of batch_mean is after its mean was scaled back."""
    found = {}
    for name, view in [(name, "sequence") for name in ORDER] + [("value", "token")]:
        algorithm = started(of_baseline(name, view=view), problem, has_exact_values=True)
        mean, variance = mean_and_variance(algorithm, problem, samples)
        exact = exact_gradient(algorithm, problem, BETA)
        shrunk = float(mean @ exact / (exact @ exact))
        found[f"{name}, {view}"] = variance / shrunk**2
    return found


def shifted(problem: Problem, by: torch.Tensor) -> Problem:
    return replace(problem, rewards=problem.rewards - problem.rewards.mean(-1, keepdim=True) + by.unsqueeze(1))


def test_baselines_lower_the_variance_where_returns_are_far_from_0_and_prompts_differ():
    found = variances(shifted(random_problem(0, FEW), torch.tensor([1.0, 4.0])))
    of_responses = [found[f"{name}, sequence"] for name in ORDER]
    assert of_responses == sorted(of_responses, reverse=True)
    assert of_responses[0] > 5 * of_responses[-1]
    assert found["value, token"] < found["value, sequence"]


def test_that_order_is_no_law():
    """Where returns are near 0 already, an estimated baseline adds its own noise: no baseline is the better one."""
    found = variances(shifted(random_problem(0, FEW), torch.tensor([0.0, 0.0])))
    assert found["leave_one_out, sequence"] > found["none, sequence"]
    assert found["leave_one_out, sequence"] > found["value, sequence"]


def test_a_batch_mean_of_one_prompt_is_leave_one_out():
    problem = shifted(random_problem(0, ONE_PROMPT), torch.tensor([2.0]))
    found = variances(problem)
    assert found["batch_mean, sequence"] == pytest.approx(found["leave_one_out, sequence"], rel=1e-9)


def test_the_noise_is_gone_at_the_optimum_with_a_baseline_that_knows_the_prompt():
    """There r − β log π*/π_ref is β log Z(x) for every response: nothing is left but what a baseline does not take."""
    problem = random_problem(0, FEW)
    optimal = optimal_policy(problem)
    found = {}
    for name in ORDER:
        algorithm = of_baseline(name).build(problem, state_values(problem, optimal, BETA))
        with torch.no_grad():
            policy_of(algorithm.module).logits.copy_(optimal.logits)
        mean, found[name] = mean_and_variance(algorithm, problem, samples=2)
        assert mean.norm() < 1e-10
    assert found["leave_one_out"] < 1e-20
    assert found["value"] < 1e-20
    assert min(found["none"], found["batch_mean"]) > 0.01


def optimal_policy(problem: Problem) -> TablePolicy:
    """π*, token by token: the share of each next token among the responses that go on from a state."""
    shape, everything = problem.shape, problem.shape.everything
    states, rows = shape.states(everything), everything.prompt_index.unsqueeze(1).expand_as(everything.response_ids)
    mass = torch.full((shape.num_prompts, shape.num_states, shape.vocabulary), 1e-300)
    mask = everything.response_mask
    weights = problem.optimum(BETA).flatten().unsqueeze(1).expand_as(mask)
    mass = mass.index_put((rows[mask], states[mask], everything.response_ids[mask]), weights[mask], accumulate=True)
    return TablePolicy(shape, mass.log())
