"""The online methods as they run, but the policy is a table, it samples from a list, and rewards are known."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from types import ModuleType

import torch
from torch import Tensor, nn

from posttrain.algorithms import a2c, grpo, ppo, reinforce
from posttrain.batches import Prompts, Rollout
from posttrain.interfaces import OnlineAlgorithm
from posttrain.settings import Settings
from posttrain.training.distributed import Ranks
from posttrain.training.experience import Act, WeightedReward
from posttrain.training.loop import Passes, train_on_batch
from tests.theory.tabular import Problem, TableActorCritic, policy_of

ONE = Ranks(0, 1, torch.device("cpu"))
BETA = 0.5
NO_LIMIT = 1e9
"""Norm to which gradients are clipped."""


@dataclass
class TableParts:
    """What `build(config, parts)` asks for: a policy that starts as a copy of the reference."""

    problem: Problem
    values: Tensor | None = None

    def policy(self) -> nn.Module:
        return deepcopy(self.problem.reference).requires_grad_(True)

    def reference(self) -> nn.Module:
        return self.problem.reference

    def actor_critic(self) -> nn.Module:
        return TableActorCritic(self.policy(), self.problem.shape, self.values)

    def sum_over_ranks(self, values: Tensor) -> Tensor:
        return values


@dataclass
class ListEngine:
    """Samples from the list of all responses, by their probabilities."""

    problem: Problem
    samples: int
    generator: torch.Generator
    policy: nn.Module = field(init=False)

    def load_weights(self, policy: nn.Module, version: int) -> None:
        self.policy = policy_of(policy)

    def _rows(self, of_prompts: Tensor) -> list[int]:
        first = torch.arange(len(of_prompts)).unsqueeze(1) * len(self.problem.shape.responses)
        return (of_prompts + first).flatten().tolist()

    def generate(self, prompts: Prompts, step: int) -> Rollout:
        with torch.no_grad():
            shares = self.problem.distribution(self.policy).exp()
        drawn = shares.multinomial(self.samples, replacement=True, generator=self.generator)
        return self.problem.rollout(self.policy, self._rows(drawn))

    def greedy(self, prompts: Prompts) -> Rollout:
        with torch.no_grad():
            likeliest = self.problem.distribution(self.policy).argmax(-1, keepdim=True)
        return self.problem.rollout(self.policy, self._rows(likeliest))


@dataclass(frozen=True)
class Method:
    """An algorithm with its settings, and how it is run."""

    module: ModuleType
    settings: dict[str, object] = field(default_factory=dict)
    num_batches: int = 200
    samples: int = 1024  # of each prompt, in each batch
    num_passes: int = 1
    learning_rate: float = 0.1

    def config(self, **changes: object) -> Settings:
        return self.module.Config(**({"kl_weight": BETA} | self.settings | changes))

    def build(self, problem: Problem, values: Tensor | None = None) -> OnlineAlgorithm:
        return self.module.build(self.config(), TableParts(problem, values))


BASELINES = ("none", "running_mean", "batch_mean", "leave_one_out", "greedy", "value")
REINFORCE = {f"REINFORCE, {name}": Method(reinforce, {"baseline": name}) for name in BASELINES}
# Four passes, so that the ratio leaves 1 and the clip or the penalty acts.
MANY_PASSES = {"num_batches": 80, "num_passes": 4}
ACTOR_CRITIC = {
    "PPO, clip": Method(ppo, {}, **MANY_PASSES),
    "PPO, clip, sequence": Method(ppo, {"view": "sequence"}, **MANY_PASSES),
    "PPO, KL penalty": Method(ppo, {"objective": "kl_penalty"}, **MANY_PASSES),
    "A2C": Method(a2c, {"entropy_weight": 0.0}),
}
GRPO = {
    "GRPO, unscaled": Method(grpo, {"should_scale": False, "averages": "token"}),
    "GRPO": Method(grpo, {"averages": "token"}),
}


def learn(
    method: Method, problem: Problem, seed: int, watch: Callable[[nn.Module], float]
) -> tuple[nn.Module, list[tuple[int, float]]]:
    """The policy after training, and what `watch` saw of it over optimiser steps. The learning rate falls to 0."""
    algorithm = method.build(problem)
    engine = ListEngine(problem, method.samples, torch.Generator().manual_seed(seed))
    act = Act(engine, [WeightedReward("reward", 1.0, problem.judge)], ONE)
    optimizer = torch.optim.Adam(algorithm.module.parameters(), lr=method.learning_rate)
    passes = Passes(method.num_passes, None, None, NO_LIMIT)
    shuffle, policy = torch.Generator().manual_seed(seed), policy_of(algorithm.module)
    seen = [(0, watch(policy))]
    for batch in range(method.num_batches):
        optimizer.param_groups[0]["lr"] = method.learning_rate * (1 - batch / method.num_batches) ** 2
        experience, _, _, _ = act.experience(algorithm, problem.shape.everything.prompts, batch)
        train_on_batch(algorithm, experience, optimizer, passes, shuffle, ONE)
        if (batch + 1) % 10 == 0:
            seen.append(((batch + 1) * method.num_passes, watch(policy)))
    return policy, seen
