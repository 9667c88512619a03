"""DPO's gradient, its two failure modes made on purpose, and what holds them: DPOP, IPO, smoothing, or PPO's KL."""

import math

import pytest
import torch

from tests.theory.failures import (
    A_B,
    BETA,
    ONE_OF_FOUR,
    TWO_WORDS,
    by_ppo,
    displaced,
    free_policy,
    unbounded,
    word_policy,
)
from tests.theory.methods import TableParts
from tests.theory.pairs import all_pairs, bradley_terry, dpo, minimize
from tests.theory.tabular import random_problem


def test_the_gradient_is_a_weighted_difference_of_scores():
    """−β Σ w σ(r̂(y⁻) − r̂(y⁺)) [∇log π(y⁺) − ∇log π(y⁻)], r̂ = β log π/π_ref."""
    problem, policy = random_problem(0), random_problem(1).reference.requires_grad_(True)
    batch = all_pairs(problem, bradley_terry(problem.rewards))
    (found,) = torch.autograd.grad(dpo(policy, beta=BETA).loss(batch).loss_sum, [policy.logits])
    logprobs = problem.distribution(policy).flatten()
    implicit = BETA * (logprobs - batch.reference_logprobs).detach()
    wrong = batch.weight * torch.sigmoid(implicit[batch.worse] - implicit[batch.better])
    scores = [torch.autograd.grad(each, [policy.logits], retain_graph=True)[0] for each in logprobs]
    differences = torch.stack(scores)[batch.better] - torch.stack(scores)[batch.worse]
    expected = -BETA * torch.einsum("n,nusv->usv", wrong, differences)
    assert expected.norm() > 0.01
    assert torch.allclose(found, expected, atol=1e-12)


def test_at_the_optimum_the_implicit_reward_is_the_reward_but_for_a_number_of_the_prompt():
    """r = β log π*/π_ref + β log Z(x)."""
    problem = random_problem(0)
    algorithm = dpo(TableParts(problem).policy(), beta=BETA)
    batch = all_pairs(problem, bradley_terry(problem.rewards))
    minimize(algorithm.module, lambda: algorithm.loss(batch).loss_sum)
    theirs = problem.distribution(problem.reference)
    rest = problem.rewards - BETA * (problem.distribution(algorithm.module) - theirs).detach()
    log_z = (theirs + problem.rewards / BETA).logsumexp(-1, keepdim=True)
    assert torch.allclose(rest, (BETA * log_z).expand_as(rest), atol=1e-4)


def test_failure_a_the_better_response_loses_likelihood_while_the_margin_grows():
    seen = displaced()
    margins = [each["margin"] for each in seen]
    assert margins == sorted(margins)
    assert seen[-1]["accuracy"] == 1
    assert seen[-1]["chosen_log_ratio"] < -3
    assert seen[-1]["chosen_below_reference"] == 1
    assert seen[-1]["rejected_log_ratio"] < seen[-1]["chosen_log_ratio"]  # the worse one falls further


def test_failure_b_the_margin_grows_without_bound():
    margins = [each["margin"] for each in unbounded()]
    assert margins == sorted(margins)
    assert margins[-1] - margins[len(margins) // 2] > 0.5


@pytest.mark.parametrize("beta", [0.2, 1.0])
def test_failure_b_the_reference_does_not_hold_whatever_beta(beta):
    """It has the worse response at 1/4, which goes to 0."""
    last = unbounded(beta=beta)[-1]
    assert math.log(0.25) + last["rejected_log_ratio"] < math.log(1 / 500)


def test_dpop_removes_a():
    last = displaced(displacement_weight=5 * BETA)[-1]
    assert last["chosen_log_ratio"] > -0.05
    assert last["margin"] > 0.1


def test_dpop_removes_a_with_a_weight_above_beta_only():
    """A nat that `a` loses gives β of margin and costs λ of displacement."""
    assert displaced(displacement_weight=0.5 * BETA)[-1]["chosen_log_ratio"] < -3


def test_five_times_beta_outside_is_five_inside():
    inside = displaced(displacement_weight=5.0, displacement_convention="inside_beta")
    outside = displaced(displacement_weight=5 * BETA)
    assert inside[-1]["chosen_log_ratio"] == pytest.approx(outside[-1]["chosen_log_ratio"], abs=1e-9)


def test_dpop_does_not_remove_b():
    """The better response never falls below the reference there, so that nothing of DPOP is felt at all."""
    with_it, without = unbounded(displacement_weight=5 * BETA), unbounded()
    assert [each["margin"] for each in with_it] == [each["margin"] for each in without]
    assert min(each["chosen_log_ratio"] for each in with_it) >= 0


@pytest.mark.parametrize(
    ("settings", "margin"), [({"objective": "ipo"}, 0.5), ({"label_smoothing": 0.1}, math.log(9))], ids=["ipo", "cdpo"]
)
def test_ipo_and_smoothing_bound_the_margin(settings, margin):
    """β × log-ratios: ½ with IPO, log((1 − ε) / ε) with cDPO."""
    assert unbounded(**settings)[-1]["margin"] == pytest.approx(margin, abs=1e-3)


def test_ppo_shows_no_a():
    """J(π) ≥ J(π_ref) is π(y⁺) − β KL ≥ π_ref(y⁺), so that the better response is not given up."""
    problem, policy, log_ratios = by_ppo(word_policy(), TWO_WORDS, A_B)
    assert log_ratios[A_B] > 0.05
    assert problem.objective(policy, BETA) > problem.objective(problem.reference, BETA)


def test_ppo_shows_no_b():
    """β × margin ends at the difference of the rewards, 1; DPO's goes on."""
    _, _, log_ratios = by_ppo(free_policy(), ONE_OF_FOUR, 0)
    assert 0.9 < BETA * (log_ratios[0] - log_ratios[1]).item() < 1.1
