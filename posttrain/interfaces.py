"""The seams of the system: everything that can be swapped, on one page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

from jaxtyping import Float, Int
from torch import Tensor, nn

from posttrain.batches import Batch, Experience, Prompts, RewardStream, Rollout, Sequences
from posttrain.settings import Settings


@dataclass(frozen=True)
class LossReport:
    """A loss as a sum and what to divide it by, so that microbatches and ranks add up exactly.

    Metrics are divided by the same count when logged, unless `metric_counts` has one of their own.
    """

    loss_sum: Float[Tensor, ""]
    count: Float[Tensor, ""] | Int[Tensor, ""]
    metric_sums: Mapping[str, Tensor]
    metric_counts: Mapping[str, Tensor]


Consumes = Literal[
    "demonstrations", "preferences", "referenced_preferences", "judgements", "span_judgements", "rollouts"
]
"""What an algorithm is fed: the module attribute `CONSUMES` of each file in algorithms/."""


Pooling = Literal["last", "mean"]
"""What a score is read from: the state after the response's last token, or the mean of the states after each token."""


@runtime_checkable
class Algorithm(Protocol):
    """A loss on a batch, and the module that it trains."""

    module: nn.Module

    def loss(self, batch: Any) -> LossReport: ...


@runtime_checkable
class OnlineAlgorithm(Algorithm, Protocol):
    """Also: how a rollout and its weighted rewards become a batch, and when to leave the batch, or the run, early."""

    def experience(
        self, rollout: Rollout, rewards: Sequence[tuple[float, RewardStream]]
    ) -> tuple[Experience, dict[str, Tensor]]: ...
    def should_leave_batch(self, metrics: Mapping[str, float]) -> bool: ...
    def after_batch(self, metrics: Mapping[str, float]) -> None: ...
    def should_stop(self, metrics: Mapping[str, float]) -> str | None: ...
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: Mapping[str, Any]) -> None: ...


@runtime_checkable
class AgainstGreedy(OnlineAlgorithm, Protocol):
    """Also: experience that compares a rollout with the policy's likeliest response to each prompt."""

    def experience_against(
        self,
        rollout: Rollout,
        rewards: Sequence[tuple[float, RewardStream]],
        greedy: Rollout,
        greedy_rewards: Sequence[tuple[float, RewardStream]],
    ) -> tuple[Experience, dict[str, Tensor]]: ...


class Reward(Protocol):
    """Judges spans of a rollout; sequence, segment and token rewards differ only in where they speak."""

    def __call__(self, rollout: Rollout) -> RewardStream: ...


@runtime_checkable
class RolloutEngine(Protocol):
    """Three verbs: act, give the likeliest response to each prompt, and take new weights."""

    def generate(self, prompts: Prompts, step: int) -> Rollout: ...
    def greedy(self, prompts: Prompts) -> Rollout: ...
    def load_weights(self, policy: nn.Module, version: int) -> None: ...


class ModelFamily(Protocol):
    """How one kind of language model reads a prompt and writes a response. The only place that shifts tokens.

    `states` gives the last hidden states [B, R + 1, D]: column t is the state after t response tokens were
    read. So `states[:, :-1]` predict the response tokens, and `states[:, 1:]` have read them.
    """

    def states(self, backbone: nn.Module, sequences: Sequences) -> Float[Tensor, "B R1 D"]: ...


class Policy(Protocol):
    def __call__(self, sequences: Sequences) -> Float[Tensor, "B R"]: ...


class ActorCritic(Protocol):
    """Log-probabilities and values, each [B, R], and the entropy of each token's distribution where it is asked for."""

    def __call__(self, sequences: Sequences, has_entropy: bool = False) -> tuple[Float[Tensor, "B R"], ...]: ...


class Scorer(Protocol):
    """One score a response, [B]."""

    def __call__(self, sequences: Sequences) -> Float[Tensor, "B"]: ...


class Parts(Protocol):
    """What `build(config, parts)` of an algorithm may ask for; each is made when it is asked for, once."""

    def policy(self) -> nn.Module: ...
    def reference(self) -> Policy: ...
    def actor_critic(self) -> nn.Module: ...
    def scorer(self, pooling: Pooling, learns_tie_strength: bool = False) -> nn.Module: ...
    def span_scorer(self, spans: Settings) -> nn.Module: ...
    def sum_over_ranks(self, values: Tensor) -> Tensor: ...


__all__ = [
    "ActorCritic", "AgainstGreedy", "Algorithm", "Batch", "Consumes", "LossReport", "ModelFamily", "OnlineAlgorithm",
    "Parts", "Policy", "Reward", "RolloutEngine", "Scorer",
]  # fmt: skip
