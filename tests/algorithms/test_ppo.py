"""Experience and loss by hand; on real models, the first update starts at ratio 1."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from posttrain.algorithms.ppo import PPO, Config
from posttrain.batches import ActorCriticExperience, RewardStream, Rollout, Sequences
from posttrain.data.collate import collate_prompts
from posttrain.data.records import Prompt
from posttrain.functional.reward_streams import place_at_last
from posttrain.models.actor_critic import SeparateActorCritic, SharedActorCritic
from posttrain.models.language_model import LanguageModel, Sampling, family_of
from posttrain.models.loading import freeze, load_backbone, load_language_model
from posttrain.online.kl_penalty import KLPenalty
from posttrain.rollouts import in_process
from tests.algorithms.given import NAN, Given, gradient, sequences_of
from tests.tiny_models import EVERY, ONE_PER_FAMILY, random_ids

PLAIN = {"should_whiten_advantages": False, "trace_decay": 0.5, "discount": 0.9, "kl_weight": 0.1}
LOGPROBS = torch.tensor([[-1.0, -2.0, -0.5], [-1.5, NAN, NAN]])
REFERENCE = torch.tensor([[-1.5, -1.0, -0.5], [-1.0, NAN, NAN]])  # log-ratios 0.5, −1, 0; −0.5
VALUES = torch.tensor([[0.5, 1.5, 1.0], [2.0, NAN, NAN]])


def identity(values: Tensor) -> Tensor:
    return values


def ppo(module, reference=None, **settings) -> PPO:
    config = Config(**{**PLAIN, **settings})
    penalty = KLPenalty(config, reference or (lambda sequences: REFERENCE), identity)
    return PPO(config, module, penalty, identity)


def rollout_of(sequences: Sequences, is_cut: list[bool]) -> Rollout:
    return Rollout(sequences, torch.zeros(sequences.response_mask.shape), ("",) * len(sequences), torch.tensor(is_cut))


def score_stream(name: str, scores: list[float], sequences: Sequences) -> RewardStream:
    return RewardStream(name, *place_at_last(torch.tensor(scores), sequences.action_mask))


def hand_experience(**settings) -> tuple[ActorCriticExperience, dict[str, Tensor]]:
    sequences = sequences_of([3, 1])
    spans = RewardStream("spans", torch.tensor([[1.0, NAN, NAN], [4.0, NAN, NAN]]),
                         torch.tensor([[True, False, False], [False, False, False]]))  # fmt: skip
    rewards = [(2.0, score_stream("score", [1.0, -1.0], sequences)), (0.5, spans)]
    algorithm = ppo(Given(LOGPROBS, VALUES), **settings)
    return algorithm.experience(rollout_of(sequences, [False, True]), rewards)


def test_experience_by_hand():
    experience, metrics = hand_experience()
    # rewards: 0.5·1 − 0.1·0.5 = 0.45; 0 + 0.1 = 0.1; 2·1 − 0 = 2 · second response: 2·(−1) + 0.05 = −1.95
    # δ_2 = 2 − 1 = 1; δ_1 = 0.1 + 0.9·1 − 1.5 = −0.5; δ_0 = 0.45 + 0.9·1.5 − 0.5 = 1.3
    # A_2 = 1; A_1 = −0.5 + 0.45·1 = −0.05; A_0 = 1.3 + 0.45·(−0.05) = 1.2775 · second: −1.95 − 2 = −3.95
    assert experience.advantages.flatten().tolist() == pytest.approx([1.2775, -0.05, 1, -3.95, 0, 0], abs=1e-6)
    assert experience.returns.flatten().tolist() == pytest.approx([1.7775, 1.45, 2, -1.95, 0, 0], abs=1e-6)
    assert torch.equal(experience.old_logprobs[0], LOGPROBS[0])
    assert torch.equal(experience.old_values[0], VALUES[0])
    assert metrics["kl"].item() == pytest.approx(((0.5 - 1 + 0) + -0.5) / 2)
    assert metrics["negative_logprob"].item() == pytest.approx((1 + 2 + 0.5 + 1.5) / 4)
    assert metrics["reward_minus_kl"].item() == pytest.approx(((2 + 0.5) + -2) / 2 + 0.1 * 0.5)


def test_a_cut_response_is_fined_at_its_last_token():
    plain, fined = (hand_experience(cut_penalty=penalty)[0] for penalty in (0.0, 3.0))
    assert torch.allclose(plain.returns - fined.returns, torch.tensor([[0.0, 0, 0], [3.0, 0, 0]]), atol=1e-6)


def test_a_reward_lands_on_the_last_real_token():
    """With no value, no decay and no KL, the return is the reward itself until its token, and nothing after."""
    sequences = sequences_of([2, 4, 1])
    zeros = torch.zeros(3, 4)
    algorithm = ppo(Given(zeros, zeros), lambda s: zeros, discount=1.0, trace_decay=0.0, kl_weight=0.0)
    stream = score_stream("score", [5.0, 7.0, 9.0], sequences)
    experience, _ = algorithm.experience(rollout_of(sequences, [False] * 3), [(1.0, stream)])
    assert experience.advantages.tolist() == [[0, 5, 0, 0], [0, 0, 0, 7], [9, 0, 0, 0]]


def test_whitened_rewards_are_divided_by_their_deviation_and_not_shifted():
    sequences = sequences_of([1, 1, 1])
    zeros = torch.zeros(3, 1)
    algorithm = ppo(Given(zeros, zeros), lambda s: zeros, should_whiten_rewards=True)
    stream = score_stream("score", [1.0, 2.0, 6.0], sequences)
    experience, _ = algorithm.experience(rollout_of(sequences, [False] * 3), [(1.0, stream)])
    assert experience.returns.flatten().tolist() == pytest.approx([x / 7**0.5 for x in (1, 2, 6)])


def test_whitened_advantages_have_mean_0_and_deviation_1_and_returns_stay():
    plain, whitened = (hand_experience(should_whiten_advantages=flag)[0] for flag in (False, True))
    mask = plain.sequences.action_mask
    assert torch.equal(whitened.returns, plain.returns)
    values = plain.advantages[mask]
    assert torch.allclose(whitened.advantages[mask], (values - values.mean()) / values.std(), atol=1e-5)


def test_loss_by_hand():
    sequences = sequences_of([3, 1])
    old = torch.tensor([[-1.0, -2.0, -0.5], [-1.5, 0, 0]])
    ratios = torch.tensor([[1.0, 1.5, 0.5], [0.9, 1.0, 1.0]])
    values = torch.tensor([[1.0, 2.0, 0.0], [0.3, 0, 0]])
    module = Given(old + ratios.log(), values)
    advantages = torch.tensor([[2.0, 1.0, -1.0], [3.0, 0, 0]])
    old_values = torch.tensor([[1.0, 1.0, 1.0], [0.2, 0, 0]])
    returns = torch.tensor([[3.0, 3.0, 0.5], [1.0, 0, 0]])
    report = ppo(module, value_weight=0.5).loss(ActorCriticExperience(sequences, old, advantages, returns, old_values))
    # −1·2; −min(1.5, 1.2)·1; +max(0.5, 0.8)·1; −0.9·3
    policy_loss = -2.0 - 1.2 + 0.8 - 2.7
    # ½·2²; ½·(1.2 − 3)²; ½·max(0.5², (0.8 − 0.5)²); ½·0.7²
    value_loss = 0.5 * (4 + 1.8**2 + 0.25 + 0.49)
    assert report.loss_sum.item() == pytest.approx(policy_loss + 0.5 * value_loss, rel=1e-5)
    assert report.count == 4
    sums = {name: value.item() for name, value in report.metric_sums.items()}
    assert sums == pytest.approx(
        {
            "policy_loss": policy_loss, "value_loss": value_loss, "clip_fraction": 2, "ratio": 1 + 1.5 + 0.5 + 0.9,
            "update_kl": sum(r - 1 - math.log(r) for r in (1.0, 1.5, 0.5, 0.9)),
        }, rel=1e-5,
    )  # fmt: skip


def test_nothing_in_masked_slots_changes_a_bit_of_loss_or_gradient():
    sequences = sequences_of([3, 1])
    generator = torch.Generator().manual_seed(0)
    tensors = [torch.randn(2, 3, generator=generator) for _ in range(6)]
    results = []
    for junk in (0.0, NAN, float("inf")):
        logprobs, values, *fields = (x.masked_fill(~sequences.action_mask, junk) for x in tensors)
        module = Given(logprobs, values)
        report = ppo(module).loss(ActorCriticExperience(sequences, *fields))
        results.append([report.loss_sum.detach(), *report.metric_sums.values(),
                        gradient(module, report.loss_sum), module.values[1].grad])  # fmt: skip
    for result in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(result, results[0], strict=True))


def test_it_says_when_to_leave_a_batch_and_when_to_end_the_run():
    algorithm = ppo(Given(torch.zeros(1)), update_kl_limit=0.1, reference_kl_limit=5.0)
    assert algorithm.should_leave_batch({"update_kl": 0.11})
    assert not algorithm.should_leave_batch({"update_kl": 0.1})
    assert algorithm.should_stop({"kl": 5.0}) is None
    assert algorithm.should_stop({"kl": 7.256}) == (
        "KL to the reference is 7.26 a response, above algorithm.reference_kl_limit=5.0"
    )
    unlimited = ppo(Given(torch.zeros(1)))
    assert not unlimited.should_leave_batch({"update_kl": 100.0})
    assert unlimited.should_stop({"kl": 100.0}) is None


def acted(folder: str, kind: str, sampling: Sampling) -> tuple[PPO, ActorCriticExperience, dict[str, Tensor]]:
    start = load_language_model(folder, 0.0)
    policy = LanguageModel(start.model, sampling)
    module = SharedActorCritic(policy) if kind == "shared" else SeparateActorCritic(policy, load_backbone(folder, 0.0))
    reference = freeze(LanguageModel(load_language_model(folder, 0.0).model, sampling))
    config = in_process.Config(max_new_tokens=8, samples_per_prompt=4, **sampling.model_dump())
    generator = torch.Generator().manual_seed(1)
    prompts = collate_prompts([random_ids(n, generator) for n in (3, 6, 1)], [Prompt("")] * 3)
    module.eval()
    rollout = in_process.build(config, policy, start).generate(prompts, step=0)
    scores = rollout.sequences.response_ids.float().mean(-1).tolist()
    algorithm = PPO(Config(), module, KLPenalty(Config(), reference, identity), identity)
    stream = score_stream("score", scores, rollout.sequences)
    return algorithm, *algorithm.experience(rollout, [(1.0, stream)])


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("kind", ["separate", "shared"])
def test_the_first_ratio_is_1_and_kl_starts_at_0(name, kind, model_folder):
    algorithm, experience, metrics = acted(str(model_folder(name)), kind, Sampling(temperature=0.7, top_k=5))
    algorithm.module.train()
    report = algorithm.loss(experience)
    assert (report.metric_sums["ratio"] / report.count).item() == pytest.approx(1, abs=1e-6)
    assert (report.metric_sums["update_kl"] / report.count).item() == pytest.approx(0, abs=1e-10)
    assert report.metric_sums["clip_fraction"] == 0
    assert metrics["kl"].item() == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("name", ONE_PER_FAMILY)
def test_scoring_another_distribution_than_the_samplers_would_show(name, model_folder):
    algorithm, experience, _ = acted(str(model_folder(name)), "separate", Sampling(temperature=0.7, top_k=5))
    plain = LanguageModel(algorithm.module.policy.hf_model)  # temperature 1, no filter
    report = algorithm.loss(replace(experience, old_logprobs=plain(experience.sequences).detach()))
    assert (report.metric_sums["ratio"] / report.count).item() > 1.1


def test_the_kl_objective_by_hand():
    sequences = sequences_of([2])
    old = torch.tensor([[-1.0, -2.0]])
    ratios = torch.tensor([[1.5, 0.5]])
    module = Given(old + ratios.log(), torch.zeros(1, 2))
    algorithm = ppo(module, objective="kl_penalty", update_kl_weight=3.0, value_weight=0.0)
    zeros = torch.zeros(1, 2)
    report = algorithm.loss(ActorCriticExperience(sequences, old, torch.tensor([[2.0, -1.0]]), zeros, zeros))
    kl = sum(r - 1 - math.log(r) for r in (1.5, 0.5))
    assert report.loss_sum.item() == pytest.approx(-3.0 + 0.5 + 3 * kl, rel=1e-5)
    # d/dlogπ of −ρA + w (ρ − 1 − log ρ)
    assert gradient(module, report.loss_sum).tolist()[0] == pytest.approx([-3 + 3 * 0.5, 0.5 - 3 * 0.5], rel=1e-5)


def test_the_weight_of_the_kl_objective_follows_its_target_and_is_saved():
    algorithm = ppo(Given(torch.zeros(1)), objective="kl_penalty", update_kl_weight=1.0, update_kl_target=0.01)
    algorithm.after_batch({"update_kl": 0.02})
    algorithm.after_batch({"update_kl": 0.012})
    algorithm.after_batch({"update_kl": 0.03})
    assert algorithm.update_kl_weight == 4
    again = ppo(Given(torch.zeros(1)), objective="kl_penalty")
    again.load_state_dict(algorithm.state_dict())
    again.after_batch({"update_kl": 0.001})
    assert again.update_kl_weight == 2
    clipped = ppo(Given(torch.zeros(1)))
    clipped.after_batch({"update_kl": 5.0})
    assert clipped.update_kl_weight == 1


def test_the_entropy_bonus_by_hand():
    sequences = sequences_of([3, 1])
    entropy = torch.tensor([[0.5, 1.0, 0.2], [0.1, NAN, NAN]])
    zeros = torch.zeros(2, 3)
    module = Given(zeros.clone(), zeros.clone(), entropy)
    report = ppo(module, entropy_weight=0.1).loss(ActorCriticExperience(sequences, zeros, zeros, zeros, zeros))
    assert report.loss_sum.item() == pytest.approx(-0.18)
    assert report.metric_sums["entropy"].item() == pytest.approx(1.8)
    assert report.metric_counts["entropy"] == 4


def test_in_the_sequence_view_the_value_is_that_of_the_prompt():
    experience, metrics = hand_experience(view="sequence")
    # Rewards of the first response 0.45 + 0.1 + 2, of the second −1.95; values before the first tokens 0.5 and 2.
    assert experience.returns.flatten().tolist() == pytest.approx([2.55, -1.95], abs=1e-6)
    assert experience.advantages.flatten().tolist() == pytest.approx([2.05, -3.95], abs=1e-6)
    assert experience.old_values.flatten().tolist() == [0.5, 2.0]
    assert experience.old_logprobs.flatten().tolist() == [-3.5, -1.5]
    assert metrics["kl"].item() == pytest.approx(((0.5 - 1 + 0) + -0.5) / 2)


@pytest.mark.parametrize("kind", ["separate", "shared"])
@pytest.mark.parametrize("name", EVERY)
def test_entropy_is_that_of_the_distribution_that_acts(name, kind, model_folder):
    algorithm, experience, _ = acted(str(model_folder(name)), kind, Sampling(temperature=0.7, top_k=5))
    sequences, policy = experience.sequences, algorithm.module.policy
    logprobs, values, entropy = algorithm.module(sequences, True)
    plain_logprobs, plain_values = algorithm.module(sequences)
    mask = sequences.response_mask
    assert torch.allclose(logprobs[mask], plain_logprobs[mask], atol=1e-6)
    assert torch.equal(values, plain_values)
    logits = family_of(policy.hf_model).logits(policy.hf_model, policy.states(sequences)[:, :-1][mask])
    five = (logits / 0.7).topk(5, dim=-1).values.log_softmax(-1)
    assert torch.allclose(entropy[mask], -(five.exp() * five).sum(-1), atol=1e-5)
    assert not entropy[~mask].any()
    entropy.sum().backward()
    assert all(p.grad.isfinite().all() for p in algorithm.module.parameters() if p.grad is not None)


def test_the_weight_of_the_kl_follows_its_target_from_batch_to_batch():
    _, metrics = hand_experience(kl_target=0.1, kl_horizon=10)
    assert metrics["kl_weight"].item() == pytest.approx(0.1), "what this batch was paid with"
    algorithm = ppo(Given(LOGPROBS, VALUES), kl_target=0.1, kl_horizon=10)
    sequences = sequences_of([3, 1])
    algorithm.experience(rollout_of(sequences, [False, True]), [(1.0, score_stream("score", [1.0, -1.0], sequences))])
    # A mean KL of −0.5 is far below the target: the error is held at −0.2, for 2 responses of 10.
    assert algorithm.penalty.kl_weight == pytest.approx(0.1 * (1 - 0.2 * 2 / 10))


@pytest.mark.parametrize("name", ONE_PER_FAMILY)
def test_the_entropy_is_asked_for_where_it_has_a_weight(name, model_folder):
    algorithm, experience, _ = acted(str(model_folder(name)), "shared", Sampling())
    plain = algorithm.loss(experience)
    assert "entropy" not in plain.metric_sums
    algorithm.config = algorithm.config.model_copy(update={"entropy_weight": 0.5})
    report = algorithm.loss(experience)
    entropy = report.metric_sums["entropy"]
    assert entropy > 0
    assert report.loss_sum.item() == pytest.approx((plain.loss_sum - 0.5 * entropy).item(), rel=1e-4)
