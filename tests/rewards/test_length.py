import pytest

from tests.rewards.rollouts import ids_of, rollout_of, tokenizer_of
from tests.rewards.test_density import stream_of

TOKENIZER = tokenizer_of("builtin/decoder_only")
ROLLOUT = rollout_of(TOKENIZER, [ids_of(TOKENIZER, "the cat"), ids_of(TOKENIZER, ""), ids_of(TOKENIZER, "the", False)])


@pytest.mark.parametrize("unit", ["token", "word"])
def test_it_counts_and_pays_at_the_last_token(unit):
    stream = stream_of("length", TOKENIZER, ROLLOUT, unit=unit, per=2.0)
    lengths = ROLLOUT.sequences.lengths
    numbers = lengths.tolist() if unit == "token" else [2, 0, 1]
    assert stream.totals().tolist() == [number / 2 for number in numbers]
    assert stream.mask.sum(-1).tolist() == [1, 1, 1]
    assert (stream.mask.int().argmax(-1) == lengths - 1).all()


def test_each_token_and_each_sentence_by_hand():
    tokenizer = tokenizer_of("byte fallback")
    rollout = rollout_of(tokenizer, [ids_of(tokenizer, "the dog. the cat")])
    pieces = tokenizer.convert_ids_to_tokens(rollout.sequences.response_ids[0, :6].tolist())
    assert pieces == ["▁the", "▁dog", ".", "▁the", "▁cat", "</s>"]
    each = stream_of("length", tokenizer, rollout, per=4.0, density="token")
    assert each.values[0].tolist() == [0.25] * 6 + [0] * 3
    sentences = stream_of("length", tokenizer, rollout, per=4.0, density="sentence")
    assert sentences.values[0].tolist() == [0, 0, 0.75, 0, 0.5, 0.25, 0, 0, 0]
    words = stream_of("length", tokenizer, rollout, unit="word", density="token")
    assert words.values[0].tolist() == [1, 0, 1, 1, 1, 0, 0, 0, 0], "`dog.` is one word, and ends with its full stop"
