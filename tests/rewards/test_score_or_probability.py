"""The reward of a response is its score, as the reward model gives it and as the settings change it."""

import json
import math

import pytest
import torch

from posttrain.batches import Rollout
from posttrain.data.collate import collate_prompts, collate_sequences
from posttrain.data.records import Prompt
from posttrain.models.loading import load_tokenizer, new_scorer
from posttrain.models.scorer import STATISTICS_FILE
from posttrain.rewards import sequence_model
from tests.tiny_models import END, VOCABULARY

MEAN, STD = 0.25, 0.5
TEXTS = [("ba ce", "di fo gu"), ("ba", "ha")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory, model_folder):
    torch.manual_seed(3)
    path = tmp_path_factory.mktemp("reward_model")
    new_scorer(str(model_folder("llama")), 0.0).save(path)
    load_tokenizer(str(model_folder("llama"))).save_pretrained(path)
    (path / STATISTICS_FILE).write_text(json.dumps({"mean": MEAN, "std": STD, "num_responses": 9}))
    return path


def ids(text: str) -> list[int]:
    return [VOCABULARY[word] for word in text.split()]


def rollout() -> Rollout:
    prompts = collate_prompts([[2, *ids(prompt)] for prompt, _ in TEXTS], [Prompt(prompt) for prompt, _ in TEXTS])
    sequences = collate_sequences(prompts, range(len(TEXTS)), [[*ids(response), END] for _, response in TEXTS])
    return Rollout(
        sequences, torch.zeros(sequences.response_ids.shape), tuple(r for _, r in TEXTS), torch.zeros(2, dtype=bool)
    )


def totals(folder, **settings) -> list[float]:
    config = sequence_model.Config(model=str(folder), **settings)
    reward = sequence_model.build(config, "mine", load_tokenizer(str(folder)), torch.device("cpu"))
    return reward(rollout()).totals().tolist()


def test_a_score_is_normalised_unless_told_otherwise(folder):
    raw = totals(folder, should_normalize=False)
    assert abs(raw[0] - raw[1]) > 0.01
    assert totals(folder) == pytest.approx([(score - MEAN) / STD for score in raw], abs=1e-5)
    assert totals(folder, scale=2.0, bias=1.0) == pytest.approx([(s - MEAN) / STD * 2 + 1 for s in raw], abs=1e-5)


def test_a_probability_is_the_logistic_function_of_the_raw_score(folder):
    raw = totals(folder, should_normalize=False)
    expected = [1 / (1 + math.exp(-score)) for score in raw]
    assert totals(folder, gives="probability") == pytest.approx(expected, abs=1e-5)


def test_prompt_and_response_as_one_text(folder):
    """The words of both after the start token: for this tokenizer the very tokens of prompt and response."""
    assert totals(folder, reads="text") == pytest.approx(totals(folder), abs=1e-5)
    assert totals(folder, reads="response")[0] != pytest.approx(totals(folder)[0], abs=1e-3)
