"""What every online method takes from its rewards: the KL to the reference, and a fine for cut responses."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from posttrain.batches import RewardStream, Rollout, stacked
from posttrain.functional.kl_control import toward_reference_target
from posttrain.functional.masked import masked_mean
from posttrain.functional.reward_streams import kl_penalized, place_at_last
from posttrain.interfaces import Parts, Policy
from posttrain.online.settings import OnlineSettings


def kl_penalty(settings: OnlineSettings, parts: Parts) -> "KLPenalty":
    """With a reference only where something asks for one: it costs memory and a forward of every response."""
    limits = (settings.reference_kl_limit, settings.kl_target)
    is_asked_for = settings.kl_weight > 0 or any(limit is not None for limit in limits)
    return KLPenalty(settings, parts.reference() if is_asked_for else None, parts.sum_over_ranks)


@dataclass
class KLPenalty:
    """`kl_weight` is today's: with a `kl_target` it follows the KL (Ziegler et al. 2019)."""

    settings: OnlineSettings
    reference: Policy | None
    sum_over_ranks: Callable[[Tensor], Tensor]
    kl_weight: float = field(init=False)

    def __post_init__(self) -> None:
        self.kl_weight = self.settings.kl_weight

    def log_ratio(self, rollout: Rollout, logprobs: Float[Tensor, "B R"]) -> Float[Tensor, "B R"]:
        """log π − log π_ref of each action; 0 without a reference, and where nothing counts."""
        if self.reference is None:
            return torch.zeros_like(logprobs)
        return torch.where(rollout.sequences.action_mask, logprobs - self.reference(rollout.sequences), 0.0)

    def token_rewards(
        self, rollout: Rollout, rewards: Sequence[tuple[float, RewardStream]], logprobs: Float[Tensor, "B R"]
    ) -> tuple[Float[Tensor, "B R"], dict[str, Tensor]]:
        """Σ_k w_k R_k − β (log π − log π_ref), less the fine of a cut response at its last token; and metrics.

        `logprobs` are those of the policy that sampled.
        """
        mask, log_ratio = rollout.sequences.action_mask, self.log_ratio(rollout, logprobs)
        rewarded = kl_penalized(*stacked(rewards), log_ratio, self.kl_weight, mask)
        return rewarded - self._fine(rollout), self._metrics(logprobs, rewarded, log_ratio, mask)

    def unpenalized(
        self, rollout: Rollout, rewards: Sequence[tuple[float, RewardStream]], logprobs: Float[Tensor, "B R"],
        log_ratio: Float[Tensor, "B R"],
    ) -> tuple[Float[Tensor, "B"], dict[str, Tensor]]:  # fmt: skip
        """Σ_k w_k R_k of each response, less the fine, for a method whose KL stands in the loss; the same metrics."""
        mask, (streams, weights) = rollout.sequences.action_mask, stacked(rewards)
        paid = kl_penalized(streams, weights, log_ratio, 0.0, mask) - self._fine(rollout)
        rewarded = kl_penalized(streams, weights, log_ratio, self.kl_weight, mask)
        return paid.sum(-1), self._metrics(logprobs, rewarded, log_ratio, mask)

    def _fine(self, rollout: Rollout) -> Float[Tensor, "B R"]:
        fines = self.settings.cut_penalty * rollout.is_cut.float()
        return place_at_last(fines, rollout.sequences.action_mask)[0]

    def _metrics(
        self, logprobs: Float[Tensor, "B R"], rewarded: Float[Tensor, "B R"], log_ratio: Float[Tensor, "B R"],
        mask: Bool[Tensor, "B R"],
    ) -> dict[str, Tensor]:  # fmt: skip
        metrics = {
            "negative_logprob": masked_mean(-logprobs, mask),  # an unbiased estimate of the entropy
            "reward_minus_kl": rewarded.sum(-1).mean(),
        }
        if self.reference is not None:
            metrics["kl"] = log_ratio.sum(-1).mean()
        if self.settings.kl_target is not None:
            metrics["kl_weight"] = torch.tensor(self.kl_weight, device=mask.device)
        return metrics

    def adapt(self, metrics: Mapping[str, Tensor], num_responses: int) -> None:
        """Lead the weight to its target, if there is one, by the KL of a batch that was paid with the weight before."""
        if self.settings.kl_target is None:
            return
        kl = metrics["kl"]
        count, total = self.sum_over_ranks(torch.stack([kl.new_tensor(num_responses), kl * num_responses]).double())
        self.kl_weight = toward_reference_target(
            self.kl_weight, float(total / count), self.settings.kl_target, int(count), self.settings.kl_horizon
        )

    def stop_reason(self, metrics: Mapping[str, float]) -> str | None:
        """Why a run has to end after a batch with these metrics; None where it goes on."""
        limit = self.settings.reference_kl_limit
        if limit is None or metrics["kl"] <= limit:
            return None
        return f"KL to the reference is {metrics['kl']:.2f} a response, above algorithm.reference_kl_limit={limit}"

    def state_dict(self) -> dict[str, Any]:
        return {"kl_weight": self.kl_weight}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.kl_weight = state["kl_weight"]
