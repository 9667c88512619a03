"""Preferences in the limit of infinitely many labels: every ordered pair, weighted by how often it is drawn and won."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from posttrain.algorithms.dpo import DPO, Config
from posttrain.batches import ReferencedPairs, Sequences
from posttrain.functional.logprobs import sequence_logprobs
from tests.theory.tabular import Problem


def bradley_terry(rewards: Float[Tensor, "U N"]) -> Float[Tensor, "U N N"]:
    """P(i ≻ j) = e^{r_i} / (e^{r_i} + e^{r_j})."""
    strengths = rewards.exp()
    return strengths.unsqueeze(2) / (strengths.unsqueeze(2) + strengths.unsqueeze(1))


def all_pairs(
    problem: Problem, won: Float[Tensor, "U N N"], drawn: Float[Tensor, "U N"] | None = None
) -> ReferencedPairs:
    """i over j weighs μ(i) μ(j) P(i ≻ j); μ, by which responses are drawn, is uniform without `drawn`."""
    num = problem.rewards.shape[1]
    drawn = torch.full_like(problem.rewards, 1 / num) if drawn is None else drawn
    weight = drawn.unsqueeze(2) * drawn.unsqueeze(1) * won * (1 - torch.eye(num))
    prompt, first, second = weight.nonzero(as_tuple=True)
    better, worse = prompt * num + first, prompt * num + second
    is_tie = torch.zeros(len(better), dtype=torch.bool)
    of_reference = problem.distribution(problem.reference).flatten()
    return ReferencedPairs(problem.shape.everything, better, worse, is_tie, weight[prompt, first, second], of_reference)


def pairs_of(sequences: Sequences, better: list[int], worse: list[int], reference: nn.Module) -> ReferencedPairs:
    """Labels without doubt, of weight 1 each."""
    num = len(better)
    of_reference = sequence_logprobs(reference(sequences), sequences.response_mask).detach()
    index = (torch.tensor(better), torch.tensor(worse))
    return ReferencedPairs(sequences, *index, torch.zeros(num, dtype=torch.bool), torch.ones(num), of_reference)


def dpo(policy: nn.Module, **settings: object) -> DPO:
    return DPO(Config(**settings), policy)


def minimize(module: nn.Module, loss: Callable[[], Tensor]) -> float:
    """To the last digit, by L-BFGS; the loss there."""
    optimizer = torch.optim.LBFGS(
        module.parameters(), max_iter=2000, tolerance_grad=1e-12, tolerance_change=1e-15, history_size=50,
        line_search_fn="strong_wolfe",
    )  # fmt: skip

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = loss()
        value.backward()
        return value

    optimizer.step(closure)
    return float(loss().detach())
