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
from posttrain.data.text_columns import TextColumns
from posttrain.errors import NumericStop
from posttrain.evaluation.evaluate import generate_and_measure, loss_metrics
from posttrain.functional.reward_streams import place_at_last
from posttrain.interfaces import LossReport
from posttrain.models.language_model import LanguageModel
from posttrain.models.loading import load_language_model, new_scorer
from tests.algorithms.variants import preference_pairs
from tests.tiny_models import END, VOCABULARY, random_sequences, word_tokenizer

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
    assert found.rewarded() == [], "without columns, no spans are kept"


class Words(Engine):
    """Answers with the words of the prompt; "ba ce di" is cut."""

    def generate(self, prompts: Prompts, step: int) -> Rollout:
        texts = tuple(example.text for example in prompts.examples)
        is_cut = [text == "ba ce di" for text in texts]
        ids = [[VOCABULARY[word] for word in text.split()] for text in texts]
        ended = [row if cut else [*row, END] for row, cut in zip(ids, is_cut, strict=True)]
        sequences = collate_sequences(prompts, range(len(texts)), ended)
        return Rollout(sequences, torch.zeros(sequences.response_ids.shape), texts, torch.tensor(is_cut))


def each_word(rollout: Rollout) -> RewardStream:
    """The place of each word that is no end token."""
    mask = rollout.sequences.response_mask & (rollout.sequences.response_ids != END)
    return RewardStream("word", mask.cumsum(-1).float() * mask, mask)


def test_spans_of_every_reward_are_kept():
    """Two batches: an empty answer, one of a word, one that was cut; totals are sums over their spans."""
    rows = [Tokenized(Prompt(text), [5, 6], []) for text in ("ba ce", "ba ce di", "", "fo")]
    rewards = {"half": half_of_the_length, "word": each_word}
    columns = TextColumns(word_tokenizer(is_encoder_decoder=True))
    found = generate_and_measure(Words(), rows, rewards, {}, 3, CPU, columns=columns)
    assert [(it.prompt, it.output) for it in found.rewarded()] == [(row.record.text,) * 2 for row in rows]
    assert [it.rewards for it in found.rewarded()] == [
        {"half": [(0, 5, 1.5)], "word": [(0, 2, 1.0), (3, 5, 2.0)]},
        {"half": [(0, 8, 1.5)], "word": [(0, 2, 1.0), (3, 5, 2.0), (6, 8, 3.0)]},
        {"half": [(0, 0, 0.5)], "word": []},
        {"half": [(0, 2, 1.0)], "word": [(0, 2, 1.0)]},
    ]
    for name in rewards:
        totals = [sum(value for _, _, value in it.rewards[name]) for it in found.rewarded()]
        assert totals == found.scores[f"reward/{name}"]


@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
def test_a_reward_that_is_no_number_is_named_with_its_prompt(wrong):
    def reward(rollout: Rollout) -> RewardStream:
        values = torch.tensor([wrong if text == "fo" else 1.0 for text in rollout.texts])
        return RewardStream("mine", *place_at_last(values, rollout.sequences.action_mask))

    rows = [Tokenized(Prompt(text), [5, 6], []) for text in ("ba ce", "fo")]
    with pytest.raises(NumericStop, match="reward mine gave a score that is not finite") as stop:
        generate_and_measure(Words(), rows, {"mine": reward}, {}, 3, CPU)
    assert [prompt.text for prompt in stop.value.prompts] == ["fo"]
