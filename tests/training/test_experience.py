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

    def greedy(self, prompts: Any) -> Rollout:
        sequences = random_sequences([3, 2], [[1], [3]])
        return Rollout(sequences, torch.zeros(2, 3), ("e", "f"), torch.tensor([False, False]))

    def generate(self, prompts: Any, step: int) -> Rollout:
        sequences = random_sequences([3, 2], [[2, 5], [1, 4]])
        is_cut = torch.tensor([False, True, False, False])
        return Rollout(sequences, torch.zeros(sequences.response_ids.shape), ("a", "b", "c", "d"), is_cut)


class Algorithm:
    """Makes no experience: gives back what it was given."""

    module = nn.Linear(1, 1)

    def experience(self, rollout: Rollout, rewards: Any) -> tuple[Any, dict[str, torch.Tensor]]:
        return rewards, {"kl": torch.tensor(0.5)}


class Compares(Algorithm):
    """Gives back what it was given of the greedy responses too."""

    def experience_against(self, rollout: Rollout, rewards: Any, greedy: Rollout, of_greedy: Any) -> tuple[Any, dict]:
        return (rewards, greedy, of_greedy), {"kl": torch.tensor(0.5)}

    def loss(self, batch): ...
    def should_leave_batch(self, metrics): ...
    def after_batch(self, metrics): ...
    def should_stop(self, metrics): ...
    def state_dict(self): ...
    def load_state_dict(self, state): ...


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
            "judged_spans/first": 1,
            "judged_spans/second": 1,
            "reward_per_span/first": 3,
            "reward_per_span/second": 0.5,
            "reward_truncated_share/first": 0.75,
            "reward_truncated_share/second": 0,
            "length": 3,
            "cut_share": 0.25,
            "repetition": 0,
            # rewards 2, 4, 5, 11 and lengths 2, 5, 1, 4: deviations −3.5, −1.5, −0.5, 5.5 and −1, 2, −2, 1
            "reward_length_correlation": (3.5 - 3 + 1 + 5.5) / (45 * 10) ** 0.5,
            "kl_per_token": 0.5 / 3,
        }
    )
    assert len(rollout) == 4


def test_spans_are_counted_and_have_a_mean_of_their_own():
    """2, 5, 1 and 4 tokens: a reward that judges each after the first has 1, 4, 0 and 3 spans."""

    def later(rollout: Rollout) -> RewardStream:
        mask = rollout.sequences.action_mask.clone()
        mask[:, 0] = False
        return RewardStream("later", torch.full(mask.shape, -0.5).cumsum(-1), mask)

    def silent(rollout: Rollout) -> RewardStream:
        nothing = torch.zeros_like(rollout.sequences.action_mask)
        return RewardStream("silent", nothing.float(), nothing)

    _, metrics, _, _ = act(WeightedReward("later", 1.0, later), WeightedReward("silent", 1.0, silent))
    assert metrics["judged_spans/later"] == 2
    total = -(1 + (1 + 1.5 + 2 + 2.5) + (1 + 1.5 + 2))
    assert metrics["reward/later"] == pytest.approx(total / 4)
    assert metrics["reward_per_span/later"] == pytest.approx(total / 8), "a mean over spans, not over responses"
    assert metrics["judged_spans/silent"] == metrics["reward/silent"] == 0
    assert "reward_per_span/silent" not in metrics


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), -float("inf")])
def test_a_reward_that_is_no_number_is_named_with_the_prompts_it_was_given_for(wrong):
    with pytest.raises(NumericStop, match="reward second gave a score that is not finite at step 7") as stop:
        act(judge("first", [1, 2, 3, 6]), judge("second", [0, 0, wrong, 1]))
    assert [prompt.text for prompt in stop.value.prompts] == ["prompt 1"]


def test_greedy_responses_are_judged_as_samples_are():
    def length(rollout: Rollout) -> RewardStream:
        mask = rollout.sequences.action_mask
        return RewardStream("length", *place_at_last(mask.sum(-1).float(), mask))

    reward = WeightedReward("length", 2.0, length)
    made, metrics, _, _ = Act(Engine(), (reward,), ONE).experience(Compares(), None, step=7)
    rewards, greedy, of_greedy = made
    assert greedy.texts == ("e", "f")
    assert rewards[0][1].totals().tolist() == [2, 5, 1, 4]
    assert of_greedy[0][0] == 2.0
    assert of_greedy[0][1].totals().tolist() == [1, 3]
    assert metrics["reward/length"] == 3.0, "of the samples"
