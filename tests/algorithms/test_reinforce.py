"""Experience and loss by hand; on real models, the sampler's log-probabilities are the policy's."""

import pytest
import torch
from torch import Tensor

from posttrain.algorithms.reinforce import Config, Reinforce
from posttrain.batches import Experience, RewardStream, Rollout
from posttrain.data.collate import collate_prompts
from posttrain.data.records import Prompt
from posttrain.errors import InputError
from posttrain.functional.reward_streams import place_at_last
from posttrain.models.language_model import LanguageModel, Sampling
from posttrain.models.loading import freeze, load_language_model
from posttrain.rollouts import in_process
from tests.algorithms.given import NAN, Given, gradient, sequences_of
from tests.tiny_models import ONE_PER_FAMILY, random_ids

LENGTHS, INDEX = [3, 1, 2, 2], [0, 0, 1, 1]
LOGPROBS = torch.tensor([[-1.0, -2.0, -0.5], [-1.5, NAN, NAN], [-1.0, -1.0, NAN], [-2.0, -1.0, NAN]])
REFERENCE = torch.tensor([[-1.5, -1.0, -0.5], [-1.0, NAN, NAN], [-1.0, -1.0, NAN], [-1.0, -1.0, NAN]])
# Sums of log-ratios: −0.5, −0.5, 0, −1. Scores 2, 1, −1, 3 at the last token; with β = 0.1 the totals are:
TOTALS = [2.05, 1.05, -1.0, 3.1]


def reinforce(module=None, **settings) -> Reinforce:
    config = Config(**{"kl_weight": 0.1, **settings})
    return Reinforce(config, module or Given(torch.zeros(1)), lambda sequences: REFERENCE, lambda values: values)


def hand_experience(algorithm: Reinforce, is_cut: tuple[bool, ...] = (False,) * 4) -> tuple[Experience, dict]:
    sequences = sequences_of(LENGTHS, INDEX)
    rollout = Rollout(sequences, LOGPROBS, ("",) * 4, torch.tensor(is_cut))
    score = RewardStream("score", *place_at_last(torch.tensor([1.0, 0.5, -0.5, 1.5]), sequences.action_mask))
    return algorithm.experience(rollout, [(2.0, score)])


@pytest.mark.parametrize(
    ("baseline", "expected"),
    [
        ("none", [0.0] * 4),
        ("running_mean", [0.0] * 4),
        ("batch_mean", [1.3] * 4),
        ("leave_one_out", [1.05, 2.05, 3.1, -1.0]),
    ],
)
def test_each_token_has_the_advantage_of_its_response(baseline, expected):
    experience, metrics = hand_experience(reinforce(baseline=baseline))
    mask = experience.sequences.action_mask
    for row, (total, taken) in enumerate(zip(TOTALS, expected, strict=True)):
        assert experience.advantages[row][mask[row]].tolist() == pytest.approx([total - taken] * LENGTHS[row], abs=1e-6)
    assert not experience.advantages[~mask].any()
    assert metrics["reward_minus_kl"].item() == pytest.approx(sum(TOTALS) / 4)
    assert metrics["baseline"].item() == pytest.approx(sum(expected) / 4)
    assert metrics["kl"].item() == pytest.approx((-0.5 - 0.5 + 0 - 1) / 4)
    assert metrics["negative_logprob"].item() == pytest.approx((3.5 + 1.5 + 2 + 3) / 8)


def test_the_running_mean_is_that_of_earlier_batches():
    algorithm = reinforce(baseline="running_mean", running_mean_decay=0.75)
    taken = []
    for change in (0.0, 4.0, 0.0):
        algorithm.config = algorithm.config.model_copy(update={"cut_penalty": change})
        taken.append(hand_experience(algorithm, (True,) * 4)[1]["baseline"].item())
    mean = sum(TOTALS) / 4
    assert taken == pytest.approx([0.0, mean, 0.75 * mean + 0.25 * (mean - 4)])
    again = reinforce(baseline="running_mean", running_mean_decay=0.75)
    again.load_state_dict(algorithm.state_dict())
    both = [hand_experience(each)[1]["baseline"].item() for each in (algorithm, again)]
    assert both[0] == both[1] != taken[2]


def test_in_the_token_view_a_token_is_paid_what_comes_from_it_on():
    experience, _ = hand_experience(reinforce(view="token", baseline="none", discount=0.5))
    # rewards of the first response: −0.05; 0.1; 2
    assert experience.advantages[0].tolist() == pytest.approx([-0.05 + 0.05 + 0.5, 0.1 + 1.0, 2.0], abs=1e-6)
    assert experience.advantages[3].tolist() == pytest.approx([0.1 + 1.5, 3.0, 0.0], abs=1e-6)


