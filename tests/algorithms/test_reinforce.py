"""Experience and loss by hand; on real models, the sampler's log-probabilities are the policy's."""

import pytest
import torch
from torch import Tensor

from posttrain.algorithms.reinforce import Config, Reinforce, ReinforceAgainstGreedy, ReinforceWithValue
from posttrain.batches import Experience, RewardStream, Rollout
from posttrain.data.collate import collate_prompts
from posttrain.data.records import Prompt
from posttrain.errors import InputError
from posttrain.functional.reward_streams import place_at_last
from posttrain.models.language_model import LanguageModel, Sampling
from posttrain.models.loading import freeze, load_language_model
from posttrain.online.kl_penalty import KLPenalty
from posttrain.rollouts import in_process
from tests.algorithms.given import NAN, Given, gradient, sequences_of
from tests.tiny_models import ONE_PER_FAMILY, random_ids

LENGTHS, INDEX = [3, 1, 2, 2], [0, 0, 1, 1]
LOGPROBS = torch.tensor([[-1.0, -2.0, -0.5], [-1.5, NAN, NAN], [-1.0, -1.0, NAN], [-2.0, -1.0, NAN]])
REFERENCE = torch.tensor([[-1.5, -1.0, -0.5], [-1.0, NAN, NAN], [-1.0, -1.0, NAN], [-1.0, -1.0, NAN]])
# Sums of log-ratios: −0.5, −0.5, 0, −1. Scores 2, 1, −1, 3 at the last token; with β = 0.1 the totals are:
TOTALS = [2.05, 1.05, -1.0, 3.1]


def identity(values: Tensor) -> Tensor:
    return values


def reinforce(module=None, kind=Reinforce, **settings) -> Reinforce:
    config = Config(**{"kl_weight": 0.1, **settings})
    penalty = KLPenalty(config, lambda sequences: REFERENCE, identity)
    return kind(config, module or Given(torch.zeros(1)), penalty, identity)


def hand_rollout(is_cut: tuple[bool, ...]) -> tuple[Rollout, list[tuple[float, RewardStream]]]:
    sequences = sequences_of(LENGTHS, INDEX)
    score = RewardStream("score", *place_at_last(torch.tensor([1.0, 0.5, -0.5, 1.5]), sequences.action_mask))
    return Rollout(sequences, LOGPROBS, ("",) * 4, torch.tensor(is_cut)), [(2.0, score)]


def hand_experience(algorithm: Reinforce, is_cut: tuple[bool, ...] = (False,) * 4) -> tuple[Experience, dict]:
    return algorithm.experience(*hand_rollout(is_cut))


@pytest.mark.parametrize(
    ("baseline", "expected"),
    [
        ("none", [0.0] * 4),
        ("running_mean", [0.0] * 4),
        ("batch_mean", [1.3] * 4),
        ("leave_one_out", [1.05, 2.05, 3.1, -1.0]),
    ],
)
def test_a_response_is_one_action_whose_advantage_is_its_return_less_the_baseline(baseline, expected):
    experience, metrics = hand_experience(reinforce(baseline=baseline))
    mask = experience.sequences.action_mask
    for row, (total, taken) in enumerate(zip(TOTALS, expected, strict=True)):
        assert experience.advantages[row].tolist() == pytest.approx([total - taken], abs=1e-6)
        assert experience.old_logprobs[row].item() == pytest.approx(LOGPROBS[row][mask[row]].sum().item())
    assert metrics["reward_minus_kl"].item() == pytest.approx(sum(TOTALS) / 4)
    assert metrics["baseline"].item() == pytest.approx(sum(expected) / 4)
    assert metrics["kl"].item() == pytest.approx((-0.5 - 0.5 + 0 - 1) / 4)
    assert metrics["negative_logprob"].item() == pytest.approx((3.5 + 1.5 + 2 + 3) / 8)


def test_the_running_mean_is_that_of_earlier_batches():
    algorithm = reinforce(baseline="running_mean", running_mean_decay=0.75)
    taken = []
    for change in (0.0, 4.0, 0.0):
        algorithm.penalty.settings = algorithm.config.model_copy(update={"cut_penalty": change})
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


