"""Batches made by acting: prompts → rollout → reward streams → experience."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from posttrain.batches import Experience, Prompts, RewardStream, Rollout
from posttrain.errors import NumericStop
from posttrain.functional.response_statistics import correlation, joint_moments, repeated_share
from posttrain.interfaces import AgainstGreedy, OnlineAlgorithm, Reward, RolloutEngine
from posttrain.training.distributed import Ranks

REPEATED = 3
"""Tokens of the pieces of a response that are looked for again in it."""


@dataclass(frozen=True)
class WeightedReward:
    name: str
    weight: float
    judge: Reward


@dataclass(frozen=True)
class Act:
    """Everything that stands between prompts and a training batch."""

    engine: RolloutEngine
    rewards: Sequence[WeightedReward]
    ranks: Ranks

    def experience(
        self, algorithm: OnlineAlgorithm, prompts: Prompts, step: int
    ) -> tuple[Experience, dict[str, float], Rollout, list[RewardStream]]:
        self.engine.load_weights(algorithm.module, step)
        rollout = self.engine.generate(prompts, step)
        weighted = self._judged(rollout, step)
        if isinstance(algorithm, AgainstGreedy):
            greedy = self.engine.greedy(prompts)
            experience, metrics = algorithm.experience_against(rollout, weighted, greedy, self._judged(greedy, step))
        else:
            experience, metrics = algorithm.experience(rollout, weighted)
        return experience, self._means(metrics, rollout, weighted), rollout, [stream for _, stream in weighted]

    def _judged(self, rollout: Rollout, step: int) -> list[tuple[float, RewardStream]]:
        """What each reward says, with its weight. NumericStop if a score is not finite."""
        streams = [reward.judge(rollout) for reward in self.rewards]
        for reward, stream in zip(self.rewards, streams, strict=True):
            if wrong := stream.nonfinite_rows():
                message = f"reward {reward.name} gave a score that is not finite at step {step}"
                raise NumericStop(message, [rollout.examples[i] for i in wrong])
        return [(reward.weight, stream) for reward, stream in zip(self.rewards, streams, strict=True)]

    def _means(
        self, metrics: dict[str, Tensor], rollout: Rollout, weighted: Sequence[tuple[float, RewardStream]]
    ) -> dict[str, float]:
        """Means over the responses of all ranks, which hold equally many."""
        metrics, sequences = dict(metrics), rollout.sequences
        metrics["reward"] = torch.stack([weight * stream.totals().mean() for weight, stream in weighted]).sum()
        for _, stream in weighted:
            metrics[f"reward/{stream.name}"] = stream.totals().mean()
            metrics[f"judged_spans/{stream.name}"] = stream.mask.sum(-1).float().mean()
            share = stream.num_truncated / len(rollout)
            metrics[f"reward_truncated_share/{stream.name}"] = torch.tensor(share, device=stream.values.device)
        metrics["length"] = sequences.lengths.float().mean()
        metrics["cut_share"] = rollout.is_cut.float().mean()
        rows = zip(sequences.response_ids, sequences.response_mask, strict=True)
        repeated = [repeated_share(ids[mask].tolist(), REPEATED) for ids, mask in rows]
        metrics["repetition"] = torch.tensor(repeated, device=rollout.is_cut.device).mean()
        rewards = torch.stack([weight * stream.totals() for weight, stream in weighted]).sum(0)
        with_length = joint_moments(rewards, sequences.lengths.float())
        of_rank = torch.cat([torch.stack([value.double() for value in metrics.values()]), with_length])
        values = self.ranks.sum(of_rank) / self.ranks.size
        means = dict(zip(metrics, values[: len(metrics)].tolist(), strict=True))
        for _, stream in weighted:
            if num_spans := means[f"judged_spans/{stream.name}"]:
                means[f"reward_per_span/{stream.name}"] = means[f"reward/{stream.name}"] / num_spans
        means["reward_length_correlation"] = float(correlation(values[len(metrics) :]))
        if "kl" in means:
            means["kl_per_token"] = means["kl"] / max(means["length"], 1.0)
        return means
