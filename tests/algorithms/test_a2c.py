"""Loss by hand; A2C is PPO on the first pass."""

import pytest
import torch

from posttrain.algorithms import a2c, ppo
from posttrain.batches import ActorCriticExperience
from posttrain.online.kl_penalty import KLPenalty
from tests.algorithms.given import NAN, Given, gradient, sequences_of

SEQUENCES = sequences_of([3, 1])
LOGPROBS = torch.tensor([[-1.0, -2.0, -0.5], [-1.5, 0.0, 0.0]])
VALUES = torch.tensor([[1.0, 2.0, 0.0], [0.3, 0.0, 0.0]])
ADVANTAGES = torch.tensor([[2.0, 1.0, -1.0], [3.0, NAN, NAN]])
RETURNS = torch.tensor([[3.0, 3.0, 0.5], [1.0, NAN, NAN]])


def identity(values: torch.Tensor) -> torch.Tensor:
    return values


def built(kind, module, **settings):
    config = kind.Config(**settings)
    made = {a2c: a2c.A2C, ppo: ppo.PPO}[kind]
    return made(config, module, KLPenalty(config, None, identity), identity)


def batch(old_logprobs: torch.Tensor) -> ActorCriticExperience:
    return ActorCriticExperience(SEQUENCES, old_logprobs, ADVANTAGES, RETURNS, VALUES)


def test_loss_by_hand():
    entropy = torch.tensor([[0.5, 1.0, 0.2], [0.1, NAN, NAN]])
    module = Given(LOGPROBS.clone(), VALUES.clone(), entropy)
    report = built(a2c, module, value_weight=0.5, entropy_weight=0.1).loss(batch(LOGPROBS))
    policy_loss = 2.0 * 1 + 1.0 * 2 - 1.0 * 0.5 + 3.0 * 1.5
    value_loss = 0.5 * (2**2 + 1**2 + 0.5**2 + 0.7**2)
    assert report.loss_sum.item() == pytest.approx(policy_loss + 0.5 * value_loss - 0.1 * 1.8, rel=1e-6)
    assert report.count == 4
    sums = {name: value.item() for name, value in report.metric_sums.items()}
    assert sums == pytest.approx(
        {"policy_loss": policy_loss, "value_loss": value_loss, "ratio": 4, "entropy": 1.8}, rel=1e-6
    )
    assert report.metric_counts["entropy"] == 4
    assert torch.equal(gradient(module, report.loss_sum), torch.where(SEQUENCES.action_mask, -ADVANTAGES, 0.0))


def test_in_the_sequence_view_a_response_is_one_action():
    module = Given(LOGPROBS.clone(), VALUES.clone())
    algorithm = built(a2c, module, view="sequence", entropy_weight=0.0, value_weight=0.5)
    experience = ActorCriticExperience(
        SEQUENCES, torch.tensor([[-3.5], [-1.5]]), torch.tensor([[2.0], [3.0]]), torch.tensor([[3.0], [1.0]]),
        torch.tensor([[1.0], [0.3]]),
    )  # fmt: skip
    report = algorithm.loss(experience)
    value_loss = 0.5 * (2**2 + 0.7**2)
    assert report.loss_sum.item() == pytest.approx(2 * 3.5 + 3 * 1.5 + 0.5 * value_loss, rel=1e-6)
    assert report.count == 2
    assert gradient(module, report.loss_sum).tolist() == [[-2, -2, -2], [-3, 0, 0]]


@pytest.mark.parametrize("view", ["token", "sequence"])
def test_it_is_ppo_on_the_first_pass(view):
    """At ratio 1, with values where they were, PPO's gradient is A2C's."""
    pulls = []
    for kind in (a2c, ppo):
        module = Given(LOGPROBS.clone(), VALUES.clone())
        algorithm = built(kind, module, view=view, entropy_weight=0.0)
        experience = batch(LOGPROBS)
        if view == "sequence":
            columns = (each[:, :1] for each in (ADVANTAGES, RETURNS, VALUES))
            experience = ActorCriticExperience(SEQUENCES, LOGPROBS.sum(-1, keepdim=True), *columns)
        loss = algorithm.loss(experience).loss_sum
        pulls.append([gradient(module, loss), module.values[1].grad])
    for of_a2c, of_ppo in zip(*pulls, strict=True):
        assert of_a2c.any()
        assert torch.allclose(of_a2c, of_ppo, atol=1e-6)
