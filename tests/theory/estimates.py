"""The exact mean and variance of a gradient estimate: every batch that can be drawn, with its probability."""

from collections.abc import Iterator
from itertools import combinations_with_replacement, product
from math import factorial, prod

import torch
from jaxtyping import Float
from torch import Tensor

from posttrain.interfaces import AgainstGreedy, OnlineAlgorithm
from tests.theory.methods import ListEngine
from tests.theory.tabular import Problem, policy_of


def batches(problem: Problem, shares: Float[Tensor, "U N"], samples: int) -> Iterator[tuple[float, list[int]]]:
    """Every batch of `samples` responses to each prompt, in any one order, and its probability in all of them."""
    num = len(problem.shape.responses)
    of_prompts = []
    for prompt, of_responses in enumerate(shares.tolist()):
        drawn = []
        for chosen in combinations_with_replacement(range(num), samples):
            orders = factorial(samples) / prod(factorial(chosen.count(each)) for each in set(chosen))
            drawn.append((orders * prod(of_responses[i] for i in chosen), [prompt * num + i for i in chosen]))
        of_prompts.append(drawn)
    for together in product(*of_prompts):
        yield prod(chance for chance, _ in together), [row for _, rows in together for row in rows]


def gradient(algorithm: OnlineAlgorithm, problem: Problem, rows: list[int]) -> Float[Tensor, "D"]:
    """Of the loss's sum over a batch by the policy's logits, for one response."""
    policy = policy_of(algorithm.module)
    rollout = problem.rollout(policy, rows)
    rewards = [(1.0, problem.judge(rollout))]
    if isinstance(algorithm, AgainstGreedy):
        engine = ListEngine(problem, 1, torch.Generator())
        engine.load_weights(policy, 0)
        greedy = engine.greedy(problem.shape.everything.prompts)
        experience, _ = algorithm.experience_against(rollout, rewards, greedy, [(1.0, problem.judge(greedy))])
    else:
        experience, _ = algorithm.experience(rollout, rewards)
    (found,) = torch.autograd.grad(algorithm.loss(experience).loss_sum, [policy.logits])
    return found.flatten() / len(rows)


def mean_and_variance(algorithm: OnlineAlgorithm, problem: Problem, samples: int) -> tuple[Float[Tensor, "D"], float]:
    """The mean, and the sum of the variances of all of its components."""
    with torch.no_grad():
        shares = problem.distribution(policy_of(algorithm.module)).exp()
    before = algorithm.state_dict()
    mean, squares = torch.zeros(()), 0.0
    for chance, rows in batches(problem, shares, samples):
        algorithm.load_state_dict(before)  # what a method remembers of earlier batches stays what it was
        found = gradient(algorithm, problem, rows)
        mean, squares = mean + chance * found, squares + chance * float(found @ found)
    return mean, squares - float(mean @ mean)


def exact_gradient(algorithm: OnlineAlgorithm, problem: Problem, beta: float) -> Float[Tensor, "D"]:
    """Of −J(π), differentiated through the sum over every response."""
    policy = policy_of(algorithm.module)
    (found,) = torch.autograd.grad(-problem.objective(policy, beta), [policy.logits])
    return found.flatten()
