"""Experience and loss by hand."""

import math

import pytest
import torch
from torch import Tensor

from posttrain.algorithms.grpo import GRPO, Config
from posttrain.batches import ReferencedExperience, RewardStream, Rollout
from posttrain.errors import InputError
from posttrain.functional.reward_streams import place_at_last
from posttrain.online.kl_penalty import KLPenalty
from tests.algorithms.given import NAN, Given, gradient, sequences_of

LENGTHS, INDEX = [3, 1, 2, 2], [0, 0, 1, 1]
LOGPROBS = torch.tensor([[-1.0, -2.0, -0.5], [-1.5, NAN, NAN], [-1.0, -1.0, NAN], [-2.0, -1.0, NAN]])
REFERENCE = torch.tensor([[-1.5, -1.0, -0.5], [-1.0, NAN, NAN], [-1.0, -1.0, NAN], [-1.0, -1.0, NAN]])


def identity(values: Tensor) -> Tensor:
    return values


def grpo(module, reference=REFERENCE, **settings) -> GRPO:
    config = Config(**settings)
    return GRPO(config, module, KLPenalty(config, None if reference is None else lambda _: reference, identity))


def hand_experience(scores: list[float], index: list[int] | None = None, **settings):
    sequences = sequences_of(LENGTHS, index or INDEX)
    rollout = Rollout(sequences, torch.zeros(4, 3), ("",) * 4, torch.tensor([False] * 4))
    stream = RewardStream("score", *place_at_last(torch.tensor(scores), sequences.action_mask))
    return grpo(Given(LOGPROBS), **settings).experience(rollout, [(2.0, stream)])


def test_experience_by_hand():
    experience, metrics = hand_experience([1.0, 0.5, 2.0, 2.0], kl_weight=0.1)
    # Returns 2 and 1: mean 1.5, deviation 0.5; the other group is all alike.
    expected = [[0.9998] * 3, [-0.9998, 0, 0], [0, 0, 0], [0, 0, 0]]
    assert experience.advantages.tolist() == [pytest.approx(row, abs=1e-4) for row in expected]
    assert metrics["equal_groups"].item() == 0.5
    assert metrics["kl"].item() == pytest.approx((-0.5 - 0.5 + 0 - 1) / 4)
    assert metrics["reward_minus_kl"].item() == pytest.approx((2 + 1 + 4 + 4) / 4 + 0.1 * 0.5)
    mask = experience.sequences.action_mask
    assert torch.allclose(experience.reference_logprobs[mask], REFERENCE[mask])


def test_the_weight_that_is_logged_stands_in_the_loss():
    """A mean KL of −0.5 is far below the target: the weight falls by a fifth of 4 responses in 20."""
    sequences = sequences_of(LENGTHS, INDEX)
    stream = RewardStream("score", *place_at_last(torch.ones(4), sequences.action_mask))
    algorithm = grpo(Given(torch.nan_to_num(LOGPROBS)), kl_weight=0.5, kl_target=3.0, kl_horizon=20)
    rollout = Rollout(sequences, torch.zeros(4, 3), ("",) * 4, torch.tensor([False] * 4))
    experience, metrics = algorithm.experience(rollout, [(1.0, stream)])
    assert metrics["kl_weight"].item() == pytest.approx(0.5 * (1 - 0.2 * 4 / 20))
    # All advantages are 0, which leaves weight × k3 of log-ratios 0.5, −1, 0; −0.5; 0, 0; −1, 0.
    k3 = [math.exp(-x) - 1 + x for x in (0.5, -1.0, -0.5)]
    of_responses = (k3[0] + k3[1]) / 3 + k3[2] + k3[1] / 2
    assert algorithm.loss(experience).loss_sum.item() == pytest.approx(
        metrics["kl_weight"].item() * of_responses, rel=1e-5
    )


def test_without_scaling_and_with_a_fine():
    experience, _ = hand_experience([1.0, 0.5, 2.0, 5.0], should_scale=False)
    assert experience.advantages[:, 0].tolist() == pytest.approx([0.5, -0.5, -3.0, 3.0])


def test_a_prompt_needs_two_responses():
    with pytest.raises(InputError, match=r"algorithm\.name=grpo: a prompt has one response only"):
        hand_experience([1.0] * 4, [0, 0, 1, 2])


@pytest.mark.parametrize("averages", ["response", "token"])
def test_loss_by_hand(averages):
    sequences = sequences_of([2, 1])
    old = torch.tensor([[-1.0, -2.0], [-1.0, NAN]])
    ratios = torch.tensor([[1.5, 1.0], [0.5, 1.0]])
    reference = torch.tensor([[-1.0, -1.0], [-1.0, NAN]])
    advantages = torch.tensor([[2.0, 2.0], [-1.0, NAN]])
    module = Given(torch.nan_to_num(old + ratios.log()))
    report = grpo(module, kl_weight=0.1, averages=averages).loss(
        ReferencedExperience(sequences, old, advantages, reference)
    )
    log_ratios = [[math.log(1.5), -1.0], [math.log(0.5)]]
    kl = [[math.exp(-x) - 1 + x for x in row] for row in log_ratios]
    of_tokens = [[-1.2 * 2 + 0.1 * kl[0][0], -2.0 + 0.1 * kl[0][1]], [0.8 + 0.1 * kl[1][0]]]
    if averages == "response":
        expected, count = sum(of_tokens[0]) / 2 + of_tokens[1][0], 2
    else:
        expected, count = sum(of_tokens[0]) + of_tokens[1][0], 3
    assert report.loss_sum.item() == pytest.approx(expected, rel=1e-5)
    assert report.count == count
    assert report.metric_sums["clip_fraction"] == 2
    assert report.metric_counts["ratio"] == 3
    assert gradient(module, report.loss_sum).isfinite().all()


def test_without_kl_there_is_no_reference_and_none_in_the_loss():
    experience, metrics = hand_experience([1.0, 0.5, 2.0, 2.0], kl_weight=0.0, reference=None)
    assert "kl" not in metrics
    module = Given(torch.nan_to_num(LOGPROBS))
    report = grpo(module, None, kl_weight=0.0, averages="token").loss(experience)
    assert report.loss_sum.item() == pytest.approx(-0.9998 * 2, abs=1e-3)