def test_a_baseline_is_discounted_as_returns_are():
    """In the token view at γ = 0.5, responses 3, 1, 2 and 2 long are worth 0.5, 1.05, −0.5 and 1.6 at their starts."""
    experience, metrics = hand_experience(reinforce(view="token", baseline="leave_one_out", discount=0.5))
    starts = torch.tensor([0.5, 1.05, -0.5, 1.6])
    assert experience.advantages[:, 0].tolist() == pytest.approx((starts - starts[[1, 0, 3, 2]]).tolist(), abs=1e-6)
    assert metrics["baseline"].item() == pytest.approx((3 * 1.05 + 0.5 + 2 * 1.6 - 2 * 0.5) / 8)


def test_a_cut_response_is_fined():
    (plain, before), (fined, after) = (
        hand_experience(reinforce(baseline="none", cut_penalty=penalty), (False, True, False, False))
        for penalty in (0.0, 3.0)
    )
    assert before["reward_minus_kl"] == after["reward_minus_kl"], "rewards and KL alone, as of every method"
    assert (plain.advantages - fined.advantages).tolist() == [[0], [3], [0], [0]]


def test_one_response_to_a_prompt_has_nothing_to_be_compared_with():
    sequences = sequences_of([2, 1, 1], [0, 0, 1])
    rollout = Rollout(sequences, torch.zeros(3, 2), ("",) * 3, torch.zeros(3, dtype=torch.bool))
    score = RewardStream("score", *place_at_last(torch.ones(3), sequences.action_mask))
    config = Config(kl_weight=0.0)
    algorithm = Reinforce(config, Given(torch.zeros(1)), KLPenalty(config, None, identity), identity)
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
    report = reinforce(module, view="token").loss(Experience(sequences, LOGPROBS - 0.1, advantages))
    expected = 3.5 - 2 * 1.5 + 0.5 * 2
    assert report.loss_sum.item() == pytest.approx(expected)
    assert report.count == 4
    assert report.metric_counts["ratio"] == 8
    assert (report.metric_sums["ratio"] / 8).item() == pytest.approx(2.718281828**0.1, rel=1e-5)
    masked = torch.where(sequences.action_mask, -advantages, 0.0)
    assert torch.equal(gradient(module, report.loss_sum), masked)


def test_both_views_have_the_same_gradient_for_a_reward_at_the_end():
    """A response's one return is what each of its tokens is paid; only old log-probabilities are kept otherwise."""
    gradients = []
    for view in ("sequence", "token"):
        module = Given(torch.nan_to_num(LOGPROBS))
        algorithm = reinforce(module, view=view, kl_weight=0.0)
        experience, _ = hand_experience(algorithm)
        report = algorithm.loss(experience)
        assert report.count == 4
        gradients.append(gradient(module, report.loss_sum))
    assert torch.allclose(*gradients, atol=1e-6)
    assert gradients[0].any()


def test_a_response_is_compared_with_the_greedy_one_to_its_prompt():
    algorithm = reinforce(kind=ReinforceAgainstGreedy, baseline="greedy")
    rollout, rewards = hand_rollout((False,) * 4)
    sequences = sequences_of([1, 3])
    greedy = Rollout(sequences, LOGPROBS[[1, 0]], ("",) * 2, torch.tensor([False, False]))
    penalty = KLPenalty(algorithm.config, lambda _: REFERENCE[[1, 0]], identity)
    of_greedy = RewardStream("score", *place_at_last(torch.tensor([5.0, 7.0]), sequences.action_mask))
    paid, _ = penalty.token_rewards(greedy, [(1.0, of_greedy)], torch.nan_to_num(greedy.logprobs))
    assert paid.sum(-1).tolist() == pytest.approx([5.05, 7.05], abs=1e-6)
    references = iter([REFERENCE, REFERENCE[[1, 0]]])
    algorithm.penalty.reference = lambda _: next(references)
    experience, metrics = algorithm.experience_against(rollout, rewards, greedy, [(1.0, of_greedy)])
    taken = [5.05, 5.05, 7.05, 7.05]
    expected = [total - each for total, each in zip(TOTALS, taken, strict=True)]
    assert experience.advantages.flatten().tolist() == pytest.approx(expected, abs=1e-6)
    assert metrics["baseline"].item() == pytest.approx(6.05)


