"""The gain comes from what the labels say: a reward model of shuffled labels gives none."""

import copy
import random
from dataclasses import replace
from pathlib import Path
from statistics import mean

import pytest
import torch

from posttrain import quickstart
from posttrain.algorithms import ppo, preference_reward_model
from posttrain.data import collate
from posttrain.data.jsonl import write_rows
from posttrain.data.records import Comparison, Record
from posttrain.data.sources import preference_jsonl
from posttrain.evaluation.comparing import compare
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


def trained_reward(start: str, comparisons: list[Record], folder: Path) -> sequence_model.SequenceModelReward:
    torch.manual_seed(0)
    algorithm = preference_reward_model.PreferenceRewardModel(preference_reward_model.Config(), new_scorer(start, 0.0))
    rows = toys.rows_of(comparisons, load_language_model(start, 0.0))
    batches = [collate.preferences(rows[i : i + 16]) for i in range(0, len(rows), 16)]
    toys.train(algorithm, batches, 0.005, num_epochs=4)
    folder.mkdir()
    algorithm.module.save(folder)
    load_tokenizer(start).save_pretrained(folder)
    with torch.no_grad():
        write_statistics(folder, torch.cat([algorithm.module(batch.sequences) for batch in batches]))
    config = sequence_model.Config(model=str(folder))
    return sequence_model.build(config, "learned", load_tokenizer(start), CPU)


def good_words_before_and_after_ppo(start: str, reward: sequence_model.SequenceModelReward) -> tuple[float, float]:
    torch.manual_seed(0)
    pretrained = load_language_model(start, 0.0)
    policy = LanguageModel(pretrained.model)
    module = SeparateActorCritic(policy, load_backbone(start, 0.0))
    config = ppo.Config(kl_weight=0.02)
    penalty = KLPenalty(config, freeze(copy.deepcopy(policy)), lambda values: values)
    algorithm = ppo.PPO(config, module, penalty, lambda values: values)
    engine = in_process.build(in_process.Config(max_new_tokens=4, samples_per_prompt=4), policy, pretrained)
    truth = WeightedReward("good", 0.0, toys.share_of_good_words)  # watched, not rewarded
    act = Act(engine, [WeightedReward("learned", 1.0, reward), truth], toys.ONE)
    prompts = collate.prompts(toys.rows_of(toys.prompts(16, seed=0), pretrained))
    optimizer = toys.optimizer_of(module, learning_rate=0.005)
    passes = Passes(num_passes=2, minibatch_size=32, microbatch_size=None, max_grad_norm=1.0)
    history = []
    for step in range(15):
        experience, metrics, _, _ = act.experience(algorithm, prompts, step)
        history.append(metrics["reward/good"])
        train_on_batch(algorithm, experience, optimizer, passes, torch.Generator().manual_seed(step), toys.ONE)
    return mean(history[:2]), mean(history[-3:])


@pytest.mark.parametrize("name", ONE_PER_FAMILY)
def test_only_true_labels_teach_a_toy(name, tmp_path):
    start = toys.save(toys.start(name), tmp_path / "start")
    comparisons = toys.comparisons(64, seed=0)
    before, after = good_words_before_and_after_ppo(start, trained_reward(start, comparisons, tmp_path / "true"))
    assert after > before + 0.25
    gains = []
    for seed in range(3):
        reward = trained_reward(start, shuffled(comparisons, seed), tmp_path / f"shuffled-{seed}")
        before, after = good_words_before_and_after_ppo(start, reward)
        gains.append(after - before)
    assert mean(gains) < 0.1


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
