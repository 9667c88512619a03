"""Every method ends at π*(y|x) = π_ref(y|x) e^{r/β} / Z(x), or where its own objective says."""

from functools import partial

import pytest
import torch

from posttrain.algorithms import a2c, ppo
from posttrain.functional.kl import exact_kl
from tests.theory.backwards import grpo_fixed_point
from tests.theory.methods import ACTOR_CRITIC, BETA, GRPO, REINFORCE, Method, TableParts, learn
from tests.theory.pairs import all_pairs, bradley_terry, dpo, minimize
from tests.theory.tabular import Shape, random_problem

ONE_TOKEN = Shape(num_prompts=2, vocabulary=5, max_length=1, has_end=False)
SLOW = partial(pytest.param, marks=pytest.mark.slow)
ALIKE = ("REINFORCE, running_mean", "REINFORCE, batch_mean", "REINFORCE, greedy")
"""Those whose neighbours run in every check."""
CLOSE, NEAR = 0.01, 0.03
"""Total variation, above 0.5 at the start. NEAR is for methods that keep noise where they end: docs/theory.md."""


def test_the_objective_is_lost_by_what_the_policy_is_away_from_the_optimum():
    """J(π) = β E_x log Z(x) − β E_x KL(π ‖ π*), so that π* is the one maximum."""
    problem, policy = random_problem(0), random_problem(1).reference
    log_z = (problem.distribution(problem.reference) + problem.rewards / BETA).logsumexp(-1)
    optimum = problem.optimum(BETA).log()
    for each in (policy, problem.reference):
        lost = exact_kl(problem.distribution(each), optimum).mean()
        assert problem.objective(each, BETA).item() == pytest.approx((BETA * (log_z.mean() - lost)).item(), abs=1e-12)


@pytest.mark.parametrize("name", [SLOW(name) if name in ALIKE else name for name in REINFORCE | ACTOR_CRITIC])
def test_online_methods_end_at_the_optimum(name):
    """Sampled batches: the KL is in the reward, token by token."""
    problem = random_problem(0)
    target = problem.optimum(BETA)
    _, seen = learn((REINFORCE | ACTOR_CRITIC)[name], problem, 0, lambda policy: problem.distance(policy, target))
    knows_the_prompt = name.removeprefix("REINFORCE, ") not in ("none", "running_mean", "batch_mean")
    assert seen[0][1] > 0.5
    assert seen[-1][1] < (CLOSE if knows_the_prompt else NEAR)


@pytest.mark.parametrize(("name", "is_scaled"), [SLOW("GRPO, unscaled", False), ("GRPO", True)])
def test_grpo_ends_elsewhere(name, is_scaled):
    """Its KL stands in the loss as k3, whose gradient is that of KL(π_ref ‖ π), and its scale divides the reward."""
    problem, method = random_problem(0), GRPO[name]
    target = grpo_fixed_point(problem, BETA, method.samples, is_scaled)
    policy, seen = learn(method, problem, 0, lambda policy: problem.distance(policy, target))
    assert seen[0][1] > 0.5
    assert seen[-1][1] < NEAR
    assert problem.distance(policy, problem.optimum(BETA)) > 4 * NEAR


def test_an_entropy_bonus_moves_the_optimum():
    """Of one token: E r − β KL + c H is largest at π ∝ (π_ref^β e^r)^(1 / (β + c))."""
    problem, bonus = random_problem(0, ONE_TOKEN), 0.5
    target = ((BETA * problem.distribution(problem.reference) + problem.rewards) / (BETA + bonus)).softmax(-1)
    method = Method(a2c, {"entropy_weight": bonus, "should_whiten_advantages": False}, num_batches=100)
    policy, seen = learn(method, problem, 0, lambda policy: problem.distance(policy, target))
    assert seen[-1][1] < CLOSE
    assert problem.distance(policy, problem.optimum(BETA)) > 0.1


@pytest.mark.parametrize("beta", [0.2, 1.0])
@pytest.mark.parametrize("drawn", ["uniformly", "by the reference"])
def test_dpo_ends_at_the_optimum(beta, drawn):
    """Labels of the true Bradley-Terry model, all of them: whoever drew the pairs, and at its own β."""
    problem = random_problem(0)
    by = problem.distribution(problem.reference).exp() if drawn == "by the reference" else None
    batch = all_pairs(problem, bradley_terry(problem.rewards), by)
    algorithm = dpo(TableParts(problem).policy(), beta=beta)
    minimize(algorithm.module, lambda: algorithm.loss(batch).loss_sum)
    assert problem.distance(problem.reference, problem.optimum(beta)) > 0.3
    assert problem.distance(algorithm.module, problem.optimum(beta)) < 1e-4


def test_ipo_ends_at_its_own_optimum():
    """π ∝ π_ref e^{w/β}, w(y) the share of uniform opponents that y wins against (Azar et al. 2023, eq. 7)."""
    problem, beta = random_problem(0), 0.2
    won = bradley_terry(problem.rewards)
    algorithm = dpo(TableParts(problem).policy(), beta=beta, objective="ipo")
    batch = all_pairs(problem, won)
    minimize(algorithm.module, lambda: algorithm.loss(batch).loss_sum)
    target = (problem.distribution(problem.reference) + won.mean(-1) / beta).softmax(-1)
    assert problem.distance(algorithm.module, target) < 1e-4
    assert problem.distance(algorithm.module, problem.optimum(beta)) > 0.1


def test_smoothed_labels_hold_the_margin_nearer_to_0():
    """cDPO: σ(β margin) is not P but (1 − ε) P + ε (1 − P)."""
    problem, beta, wrong = random_problem(0, Shape(num_prompts=2, vocabulary=2, max_length=1, has_end=False)), 0.5, 0.1
    batch = all_pairs(problem, bradley_terry(problem.rewards))
    algorithm = dpo(TableParts(problem).policy(), beta=beta, label_smoothing=wrong)
    minimize(algorithm.module, lambda: algorithm.loss(batch).loss_sum)
    log_ratio = (problem.distribution(algorithm.module) - problem.distribution(problem.reference)).detach()
    won = bradley_terry(problem.rewards)[:, 0, 1]
    expected = torch.logit((1 - wrong) * won + wrong * (1 - won))
    assert torch.allclose(beta * (log_ratio[:, 0] - log_ratio[:, 1]), expected, atol=1e-6)
    assert (expected.abs() < (problem.rewards[:, 0] - problem.rewards[:, 1]).abs()).all()


@pytest.mark.parametrize(
    ("held", "free"),
    [
        ({"objective": "kl_penalty", "update_kl_weight": 10.0}, {"objective": "kl_penalty", "update_kl_weight": 0.01}),
        ({"clip": 0.05}, {"clip": 1e6}),
    ],
    ids=["KL penalty", "clip"],
)
def test_penalty_and_clip_hold_an_update_near_the_old_policy(held, free):
    """Thirty passes over one batch: the exact KL(old ‖ new) of whole responses."""
    problem, moved = random_problem(0), []
    for settings in (held, free):
        policy, _ = learn(Method(ppo, settings, num_batches=1, num_passes=30), problem, 0, lambda policy: 0.0)
        old, new = (problem.distribution(each).detach() for each in (problem.reference, policy))
        moved.append(exact_kl(old, new).mean().item())
    assert 0.001 < moved[0] < 0.3 * moved[1]
