"""What is taken from rewards, and a weight that follows its target."""

import pytest
import torch
from torch import Tensor

from posttrain.batches import RewardStream, Rollout
from posttrain.functional.reward_streams import place_at_last
from posttrain.online.kl_penalty import KLPenalty, kl_penalty
from posttrain.online.settings import OnlineSettings
from tests.algorithms.given import sequences_of


class Parts:
    def __init__(self) -> None:
        self.asked = 0

    def reference(self):
        self.asked += 1
        return lambda sequences: torch.zeros(2, 2)

    def sum_over_ranks(self, values: Tensor) -> Tensor:
        return values


@pytest.mark.parametrize(
    ("settings", "asked"),
    [({"kl_weight": 0.0}, 0), ({}, 1), ({"kl_target": 1.0}, 1),
     ({"kl_weight": 0.0, "reference_kl_limit": 1.0}, 1)],
)  # fmt: skip
def test_a_reference_is_made_where_something_asks_for_it(settings, asked):
    parts = Parts()
    made = kl_penalty(OnlineSettings(**settings), parts)  # pyright: ignore[reportArgumentType]
    assert parts.asked == asked
    assert (made.reference is None) == (asked == 0)


def test_a_weight_of_0_cannot_follow_a_target():
    with pytest.raises(ValueError, match="give a kl_weight"):
        OnlineSettings(kl_weight=0.0, kl_target=1.0)


def rewarded(penalty: KLPenalty):
    sequences = sequences_of([2, 1])
    rollout = Rollout(sequences, torch.zeros(2, 2), ("", ""), torch.tensor([False, True]))
    stream = RewardStream("score", *place_at_last(torch.tensor([3.0, 5.0]), sequences.action_mask))
    logprobs = torch.tensor([[2.0, 1.0], [0.5, 0.0]])
    return rollout, [(1.0, stream)], logprobs


def test_token_rewards_by_hand():
    settings = OnlineSettings(kl_weight=0.5, cut_penalty=0.25)
    penalty = KLPenalty(settings, lambda _: torch.zeros(2, 2), lambda x: x)
    token_rewards, metrics = penalty.token_rewards(*rewarded(penalty))
    assert token_rewards.tolist() == [[-1.0, 2.5], [4.5, 0.0]]
    assert metrics["kl"] == 1.75
    assert metrics["reward_minus_kl"].item() == pytest.approx((1.5 + 4.75) / 2)
    assert "kl_weight" not in metrics
    rollout, rewards, logprobs = rewarded(penalty)
    totals, same = penalty.unpenalized(rollout, rewards, logprobs, penalty.log_ratio(rollout, logprobs))
    assert totals.tolist() == [3.0, 4.75]
    assert {name: value.item() for name, value in same.items()} == {n: v.item() for n, v in metrics.items()}


def test_the_weight_follows_its_target_and_is_saved():
    settings = OnlineSettings(kl_weight=0.5, kl_target=1.0, kl_horizon=20)
    penalty = KLPenalty(settings, lambda _: torch.zeros(2, 2), lambda x: x * 2)  # two ranks alike
    _, metrics = penalty.token_rewards(*rewarded(penalty))
    assert metrics["kl_weight"] == 0.5, "what this batch was paid with"
    penalty.adapt(metrics, 2)
    assert penalty.kl_weight == pytest.approx(0.5 * (1 + 0.2 * 4 / 20))
    again = KLPenalty(settings, None, lambda x: x)
    again.load_state_dict(penalty.state_dict())
    assert again.kl_weight == penalty.kl_weight
    fixed = KLPenalty(OnlineSettings(kl_weight=0.5), lambda _: torch.zeros(2, 2), lambda x: x)
    fixed.adapt(metrics, 2)
    assert fixed.kl_weight == 0.5
