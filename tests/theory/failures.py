"""Two problems on which DPO fails: one whose responses share words, and one whose labels leave no doubt."""

from functools import cache

import torch
from torch import nn

from posttrain.algorithms import ppo
from posttrain.functional.logprobs import sequence_logprobs
from tests.theory.methods import Method, learn
from tests.theory.pairs import dpo, pairs_of
from tests.theory.tabular import Problem, Shape, TablePolicy, WordPolicy

BETA = 0.2
TWO_WORDS = Shape(num_prompts=1, vocabulary=2, max_length=2, has_end=False)
A_A, A_B, B_A, B_B = range(4)  # rows of `TWO_WORDS.everything`
ONE_OF_FOUR = Shape(num_prompts=1, vocabulary=4, max_length=1, has_end=False)


def word_policy() -> WordPolicy:
    """One distribution of words at both positions: a with 0.7, b with 0.3."""
    return WordPolicy(torch.tensor([[0.7, 0.3]]).log())


def free_policy() -> TablePolicy:
    return TablePolicy(ONE_OF_FOUR, torch.zeros(1, 1, 4))


def trained(
    policy: nn.Module, reference: nn.Module, shape: Shape, pair: tuple[int, int], steps: int, beta: float,
    **settings: object,
) -> list[dict[str, float]]:  # fmt: skip
    """Metrics of DPO's own report, over steps of Adam on one pair: the first response is the better one."""
    algorithm, batch = dpo(policy, beta=beta, **settings), pairs_of(shape.everything, [pair[0]], [pair[1]], reference)
    optimizer, seen = torch.optim.Adam(policy.parameters(), lr=0.05), []
    for _ in range(steps):
        report = algorithm.loss(batch)
        seen.append({name: float(total) for name, total in report.metric_sums.items()})
        optimizer.zero_grad()
        report.loss_sum.backward()
        optimizer.step()
    return seen


@cache
def displaced(steps: int = 300, **settings: object) -> list[dict[str, float]]:
    """`a b` is better than `a a`: the pair asks for fewer a, and the better response has one."""
    return trained(word_policy(), word_policy(), TWO_WORDS, (A_B, A_A), steps, BETA, **settings)


@cache
def unbounded(steps: int = 600, beta: float = BETA, **settings: object) -> list[dict[str, float]]:
    """Free logits, and a label without doubt: the first of four words is better than the second."""
    return trained(free_policy(), free_policy(), ONE_OF_FOUR, (0, 1), steps, beta, **settings)


def by_ppo(reference: nn.Module, shape: Shape, better: int) -> tuple[Problem, nn.Module, torch.Tensor]:
    """PPO, its KL in the reward; the better response is worth 1, all others 0. Also log π/π_ref of each at the end."""
    rewards = torch.zeros(1, len(shape.responses))
    rewards[0, better] = 1.0
    problem = Problem(shape, reference.requires_grad_(False), rewards)
    method = Method(ppo, {"kl_weight": BETA}, num_batches=150, num_passes=2, samples=128, learning_rate=0.05)
    policy, _ = learn(method, problem, 0, lambda policy: 0.0)
    sequences = shape.everything
    return (
        problem,
        policy,
        sequence_logprobs(policy(sequences) - reference(sequences), sequences.response_mask).detach(),
    )
