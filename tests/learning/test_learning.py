"""Every method learns a toy task, for either family of models."""

import copy

import pytest
import torch

from posttrain.algorithms import dpo, preference_reward_model
from posttrain.algorithms.judgement_reward_model import JudgementRewardModel
from posttrain.algorithms.sft import SFT
from posttrain.data import collate
from posttrain.evaluation.evaluate import loss_metrics
from posttrain.models.language_model import LanguageModel
from posttrain.models.loading import freeze, new_scorer
from posttrain.models.scorer import TieScorer
from posttrain.rollouts import in_process
from posttrain.training.references import reference_logprobs, with_reference
from tests.learning import toys
from tests.tiny_models import ONE_PER_FAMILY

pytestmark = pytest.mark.parametrize("name", ONE_PER_FAMILY)
CPU = torch.device("cpu")


def test_sft_learns_to_repeat_a_word(name):
    start = toys.start(name)
    policy = LanguageModel(start.model)
    rows = toys.rows_of(toys.demonstrations(1024, seed=0), start)
    batches = [collate.recorded(rows[i : i + 32]) for i in range(0, len(rows), 32)]
    # With a quarter of the rows and twice the rate, one initialisation in four does not generalise: which, is rounding.
    losses = toys.train(SFT(policy), batches, learning_rate=0.005, num_epochs=10)
    assert losses[-1] < 0.2 * losses[0]
    unseen = toys.demonstrations(40, seed=1)
    config = in_process.Config(max_new_tokens=6, is_greedy=True)
    rollout = in_process.build(config, policy, start).generate(collate.prompts(toys.rows_of(unseen, start)), step=0)
    right = [text == record.response for text, record in zip(rollout.texts, unseen, strict=True)]
    assert sum(right) >= 0.9 * len(right)


@pytest.mark.parametrize(
    "settings", [{}, {"ties": "rao_kupper"}, {"ties": "davidson"}, {"margin": 0.5, "label_smoothing": 0.1}], ids=str
)
def test_a_reward_model_learns_preferences(name, settings, tmp_path):
    start = toys.start(name)
    torch.manual_seed(0)
    config = preference_reward_model.Config(**settings)
    scorer = new_scorer(toys.save(start, tmp_path / "start"), 0.0)
    algorithm = preference_reward_model.PreferenceRewardModel(
        config, TieScorer(scorer) if config.learns_tie_strength else scorer
    )
    rows = toys.rows_of(toys.comparisons(64, seed=0), start)
    unseen = [collate.preferences(toys.rows_of(toys.comparisons(50, seed=1), start))]
    before = loss_metrics(algorithm, unseen, CPU)
    toys.train(algorithm, [collate.preferences(rows[i : i + 16]) for i in range(0, 64, 16)], 0.005, num_epochs=8)
    after = loss_metrics(algorithm, unseen, CPU)
    assert before["accuracy"] < 0.75
    assert after["accuracy"] > 0.95
    assert after["loss"] < before["loss"]


def test_a_reward_model_learns_judgements(name, tmp_path):
    start = toys.start(name)
    torch.manual_seed(0)
    algorithm = JudgementRewardModel(new_scorer(toys.save(start, tmp_path / "start"), 0.0))
    rows = toys.rows_of(toys.judgements(256, seed=0), start)
    unseen = [collate.judgements(toys.rows_of(toys.judgements(100, seed=1), start))]
    before = loss_metrics(algorithm, unseen, CPU)
    toys.train(algorithm, [collate.judgements(rows[i : i + 32]) for i in range(0, 256, 32)], 0.01, num_epochs=8)
    after = loss_metrics(algorithm, unseen, CPU)
    assert before["accuracy"] < 0.75
    assert after["accuracy"] > 0.95
    assert after["loss"] < before["loss"]


@pytest.mark.parametrize(
    ("settings", "first_loss", "accuracy"),
    [
        ({}, 0.6931, 0.95),
        ({"label_smoothing": 0.1}, 0.6931, 0.95),
        ({"objective": "ipo"}, 2.5**2, 0.85),  # every pair is led to one margin, the clear ones too
        ({"displacement_weight": 1.0}, 0.6931, 0.95),
    ],
    ids=["dpo", "cdpo", "ipo", "dpop"],
)
def test_dpo_learns_preferences(name, settings, first_loss, accuracy, tmp_path):
    start = toys.start(name)
    policy = LanguageModel(start.model)
    reference = freeze(copy.deepcopy(policy))
    algorithm = dpo.DPO(dpo.Config(beta=0.2, **settings), policy)
    batches = []
    for count, seed in ((128, 0), (50, 1)):
        rows = toys.rows_of(toys.comparisons(count, seed), start)
        logprobs, _ = reference_logprobs(reference, rows, 64, tmp_path)
        batches.append(with_reference(collate.preferences(rows), logprobs))
    trained_on, unseen = batches
    losses = toys.train(algorithm, trained_on.split(16), learning_rate=0.005, num_epochs=8)
    assert losses[0] == pytest.approx(first_loss, abs=1e-4)
    after = loss_metrics(algorithm, [unseen], CPU)
    assert after["accuracy"] > accuracy
    assert after["loss"] < 0.6 * first_loss
    assert after["margin"] > 0.3
