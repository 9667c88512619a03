"""Pretraining texts come in an order of their own, and are read by the policy at temperature 1."""

from types import SimpleNamespace
from typing import Any

import torch

from posttrain.assembly.pretraining import side_loss
from posttrain.data.collate import Encoder, tokenize
from posttrain.data.loading import DataOrder
from posttrain.data.records import Demonstration, Prompt
from posttrain.models.language_model import LanguageModel, Sampling
from posttrain.models.loading import load_language_model
from posttrain.training.distributed import Ranks
from tests.tiny_models import WORDS, word_tokenizer

SETTINGS = SimpleNamespace(batch_size=4, weight=0.3)


def config(pretraining: Any) -> Any:
    return SimpleNamespace(pretraining=pretraining, seed=5, training=SimpleNamespace(microbatch_size=2))


def test_the_order_is_not_that_of_the_prompts(model_folder):
    records = [Demonstration(Prompt(""), word) for word in WORDS[:12]]
    rows = tokenize(records, Encoder(word_tokenizer(False), False, 9, 9), "")
    start = load_language_model(str(model_folder("llama")), 0.0)
    parts: Any = SimpleNamespace(language_model=LanguageModel(start.model, Sampling(temperature=0.5)))
    made = side_loss(config(SETTINGS), rows, parts, Ranks(0, 1, torch.device("cpu")))
    assert made is not None
    assert (made.weight, made.microbatch_size) == (0.3, 2)
    drawn, _ = made.batches.next(0)
    of_prompts = next(DataOrder(12, 4, 5))
    assert [prompt.text for prompt in drawn.prompts.examples] == [""] * 4
    ids = drawn.response_ids[:, 0].tolist()
    assert ids != [rows[number].responses[0][0] for number in of_prompts]
    plain = LanguageModel(start.model)(drawn)
    report = made.algorithm.loss(drawn)
    assert torch.allclose(report.loss_sum, -plain[drawn.action_mask].sum())


def test_there_is_none_without_the_section():
    assert side_loss(config(None), [], SimpleNamespace(), Ranks(0, 1, torch.device("cpu"))) is None  # pyright: ignore[reportArgumentType]
