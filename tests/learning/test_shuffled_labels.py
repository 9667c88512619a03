"""The gain comes from what the labels say: a reward model of shuffled labels gives none."""

import copy
import random
from dataclasses import replace
from pathlib import Path
from statistics import mean, stdev

import pytest
import torch

from posttrain import quickstart
from posttrain.algorithms import ppo, preference_reward_model
from posttrain.batches import RewardStream, Rollout
from posttrain.data import collate
from posttrain.data.jsonl import write_rows
from posttrain.data.records import Comparison, Record
from posttrain.data.sources import preference_jsonl
from posttrain.evaluation.comparing import compare
from posttrain.functional.reward_streams import place_at_last
from posttrain.models.actor_critic import SeparateActorCritic
from posttrain.models.language_model import LanguageModel
from posttrain.models.loading import freeze, load_backbone, load_language_model, load_tokenizer, new_scorer
from posttrain.models.scorer import write_statistics
from posttrain.online.kl_penalty import KLPenalty
from posttrain.rewards import sequence_model
from posttrain.rollouts import in_process
from posttrain.training.experience import Act, WeightedReward
from posttrain.training.loop import Passes, train_on_batch
from tests.learning import toys
from tests.tiny_models import ONE_PER_FAMILY

CPU = torch.device("cpu")
NUM_SEEDS = 6  # of each family
QUANTILE = 4.44
"""Standard errors by which the mean of 12 runs is off in one case of a thousand: Student's t, 11 degrees of freedom."""


