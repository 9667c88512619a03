"""Spans of a text and its tokens: there and back again, for every kind of tokenizer, from offsets and from ids."""

from collections.abc import Sequence
from functools import cache
from itertools import accumulate
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from posttrain.batches import Rollout
from posttrain.data.collate import Encoder, collate_prompts, collate_sequences
from posttrain.data.records import Prompt
from posttrain.data.segments import sub_sentences
from posttrain.data.text_columns import NO_CHARACTER, TextColumns, columns_of, ends_of_offsets, span_of
from posttrain.errors import InputError
from posttrain.models.loading import load_tokenizer
from tests.data.byte_tokenizers import byte_tokenizer
from tests.tiny_models import word_tokenizer

STORIES = Path(__file__).parents[3] / "shared" / "data" / "stories260k"
WHOLE = 2**20


@cache
def tokenizer_of(name: str):
    if name == "stories260k":
        if not STORIES.is_dir():
            pytest.skip("needs ../shared/data/stories260k")
        return load_tokenizer(str(STORIES))
    return byte_tokenizer(name == "metaspace") if name in ("bytes", "metaspace") else load_tokenizer(name)


@cache
def columns(name: str) -> TextColumns:
    return TextColumns(tokenizer_of(name))


@cache
def encoder(name: str, limit: int = WHOLE) -> Encoder:
    return Encoder(tokenizer_of(name), False, WHOLE, limit, response_truncation="right")


TOKENIZERS = ("builtin/encoder_decoder", "builtin/decoder_only", "bytes", "metaspace", "stories260k")
every_tokenizer = pytest.mark.parametrize("name", TOKENIZERS)
TEXTS = st.one_of(
    st.text(max_size=24),
    st.lists(st.sampled_from([
        "ab", "ab ", "the ", " ", "  ", ", ", ". ", "!", "é", "ü", "漢字", "😀", "e\u0301", "\n", "\t", "\u3000",
        "\u200d", "\ufffd", "</s", "1994", "Dalune came out in 1994.", "’", "\xa0",
    ]), max_size=14).map("".join),
)  # fmt: skip


def words(text: str) -> list[tuple[int, int]]:
    ends = [*accumulate(len(piece) + 1 for piece in text.split(" "))]
    pieces = [(end - 1 - len(piece), end - 1) for end, piece in zip(ends, text.split(" "), strict=True)]
    return [(start, end) for start, end in pieces if text[start:end].strip() == text[start:end] != ""]


@every_tokenizer
@settings(max_examples=80, deadline=None)
@given(text=TEXTS)
def test_both_ways_to_ends_agree_and_no_span_shifts(name, text):
    """Of what a text is encoded to: characters by the encoder's offsets are those by decoding the tokens."""
    text = text.strip()
    (ids,) = encoder(name).responses([text])
    (by_offsets,) = encoder(name).ends([text])
    said = tokenizer_of(name).decode(ids, skip_special_tokens=True).strip()
    assert said == text, "these tokenizers lose nothing"
    by_decoding = columns(name).ends(ids, said)
    assert len(by_offsets) == len(by_decoding) == len(ids)
    for ends in (by_offsets, by_decoding):
        assert ends == sorted(ends)
        assert ends[-1] == len(text)
    visible = [(i, i + 1) for i, character in enumerate(text) if not character.isspace()]
    for span in (*visible, *sub_sentences(text), *words(text)):
        place = columns_of(span, by_decoding)
        assert place == columns_of(span, by_offsets)
        assert place is not None
        assert place[0] <= place[1] < len(ids) - 1, "the end token shows nothing"
    for start, end in sub_sentences(text):
        first, last = columns_of((start, end), by_decoding)
        assert by_decoding[last] >= end
        assert last == 0 or by_decoding[last - 1] < end, "no token before it completes the span"
        assert first == 0 or by_decoding[first - 1] <= start, "no token before it shows a character of the span"


@every_tokenizer
@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_tokens_to_spans_and_back_is_the_identity(name, data):
    """Runs of tokens that begin and end where a character does: their span finds them again."""
    text = data.draw(TEXTS).strip()
    (ids,) = encoder(name).responses([text])
    ends = columns(name).ends(ids, text)
    starts = [0, *ends]
    shown = [i for i in range(len(ids)) if text[starts[i] : ends[i]].strip()]
    for first in shown:
        for last in (i for i in shown if i >= first):
            span = span_of((first, last), ends, text)
            begun = bool(first) and ends[first - 1] == (ends[first - 2] if first > 1 else 0)  # bytes of its character
            place = columns_of(span, ends)
            assert place is not None
            assert place[1] == last
            assert place[0] == first or begun or ends[first] <= span[0]
            assert span_of(place, ends, text) == span


@every_tokenizer
@settings(max_examples=60, deadline=None)
@given(text=TEXTS, limit=st.integers(1, 12))
def test_a_cut_response_keeps_the_spans_that_its_tokens_reach(name, text, limit):
    cut = Encoder(tokenizer_of(name), False, WHOLE, limit, response_truncation="right")
    (ids,), (ends,) = cut.responses([text]), cut.ends([text])
    (full,) = encoder(name).ends([text])
    assert len(ends) == len(ids) <= limit
    assert ends == full[:limit]
    for span in sub_sentences(text):
        place, whole = columns_of(span, ends), columns_of(span, full)
        assert place == (whole if whole[1] < limit else None)


