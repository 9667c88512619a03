"""Loss over batches of any size, and what is measured of one response to each prompt."""

from dataclasses import dataclass, field, replace

import pytest
import torch
from torch import nn

from posttrain.algorithms import preference_reward_model
from posttrain.algorithms.sft import SFT
from posttrain.batches import Prompts, RewardStream, Rollout, Sequences
from posttrain.data.collate import Tokenized, collate_sequences
from posttrain.data.records import Demonstration, Prompt
from posttrain.evaluation.evaluate import generate_and_measure, loss_metrics
from posttrain.functional.reward_streams import place_at_last
from posttrain.interfaces import LossReport
from posttrain.models.language_model import LanguageModel
from posttrain.models.loading import load_language_model, new_scorer
from tests.algorithms.variants import preference_pairs
from tests.tiny_models import random_sequences

CPU = torch.device("cpu")
LENGTHS = ([3, 6, 1, 4], [[2, 5, 4], [3, 7], [1, 4], [6, 2, 2]])


def test_loss_is_one_sum_over_one_count(model_folder):
    """Batches of other sizes and lengths: a mean of their means would be another number."""
    algorithm = SFT(LanguageModel(load_language_model(str(model_folder("t5")), 0.5).model))  # 0.5: dropout, to be off
    whole = random_sequences(*LENGTHS)
    parts = [whole.select([0]), whole.select(range(1, 7)), whole.select(range(7, 10))]
    algorithm.module.train()
    together, apart = (loss_metrics(algorithm, batches, CPU) for batches in ([whole], parts))
    algorithm.module.eval()
    nll = -algorithm.module(whole)[whole.action_mask]
    assert together == pytest.approx({"loss": nll.mean().item()}, abs=1e-5)
    assert apart == pytest.approx(together, abs=1e-5)
    means = [loss_metrics(algorithm, [part], CPU)["loss"] for part in parts]
    assert sum(means) / 3 != pytest.approx(together["loss"], abs=1e-3)


def test_metrics_have_counts_of_their_own(model_folder):
    """Six decided pairs and a tie, of which each half of the data has other numbers."""
    torch.manual_seed(0)
    algorithm = preference_reward_model.PreferenceRewardModel(
        preference_reward_model.Config(), new_scorer(str(model_folder("t5")), 0.0)
    )
    pairs = preference_pairs(random_sequences(*LENGTHS))
    together, apart = (
        loss_metrics(algorithm, batches, CPU) for batches in ([pairs], [pairs.select([0]), pairs.select([1, 2, 3])])
    )
    assert apart == pytest.approx(together, abs=1e-5)
    with torch.no_grad():
        scores = algorithm.module(pairs.sequences)
    margins = (scores[pairs.better] - scores[pairs.worse])[~pairs.is_tie]
    assert together["accuracy"] == pytest.approx((margins > 0).float().mean().item())
    assert together["margin"] == pytest.approx(margins.mean().item(), abs=1e-5)


def test_what_counts_nothing_is_left_out(model_folder):
    algorithm = preference_reward_model.PreferenceRewardModel(
        preference_reward_model.Config(), new_scorer(str(model_folder("t5")), 0.0)
    )
    pairs = preference_pairs(random_sequences(*LENGTHS))
    ties = replace(pairs, is_tie=torch.ones_like(pairs.is_tie))
    assert set(loss_metrics(algorithm, [ties], CPU)) == {"loss"}
    assert loss_metrics(algorithm, [], CPU) == {}


def test_evaluating_leaves_no_gradient_behind():
    class Squares:
        module = nn.Linear(1, 1)

        def loss(self, batch: Sequences) -> LossReport:
            assert not self.module.training
            loss = self.module(batch.lengths.float().unsqueeze(-1)).square().sum()
            assert not loss.requires_grad
            return LossReport(loss, torch.tensor(len(batch)), {}, {})

    loss_metrics(Squares(), [random_sequences(*LENGTHS)], CPU)


@dataclass
class Engine:
    """Answers prompt n with n words; the answers to prompt 2 are cut."""

    steps: list[int] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)

    def load_weights(self, policy: nn.Module, version: int) -> None:
        raise AssertionError("evaluation has the weights")

    def generate(self, prompts: Prompts, step: int) -> Rollout:
        self.steps.append(step)
        self.sizes.append(len(prompts))
        numbers = [int(example.text) for example in prompts.examples]
        sequences = collate_sequences(prompts, range(len(numbers)), [[4] * n for n in numbers])
        texts = tuple("w " * n for n in numbers)
        return Rollout(sequences, torch.zeros(sequences.response_ids.shape), texts, torch.tensor(numbers) == 2)


def half_of_the_length(rollout: Rollout) -> RewardStream:
    return RewardStream("half", *place_at_last(rollout.sequences.lengths / 2, rollout.sequences.action_mask))


def test_every_prompt_is_answered_once_and_measured():
    engine = Engine()
    records = [Demonstration(Prompt(str(n), references=(f"r{n}",)), "answer") for n in (1, 2, 3, 4, 2)]
    rows = [Tokenized(record, [5, 6], [[7]]) for record in records]
    seen = {}

    def references(responses, prompts) -> list[float]:
        seen["responses"], seen["references"] = responses, [prompt.references for prompt in prompts]
        return [float(len(text.split())) for text in responses]

    found = generate_and_measure(engine, rows, {"mine": half_of_the_length}, {"words": references}, 2, CPU)
    assert (engine.steps, engine.sizes) == ([0, 1, 2], [2, 2, 1]), "each batch draws from streams of its own"
    assert [prompt.text for prompt in found.prompts] == ["1", "2", "3", "4", "2"]
    assert list(found.responses) == seen["responses"] == ["w " * n for n in (1, 2, 3, 4, 2)]
    assert seen["references"] == [("r1",), ("r2",), ("r3",), ("r4",), ("r2",)]
    assert found.scores == {
        "reward/mine": [0.5, 1, 1.5, 2, 1],
        "length": [1, 2, 3, 4, 2],
        "cut_share": [0, 1, 0, 0, 1],
        "words": [1, 2, 3, 4, 2],
    }
    assert found.means() == pytest.approx({"reward/mine": 1.2, "length": 2.4, "cut_share": 0.4, "words": 2.4})