def test_the_greedy_baseline_is_discounted_as_returns_are():
    algorithm = reinforce(kind=ReinforceAgainstGreedy, baseline="greedy", view="token", discount=0.5, kl_weight=0.0)
    rollout, rewards = hand_rollout((False,) * 4)
    sequences = sequences_of([1, 3])
    greedy = Rollout(sequences, torch.zeros(2, 3), ("",) * 2, torch.tensor([False, False]))
    of_greedy = RewardStream("score", *place_at_last(torch.tensor([5.0, 8.0]), sequences.action_mask))
    references = iter([REFERENCE, REFERENCE[[1, 0]]])
    algorithm.penalty.reference = lambda _: next(references)
    experience, _ = algorithm.experience_against(rollout, rewards, greedy, [(1.0, of_greedy)])
    # Scores 2, 1, −1 and 3 at the last of 3, 1, 2 and 2 tokens; 5 at the first token, 8 at the third.
    assert experience.advantages[:, 0].tolist() == pytest.approx([0.5 - 5, 1 - 5, -0.5 - 2, 1.5 - 2], abs=1e-6)


@pytest.mark.parametrize("view", ["sequence", "token"])
def test_a_learnt_baseline_by_hand(view):
    values = torch.tensor([[0.5, 1.5, 1.0], [2.0, NAN, NAN], [-1.0, 0.0, NAN], [1.0, 2.0, NAN]])
    module = Given(torch.nan_to_num(LOGPROBS), torch.nan_to_num(values))
    algorithm = reinforce(module, ReinforceWithValue, baseline="value", view=view, value_weight=0.3)
    experience, metrics = hand_experience(algorithm)
    if view == "sequence":
        assert experience.advantages.flatten().tolist() == pytest.approx([1.55, -0.95, 0.0, 2.1], abs=1e-6)
        assert experience.returns.flatten().tolist() == pytest.approx(TOTALS, abs=1e-6)
    else:  # rewards of the first response: −0.05; 0.1; 2
        assert experience.advantages[0].tolist() == pytest.approx([2.05 - 0.5, 2.1 - 1.5, 2.0 - 1.0], abs=1e-6)
    assert "explained_variance" in metrics
    report = algorithm.loss(experience)
    squares = experience.advantages**2  # V − G is minus the advantage, where values have not moved
    policy = -(experience.advantages * experience.old_logprobs).sum()
    assert report.loss_sum.item() == pytest.approx((policy + 0.3 * 0.5 * squares.sum()).item(), rel=1e-5)
    assert report.metric_sums["value_loss"].item() == pytest.approx(0.5 * squares.sum().item(), rel=1e-5)
    assert report.count == 4
    pull = gradient(module, report.loss_sum, position=1)
    assert pull[:, 0].tolist() == pytest.approx((-0.3 * experience.advantages[:, 0]).tolist(), abs=1e-6)
    if view == "sequence":
        assert not pull[:, 1:].any(), "the value of a prompt is that before the first token"


def test_it_says_when_to_end_the_run():
    algorithm = reinforce(reference_kl_limit=5.0)
    assert algorithm.should_stop({"kl": 5.0}) is None
    assert algorithm.should_stop({"kl": 7.256}) == (
        "KL to the reference is 7.26 a response, above algorithm.reference_kl_limit=5.0"
    )
    assert not algorithm.should_leave_batch({})


@pytest.mark.parametrize("view", ["sequence", "token"])
@pytest.mark.parametrize("name", ONE_PER_FAMILY)
def test_ratio_is_1_and_kl_starts_at_0(name, view, model_folder):
    sampling = Sampling(temperature=0.7, top_k=5)
    start = load_language_model(str(model_folder(name)), 0.0)
    policy = LanguageModel(start.model, sampling).eval()
    reference = freeze(LanguageModel(load_language_model(str(model_folder(name)), 0.0).model, sampling))
    acting = in_process.Config(max_new_tokens=8, samples_per_prompt=4, **sampling.model_dump())
    draws = torch.Generator().manual_seed(1)
    prompts = collate_prompts([random_ids(n, draws) for n in (3, 6, 1)], [Prompt("")] * 3)
    rollout = in_process.build(acting, policy, start).generate(prompts, step=0)
    config = Config(view=view)
    algorithm = Reinforce(config, policy, KLPenalty(config, reference, identity), identity)
    scores = rollout.sequences.response_ids.float().mean(-1)
    stream = RewardStream("score", *place_at_last(scores, rollout.sequences.action_mask))
    experience, metrics = algorithm.experience(rollout, [(1.0, stream)])
    assert metrics["kl"].item() == pytest.approx(0, abs=1e-4)
    report = algorithm.loss(experience)
    ratio = report.metric_sums["ratio"] / report.metric_counts["ratio"]
    assert ratio.item() == pytest.approx(1, abs=1e-5)