def test_a_cut_response_is_fined():
    (plain, before), (fined, after) = (
        hand_experience(reinforce(baseline="none", cut_penalty=penalty), (False, True, False, False))
        for penalty in (0.0, 3.0)
    )
    assert before["reward_minus_kl"] == after["reward_minus_kl"], "rewards and KL alone, as of every method"
    assert (plain.advantages - fined.advantages).tolist() == [[0, 0, 0], [3, 0, 0], [0, 0, 0], [0, 0, 0]]


def test_one_response_to_a_prompt_has_nothing_to_be_compared_with():
    sequences = sequences_of([2, 1, 1], [0, 0, 1])
    rollout = Rollout(sequences, torch.zeros(3, 2), ("",) * 3, torch.zeros(3, dtype=torch.bool))
    score = RewardStream("score", *place_at_last(torch.ones(3), sequences.action_mask))
    algorithm = Reinforce(Config(kl_weight=0.0), Given(torch.zeros(1)), None, lambda values: values)
    with pytest.raises(InputError, match="samples_per_prompt to 2 or more"):
        algorithm.experience(rollout, [(1.0, score)])


def test_without_kl_no_reference_is_asked_for():
    class Parts:
        def policy(self):
            return Given(torch.zeros(1))

        def sum_over_ranks(self, values: Tensor) -> Tensor:
            return values

    from posttrain.algorithms import reinforce as module

    algorithm = module.build(Config(kl_weight=0.0, baseline="none"), Parts())  # pyright: ignore[reportArgumentType]
    experience, metrics = hand_experience(algorithm)
    assert "kl" not in metrics
    assert experience.advantages[:, 0].tolist() == pytest.approx([2.0, 1.0, -1.0, 3.0])
    assert algorithm.should_stop(metrics) is None


def test_loss_by_hand():
    sequences = sequences_of(LENGTHS, INDEX)
    advantages = torch.tensor([[1.0, 1.0, 1.0], [-2.0, NAN, NAN], [0.5, 0.5, NAN], [0.0, 0.0, NAN]])
    module = Given(torch.nan_to_num(LOGPROBS))
    report = reinforce(module).loss(Experience(sequences, LOGPROBS - 0.1, advantages))
    expected = 3.5 - 2 * 1.5 + 0.5 * 2
    assert report.loss_sum.item() == pytest.approx(expected)
    assert report.count == 4
    assert report.metric_counts["ratio"] == 8
    assert (report.metric_sums["ratio"] / 8).item() == pytest.approx(2.718281828**0.1, rel=1e-5)
    masked = torch.where(sequences.action_mask, -advantages, 0.0)
    assert torch.equal(gradient(module, report.loss_sum), masked)


def test_it_says_when_to_end_the_run():
    algorithm = reinforce(reference_kl_limit=5.0)
    assert algorithm.should_stop({"kl": 5.0}) is None
    assert algorithm.should_stop({"kl": 7.256}) == (
        "KL to the reference is 7.26 a response, above algorithm.reference_kl_limit=5.0"
    )
    assert not algorithm.should_leave_batch({})


@pytest.mark.parametrize("name", ONE_PER_FAMILY)
def test_ratio_is_1_and_kl_starts_at_0(name, model_folder):
    sampling = Sampling(temperature=0.7, top_k=5)
    start = load_language_model(str(model_folder(name)), 0.0)
    policy = LanguageModel(start.model, sampling).eval()
    reference = freeze(LanguageModel(load_language_model(str(model_folder(name)), 0.0).model, sampling))
    config = in_process.Config(max_new_tokens=8, samples_per_prompt=4, **sampling.model_dump())
    draws = torch.Generator().manual_seed(1)
    prompts = collate_prompts([random_ids(n, draws) for n in (3, 6, 1)], [Prompt("")] * 3)
    rollout = in_process.build(config, policy, start).generate(prompts, step=0)
    algorithm = Reinforce(Config(), policy, reference, lambda values: values)
    scores = rollout.sequences.response_ids.float().mean(-1)
    stream = RewardStream("score", *place_at_last(scores, rollout.sequences.action_mask))
    experience, metrics = algorithm.experience(rollout, [(1.0, stream)])
    assert metrics["kl"].item() == pytest.approx(0, abs=1e-4)
    report = algorithm.loss(experience)
    ratio = report.metric_sums["ratio"] / report.metric_counts["ratio"]
    assert ratio.item() == pytest.approx(1, abs=1e-5)