@every_tokenizer
@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_any_tokens_have_ends_within_their_text(name, data):
    """What a policy of random weights writes: bytes that are no characters, special tokens inside, blanks anywhere."""
    tokenizer = tokenizer_of(name)
    ids = data.draw(st.lists(st.integers(0, len(tokenizer) - 1), min_size=1, max_size=12))
    text = tokenizer.batch_decode([ids], skip_special_tokens=True)[0].strip()
    ends = columns(name).ends(ids, text)
    assert len(ends) == len(ids)
    assert ends == sorted(ends)
    assert ends[0] >= 0
    assert ends[-1] == len(text)
    for span in sub_sentences(text):
        first, last = columns_of(span, ends)
        assert 0 <= first <= last < len(ids)


@every_tokenizer
def test_special_tokens_inside_and_after_show_nothing(name):
    tokenizer, special = tokenizer_of(name), tokenizer_of(name).eos_token_id
    (ids,) = encoder(name).responses(["ab, ab. the"])
    plain = columns(name).ends(ids[:-1], "ab, ab. the")
    for place in range(len(ids) - 1):
        mixed = [*ids[:place], special, *ids[place:-1], special, special]
        text = tokenizer.decode(mixed, skip_special_tokens=True).strip()
        if text != "ab, ab. the":
            continue  # a decoder that puts a blank between what the special token parts
        ends = columns(name).ends(mixed, text)
        before = plain[place - 1] if place else 0
        assert ends == [*plain[:place], before, *plain[place:], 11, 11]
        assert columns_of((0, 11), ends)[1] == len(mixed) - 3, "the last token that shows something"


@every_tokenizer
@pytest.mark.parametrize("text", ["ab 漢", "ab 😀", "ab, é", "漢", "漢漢"])
def test_a_rollout_cut_in_the_middle_of_a_character_ends_with_its_last_token(name, text):
    tokenizer = tokenizer_of(name)
    (ids,) = encoder(name).responses([text])
    pieces = ids[:-1]
    for size in range(1, len(pieces)):
        said = tokenizer.decode(pieces[:size], skip_special_tokens=True).strip()
        ends = columns(name).ends(pieces[:size], said)
        assert len(ends) == size
        assert ends[-1] == len(said)
        if said.endswith(NO_CHARACTER):
            assert columns_of((0, len(said)), ends)[1] == size - 1
            ended = columns(name).ends([*pieces[:size], tokenizer.eos_token_id], said)
            assert ended == [*ends, len(said)], "an end token after it does not complete it"


def test_bytes_that_are_no_character_by_hand():
    tokenizer = byte_tokenizer(has_metaspace=False)
    id_of = tokenizer.convert_tokens_to_ids
    replacement = [id_of(f"<0x{byte:02X}>") for byte in "\ufffd".encode()]
    ids = [id_of("▁a"), *replacement, id_of("<0xC3>"), id_of("<0xA9>"), id_of("b")]
    assert TextColumns(tokenizer).ends(ids, "a\ufffdéb") == [1, 1, 1, 2, 2, 3, 4]


def test_a_tokenizer_of_whole_words_and_decoders_that_tidy():
    tokenizer = word_tokenizer(is_encoder_decoder=False)
    ids = tokenizer("ba ce ba", add_special_tokens=False).input_ids
    assert TextColumns(tokenizer).ends([*ids, 1], "ba ce ba") == [2, 5, 8, 8]
    assert Encoder(tokenizer, False, 9, 9).ends(["ba ce ba", ""]) == [[2, 5, 8, 8], [0]]
    tokenizer.clean_up_tokenization_spaces = True
    tidy = TextColumns(tokenizer)
    assert tidy.ends([1, *ids], "ba ce ba") == [0, 2, 5, 8]


def test_offsets_by_hand():
    assert ends_of_offsets([]) == []
    assert ends_of_offsets([(0, 2), (3, 5)]) == [2, 5], "a blank before a word is not of the word before"
    assert ends_of_offsets([(0, 2), (2, 5), (5, 5)]) == [2, 5, 5]
    assert ends_of_offsets([(0, 1), (0, 1), (0, 1), (1, 2)]) == [0, 0, 1, 2], "three bytes of a character"
    assert ends_of_offsets([(0, 0), (0, 1), (0, 1)]) == [0, 0, 1]


def test_columns_by_hand():
    ends: Sequence[int] = [2, 2, 5, 8, 8]
    assert columns_of((0, 2), ends) == (0, 0)
    assert columns_of((3, 5), ends) == (2, 2)
    assert columns_of((1, 6), ends) == (0, 3), "a token that shows a part of the span is of it"
    assert columns_of((6, 8), ends) == (3, 3), "not the tokens after it that show nothing"
    assert columns_of((6, 9), ends) is None
    assert columns_of((0, 0), []) is None
    assert span_of((2, 2), ends, "ab cd ef") == (3, 5)
    assert span_of((0, 4), ends, "ab cd ef") == (0, 8)


def test_ends_of_a_rollout_leave_padding_out():
    name = "builtin/decoder_only"
    texts = ["ab, ab", "the"]
    rows = encoder(name).responses(texts)
    sequences = collate_sequences(collate_prompts([[4]], [Prompt("")]), [0, 0], rows)
    rollout = Rollout(sequences, torch.zeros(sequences.response_ids.shape), tuple(texts), torch.zeros(2).bool())
    assert columns(name).ends_of(rollout) == encoder(name).ends(texts)


def test_a_text_that_the_tokens_do_not_say_is_a_bug():
    (ids,) = encoder("bytes").responses(["ab"])
    with pytest.raises(AssertionError, match="not what the tokens say"):
        columns("bytes").ends(ids, "ba")


def test_a_tokenizer_without_offsets_is_refused():
    class Slow:
        is_fast = False

    with pytest.raises(InputError, match=r"Slow cannot say where its tokens stand.*judged spans.*tokenizer\.json"):
        Encoder(Slow(), False, 9, 9).ends(["a"])
    assert Encoder(Slow(), False, 9, 9).ends([]) == []
