import pytest
import torch

from posttrain.algorithms.rejection_sampling import Config, RejectionSampling
from posttrain.batches import RewardStream, Rollout
from posttrain.errors import InputError
from posttrain.functional.reward_streams import place_at_last
from posttrain.online.kl_penalty import KLPenalty
from tests.algorithms.given import Given, gradient, sequences_of


def algorithm_of(module, **settings) -> RejectionSampling:
    config = Config(**settings)
    return RejectionSampling(config, module, KLPenalty(config, lambda _: torch.tensor(0.0), lambda values: values))


def made(index: list[int], **settings):
    sequences = sequences_of([1, 2, 3, 1, 2], index)
    logprobs = torch.arange(15.0).view(5, 3) / -10
    rollout = Rollout(sequences, logprobs, ("",) * 5, torch.tensor([False, False, False, True, False]))
    stream = RewardStream("score", *place_at_last(torch.tensor([1.0, 3.0, 2.0, 5.0, 4.0]), sequences.action_mask))
    return algorithm_of(Given(torch.zeros(1)), **settings).experience(rollout, [(1.0, stream)])


def test_the_best_of_each_prompt_is_kept():
    experience, metrics = made([0, 0, 1, 1, 1])
    assert experience.sequences.lengths.tolist() == [2, 1]
    assert experience.sequences.prompt_index.tolist() == [0, 1]
    assert metrics["best_return"] == 4
    fined, _ = made([0, 0, 1, 1, 1], cut_penalty=2.0)
    assert fined.sequences.lengths.tolist() == [2, 2], "the cut one is no longer the best"


def test_kl_takes_part_in_what_is_best():
    experience, _ = made([0, 0, 0, 0, 0], kl_weight=10.0)
    assert experience.sequences.lengths.tolist() == [2], "the last one: 4 + 10 · 2.5"


def test_a_prompt_needs_two_responses():
    with pytest.raises(InputError, match=r"algorithm\.name=rejection_sampling"):
        made([0, 0, 1, 1, 2])


def test_the_loss_is_that_of_imitation():
    experience, _ = made([0, 0, 1, 1, 1])
    module = Given(torch.tensor([[-1.0, -2.0, -7.0], [-0.5, -7.0, -7.0]]))
    report = algorithm_of(module).loss(experience)
    assert report.loss_sum.item() == pytest.approx(3.5)
    assert report.count == 3
    assert gradient(module, report.loss_sum).tolist() == [[-1, -1, 0], [-1, 0, 0]]
