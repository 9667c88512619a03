"""Reference log-probabilities are computed once for each pair of weights and data."""

import pytest
import torch

from posttrain.data.collate import Encoder, Tokenized, preferences, tokenize
from posttrain.data.records import Comparison, Pair, Prompt
from posttrain.functional.logprobs import sequence_logprobs
from posttrain.models.language_model import LanguageModel
from posttrain.models.loading import freeze, load_language_model
from posttrain.models.precision import products_in
from posttrain.training.references import content_hash, reference_logprobs, with_reference
from tests.tiny_models import EVERY, word_tokenizer


def rows(last: str = "cu ca") -> list[Tokenized]:
    records = [
        Comparison(Prompt("aa ae ai"), ("ba be bi", "bo"), (Pair(0, 1, 1),)),
        Comparison(Prompt("ca"), ("ca ce", "ci", "co"), (Pair(0, 1, 2), Pair(1, 2, 0))),
        Comparison(Prompt("da de"), (last, "da"), (Pair(0, 1, 1),)),
    ]
    return tokenize(records, Encoder(word_tokenizer(is_encoder_decoder=True), True, 20, 20), "data")


class Counting(LanguageModel):
    calls = 0

    def forward(self, sequences):
        type(self).calls += 1
        return super().forward(sequences)


@pytest.fixture
def reference(model_folder) -> Counting:
    Counting.calls = 0
    return freeze(Counting(load_language_model(str(model_folder("t5")), 0.0).model))


def test_values_are_those_of_the_model_row_by_row(reference, tmp_path):
    logprobs, was_cached = reference_logprobs(reference, rows(), 2, tmp_path / "cache")
    assert not was_cached
    assert [len(row) for row in logprobs] == [2, 3, 2]
    sequences = preferences(rows()).sequences
    expected = sequence_logprobs(reference(sequences), sequences.action_mask)
    assert torch.allclose(torch.cat(logprobs), expected, atol=1e-5)


def test_the_second_time_the_model_is_not_called(reference, tmp_path):
    first, _ = reference_logprobs(reference, rows(), 2, tmp_path)
    assert Counting.calls == 2
    second, was_cached = reference_logprobs(reference, rows(), 2, tmp_path)
    assert was_cached
    assert Counting.calls == 2
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert [path.suffix for path in tmp_path.iterdir()] == [".safetensors"]


def test_other_data_and_other_weights_miss_the_cache(reference, tmp_path):
    reference_logprobs(reference, rows(), 2, tmp_path)
    assert not reference_logprobs(reference, rows("cu ce"), 2, tmp_path)[1]
    assert not reference_logprobs(reference, rows()[::-1], 2, tmp_path)[1]
    with torch.no_grad():
        next(reference.parameters()).view(-1)[3] += 1e-4
    assert not reference_logprobs(reference, rows(), 2, tmp_path)[1]
    assert reference_logprobs(reference, rows(), 2, tmp_path)[1]


def test_products_in_another_format_are_other_values(reference, tmp_path):
    reference_logprobs(reference, rows(), 2, tmp_path)
    with products_in(torch.bfloat16):
        assert not reference_logprobs(reference, rows(), 2, tmp_path)[1]
    assert reference_logprobs(reference, rows(), 2, tmp_path)[1]


@pytest.mark.parametrize("name", EVERY)
def test_every_kind_of_model_has_a_hash(name, model_folder):
    first, second = (LanguageModel(load_language_model(str(model_folder(name)), 0.0).model) for _ in range(2))
    assert content_hash(first, rows()) == content_hash(second, rows())


def test_pairs_carry_the_values_of_their_own_responses(reference, tmp_path):
    logprobs, _ = reference_logprobs(reference, rows(), 3, tmp_path)
    chosen = [2, 0]
    batch = with_reference(preferences([rows()[i] for i in chosen]), [logprobs[i] for i in chosen])
    assert torch.equal(batch.reference_logprobs, torch.cat([logprobs[2], logprobs[0]]))
    expected = sequence_logprobs(reference(batch.sequences), batch.sequences.action_mask)
    assert torch.allclose(batch.reference_logprobs, expected, atol=1e-5)
    assert torch.equal(batch.select([1]).reference_logprobs, logprobs[0])