def shuffled(comparisons: list[Record], seed: int) -> list[Record]:
    """Exactly half of the preferences at each place of the comparisons, drawn at random, are turned round; ties stay.

    Half and not the toss of a coin: in a few hundred tosses a reward model would find which side won.
    """
    rng = random.Random(seed)
    decided: dict[int, list[tuple[int, int]]] = {}
    rows = [list(comparison.pairs) for comparison in comparisons if isinstance(comparison, Comparison)]
    for row, pairs in enumerate(rows):
        for place, pair in enumerate(pairs):
            if pair.label:
                decided.setdefault(place, []).append((row, place))
    for places in decided.values():
        for row, place in rng.sample(places, len(places) // 2):
            rows[row][place] = replace(rows[row][place], label=3 - rows[row][place].label)
    return [replace(comparison, pairs=tuple(pairs)) for comparison, pairs in zip(comparisons, rows, strict=True)]


def comparisons(seed: int) -> list[Record]:
    """Of three good words with three bad ones, so that nothing but the labels tells good from bad."""
    return [
        replace(comparison, responses=comparison.responses[:2], pairs=comparison.pairs[:1])
        for comparison in toys.comparisons(64, seed)
        if isinstance(comparison, Comparison)
    ]


def trained_reward(start: str, labelled: list[Record], folder: Path) -> sequence_model.SequenceModelReward:
    torch.manual_seed(0)
    algorithm = preference_reward_model.PreferenceRewardModel(preference_reward_model.Config(), new_scorer(start, 0.0))
    rows = toys.rows_of(labelled, load_language_model(start, 0.0))
    batches = [collate.preferences(rows[i : i + 16]) for i in range(0, len(rows), 16)]
    toys.train(algorithm, batches, 0.005, num_epochs=4)
    folder.mkdir()
    algorithm.module.save(folder)
    load_tokenizer(start).save_pretrained(folder)
    with torch.no_grad():
        write_statistics(folder, torch.cat([algorithm.module(batch.sequences) for batch in batches]))
    config = sequence_model.Config(model=str(folder))
    return sequence_model.build(config, "learned", load_tokenizer(start), CPU)


@torch.no_grad()
def lead_of_good_words(start: str, reward: sequence_model.SequenceModelReward, held_out: list[Record]) -> float:
    """By how many of its standard deviations the reward prefers good words to bad ones."""
    pairs = collate.preferences(toys.rows_of(held_out, load_language_model(start, 0.0)))
    scores = reward.scorer(pairs.sequences)
    return float((scores[pairs.better] - scores[pairs.worse]).mean() / scores.std())


def good_less_bad_words(rollout: Rollout) -> RewardStream:
    """As a share of all tokens."""
    mask, ids = rollout.sequences.response_mask, rollout.sequences.response_ids
    signs = torch.where(ids % 2 == 0, 1.0, -1.0) * (mask & (ids >= 4))
    return RewardStream("good", *place_at_last(signs.sum(-1) / mask.sum(-1), mask))


def gain_by_ppo(start: str, reward: sequence_model.SequenceModelReward) -> float:
    """Of good words less bad ones, in six batches."""
    torch.manual_seed(0)
    pretrained = load_language_model(start, 0.0)
    policy = LanguageModel(pretrained.model)
    module = SeparateActorCritic(policy, load_backbone(start, 0.0))
    config = ppo.Config(kl_weight=0.02)
    penalty = KLPenalty(config, freeze(copy.deepcopy(policy)), lambda values: values)
    algorithm = ppo.PPO(config, module, penalty, lambda values: values)
    engine = in_process.build(in_process.Config(max_new_tokens=4, samples_per_prompt=4), policy, pretrained)
    truth = WeightedReward("good", 0.0, good_less_bad_words)  # watched, not rewarded
    act = Act(engine, [WeightedReward("learned", 1.0, reward), truth], toys.ONE)
    prompts = collate.prompts(toys.rows_of(toys.prompts(16, seed=0), pretrained))
    optimizer = toys.optimizer_of(module, learning_rate=0.007)
    passes = Passes(num_passes=2, minibatch_size=32, microbatch_size=None, max_grad_norm=1.0)
    history = []
    for step in range(6):
        experience, metrics, _, _ = act.experience(algorithm, prompts, step)
        history.append(metrics["reward/good"])
        train_on_batch(algorithm, experience, optimizer, passes, torch.Generator().manual_seed(step), toys.ONE)
    return mean(history[-2:]) - mean(history[:2])


def lead_and_gain(name: str, seed: int, is_shuffled: bool, folder: Path) -> tuple[float, float]:
    """Of a reward model and a policy that begin as the same random model, drawn anew for each seed."""
    start = toys.save(toys.start(name, seed), folder / "start")
    true = comparisons(seed)
    reward = trained_reward(start, shuffled(true, seed) if is_shuffled else true, folder / "reward")
    return lead_of_good_words(start, reward, comparisons(1000 + seed)), gain_by_ppo(start, reward)


def test_only_true_labels_teach_a_toy(tmp_path):
    """Good and bad words are drawn alike, so that the means over shuffled labels are 0 but for chance.

    A single run gains or loses much: PPO follows whatever the reward model made of the noise.
    """
    runs = [(name, seed) for name in ONE_PER_FAMILY for seed in range(NUM_SEEDS)]
    of_shuffled = [lead_and_gain(*run, True, tmp_path / f"{run[0]}-{run[1]}") for run in runs]
    of_true = [lead_and_gain(name, 0, False, tmp_path / name) for name in ONE_PER_FAMILY]
    for by_noise, by_truth in zip(zip(*of_shuffled, strict=True), zip(*of_true, strict=True), strict=True):
        chance = QUANTILE * stdev(by_noise) / len(by_noise) ** 0.5
        assert abs(mean(by_noise)) < chance
        assert mean(by_truth) > mean(by_noise) + chance


@pytest.mark.slow
@pytest.mark.parametrize("family", ["encoder_decoder", "decoder_only"])
def test_the_quickstart_gains_nothing_from_shuffled_labels(family, tmp_path):
    """The stages of the quickstart up to PPO; only the labels are turned round at random."""
    torch.set_num_threads(1)
    it = quickstart.Quickstart(tmp_path, family, seed=0)
    sft = it.train("sft")
    quickstart.label_samples(it, sft)
    for use in ("train", "evaluation"):
        path = tmp_path / "preferences" / f"{use}.jsonl"
        records = preference_jsonl.load(preference_jsonl.Config(path=str(path), should_allow_empty=True))
        path.unlink()
        write_rows(path, [preference_jsonl.to_row(record) for record in shuffled(list(records), seed=0)])
    pairs = {f"data__{use}__path": tmp_path / "preferences" / f"{use}.jsonl" for use in ("train", "evaluation")}
    reward_model = it.train("reward_model", model__path=sft, **pairs)
    scored_by = {"value_model__path": reward_model, "rewards__0__model": reward_model}
    policy = it.train("ppo", model__path=sft, data__train__seed=0, **scored_by)
    rows = it.tokenized(quickstart.prompts_of("evaluation", 200, 0))
    models = {"sft": str(sft), "ppo": str(policy)}
    before, after = compare(
        models, "sft", str(reward_model), rows, quickstart.judge_answer, quickstart.MAX_NEW_TOKENS, 0
    )
    gains = [b - a for a, b in zip(before.gold_reward, after.gold_reward, strict=True)]
    assert mean(gains) < 0.05
