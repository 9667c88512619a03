"""Prompts become a training batch: what is logged of the rewards, and what is no reward."""

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import nn

from posttrain.batches import RewardStream, Rollout
from posttrain.errors import NumericStop
from posttrain.functional.reward_streams import place_at_last
from posttrain.training.distributed import Ranks
from posttrain.training.experience import Act, WeightedReward
from tests.tiny_models import random_sequences

ONE = Ranks(0, 1, torch.device("cpu"))


@dataclass
class Engine:
    """Answers with responses that were written before; one of the four was cut."""

    version: int = -1

    def load_weights(self, policy: nn.Module, version: int) -> None:
        self.version = version

    def generate(self, prompts: Any, step: int) -> Rollout:
        sequences = random_sequences([3, 2], [[2, 5], [1, 4]])
        is_cut = torch.tensor([False, True, False, False])
        return Rollout(sequences, torch.zeros(sequences.response_ids.shape), ("a", "b", "c", "d"), is_cut)


class Algorithm:
    """Makes no experience: gives back what it was given."""

    module = nn.Linear(1, 1)

    def experience(self, rollout: Rollout, rewards: Any) -> tuple[Any, dict[str, torch.Tensor]]:
        return rewards, {"kl": torch.tensor(0.5)}


def judge(name: str, scores: list[float], num_truncated: int = 0) -> WeightedReward:
    def reward(rollout: Rollout) -> RewardStream:
        values, mask = place_at_last(torch.tensor(scores).float(), rollout.sequences.action_mask)
        return RewardStream(name, values, mask, num_truncated)

    return WeightedReward(name, {"first": 2.0}.get(name, -1.0), reward)


def act(*rewards: WeightedReward) -> Any:
    return Act(Engine(), rewards, ONE).experience(Algorithm(), None, step=7)  # pyright: ignore[reportArgumentType]


def test_means_by_hand():
    rewards, metrics, rollout, streams = act(judge("first", [1, 2, 3, 6], 3), judge("second", [0, 0, 1, 1]))
    assert [weight for weight, _ in rewards] == [2.0, -1.0]
    assert [stream.name for stream in streams] == ["first", "second"]
    assert metrics == pytest.approx(
        {
            "kl": 0.5,
            "reward": 2 * 3 - 0.5,
            "reward/first": 3,
            "reward/second": 0.5,
            "reward_truncated_share/first": 0.75,
            "reward_truncated_share/second": 0,
            "length": 3,
            "cut_share": 0.25,
        }
    )
    assert len(rollout) == 4


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), -float("inf")])
def test_a_reward_that_is_no_number_is_named_with_the_prompts_it_was_given_for(wrong):
    with pytest.raises(NumericStop, match="reward second gave a score that is not finite at step 7") as stop:
        act(judge("first", [1, 2, 3, 6]), judge("second", [0, 0, wrong, 1]))
    assert [prompt.text for prompt in stop.value.prompts] == ["prompt 1"]
