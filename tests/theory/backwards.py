"""Exact values and fixed points, found from the last token to the first."""

import torch
from jaxtyping import Float
from torch import Tensor

from tests.theory.tabular import Problem, TablePolicy


def _following(
    problem: Problem, rewards: Float[Tensor, "U T"], values: Float[Tensor, "U S"], state: int
) -> Float[Tensor, "U V"]:
    """What each token leads to: the reward where it ends the response, otherwise the value of the next state."""
    shape, after = problem.shape, torch.zeros(problem.shape.num_prompts, problem.shape.vocabulary)
    for token in range(shape.vocabulary):
        is_over = shape.is_over(state, token)
        after[:, token] = (rewards if is_over else values)[:, shape.after(state, token)]
    return after


def state_values(problem: Problem, policy: TablePolicy, beta: float) -> Float[Tensor, "U S"]:
    """V(s) = Σ_a π(a|s) [r or V(s') − β (log π − log π_ref)(a|s)]: the exact return from each state on."""
    ours, theirs = (each.logits.detach().log_softmax(-1) for each in (policy, problem.reference))
    values = torch.zeros(problem.shape.num_prompts, problem.shape.num_states)
    for state in reversed(range(problem.shape.num_states)):
        paid = beta * (ours - theirs)[:, state]
        after = _following(problem, problem.rewards_of_stretches, values, state)
        values[:, state] = (ours[:, state].exp() * (after - paid)).sum(-1)
    return values


def grpo_fixed_point(problem: Problem, kl_weight: float, samples: int, is_scaled: bool) -> Float[Tensor, "U N"]:
    """Where E[A ∇log π] = β ∇k3 in every state: π(a|s) = β' π_ref(a|s) / (β' + V(s) − Q(s, a)).

    The gradient of k3, with the policy's own samples, is that of KL(π_ref ‖ π). A group's mean holds the response's own
    reward, which scales the first side by 1 − 1/G: so β' = β G / (G − 1). Scaled advantages divide rewards by their
    standard deviation under the policy that is sought: so it is found by repetition.
    """
    scale, policy = torch.ones(problem.shape.num_prompts, 1), problem.reference
    for _ in range(20 if is_scaled else 1):
        policy = _unscaled_fixed_point(problem, kl_weight * samples / (samples - 1), scale)
        shares = problem.distribution(policy).detach().exp()
        mean = (shares * problem.rewards).sum(-1, keepdim=True)
        scale = (shares * (problem.rewards - mean) ** 2).sum(-1, keepdim=True).sqrt()
    return problem.distribution(policy).detach().exp()


def _unscaled_fixed_point(problem: Problem, kl_weight: float, scale: Float[Tensor, "U 1"]) -> TablePolicy:
    theirs, rewards = problem.reference.logits.softmax(-1), problem.rewards_of_stretches / scale
    values = torch.zeros(problem.shape.num_prompts, problem.shape.num_states)
    probabilities = torch.empty_like(theirs)
    for state in reversed(range(problem.shape.num_states)):
        after = _following(problem, rewards, values, state)
        # Σ_a β' π_ref / (c − Q) falls in c: at `low` one term alone is 1, at `high` none is above its π_ref.
        low = (after + kl_weight * theirs[:, state]).amax(-1, keepdim=True)
        high = after.amax(-1, keepdim=True) + kl_weight
        for _ in range(50):
            middle = (low + high) / 2
            is_above = (kl_weight * theirs[:, state] / (middle - after)).sum(-1, keepdim=True) > 1
            low, high = torch.where(is_above, middle, low), torch.where(is_above, high, middle)
        probabilities[:, state] = kl_weight * theirs[:, state] / (high - after)
        values[:, state] = (probabilities[:, state] * after).sum(-1)
    return TablePolicy(problem.shape, probabilities.log())
