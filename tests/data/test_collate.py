"""Text becomes ids within the limits, and batches hold each record's own tokens."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models
from tokenizers.normalizers import Prepend, Replace, Sequence
from transformers import PreTrainedTokenizerFast

from posttrain.data.collate import (
    Encoder,
    collate_prompts,
    judgements,
    pad,
    preferences,
    prompts,
    recorded,
    tokenize,
)
from posttrain.data.records import Comparison, Demonstration, Judgement, Pair, Prompt
from posttrain.errors import InputError
from posttrain.models.tokenizer import train_tokenizer
from tests.tiny_models import END, START, VOCABULARY, word_tokenizer


def _bytes_by_letter() -> dict[str, int]:
    """Byte-level BPE writes each byte as a letter: printable ones as themselves, the others from U+0100 on."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + i): byte for i, byte in enumerate(others)}


BYTES = _bytes_by_letter()


def encoder(is_encoder_decoder: bool = True, prompt: int = 10, response: int = 10, **policies) -> Encoder:
    return Encoder(word_tokenizer(is_encoder_decoder), is_encoder_decoder, prompt, response, **policies)


def ids(text: str) -> list[int]:
    return [VOCABULARY[word] for word in text.split()]


def test_an_encoder_prompt_ends_and_a_decoder_prompt_goes_on():
    assert encoder(True).prompts(["aa ae ai"]) == [[*ids("aa ae ai"), END]]
    assert encoder(False).prompts(["aa ae ai"]) == [[START, *ids("aa ae ai")]]


def test_a_decoder_only_tokenizer_that_ends_its_prompts_is_undone():
    ending = Encoder(word_tokenizer(is_encoder_decoder=True), False, 10, 10)
    assert ending.prompts(["aa ae"]) == [ids("aa ae")]


@pytest.mark.parametrize("policy", ["left", "right"])
def test_a_mark_at_the_end_of_a_decoder_prompt_is_not_cut(policy):
    tokenizer = train_tokenizer(["aa ae ai"] * 5, 300, is_encoder_decoder=False)
    marked = Encoder(tokenizer, False, 3, 10, prompt_truncation=policy)
    (cut,) = marked.prompts(["aa ae ai"])
    words = {"left": ["Ġae", "Ġai"], "right": ["<s>", "Ġaa"]}[policy]
    assert tokenizer.convert_ids_to_tokens(cut) == [*words, "<response>"]
    assert tokenizer.convert_ids_to_tokens(marked.prompts([""])[0]) == ["<s>", "<response>"]


def test_an_unknown_word_at_the_end_of_a_prompt_is_no_mark():
    (cut,) = encoder(False, prompt=3, prompt_truncation="right").prompts(["aa ae ai unheard-of"])
    assert cut == [START, *ids("aa ae")]


def test_responses_end_and_have_no_start():
    for is_encoder_decoder in (True, False):
        assert encoder(is_encoder_decoder).responses(["ba be", ""]) == [[*ids("ba be"), END], [END]]


def character_tokenizer(*normalizers: Any) -> PreTrainedTokenizerFast:
    tokens = ["<unk>", "</s>", "▁", "a", "b", " ", "▁a", "▁b"]
    merges = [("▁", "a"), ("▁", "b")]
    tokenizer = Tokenizer(models.BPE({token: i for i, token in enumerate(tokens)}, merges, unk_token="<unk>"))
    tokenizer.normalizer = Sequence(list(normalizers))
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>", unk_token="<unk>")


def test_a_response_after_a_blank_is_encoded_as_in_a_continuous_text():
    """Llama's tokenizer puts a blank before every text: "b" + " a" would be ▁b ▁ ▁a, but the text "b a" is ▁b ▁a."""
    doubling = character_tokenizer(Prepend("▁"), Replace(" ", "▁"))
    assert doubling("b a").tokens() == ["▁b", "▁a"]
    assert doubling(" a").tokens() == ["▁", "▁a"]
    assert Encoder(doubling, False, 9, 9).responses([" a", "a", "  a"]) == [[6, 1], [6, 1], [2, 6, 1]]
    spelling = character_tokenizer()  # a blank is a token like any other
    assert Encoder(spelling, False, 9, 9).responses([" a", "a"]) == [[5, 3, 1], [3, 1]]


def test_an_empty_prompt_still_gives_a_model_something_to_read():
    assert encoder(True).prompts([""]) == [[START, END]]
    assert encoder(False).prompts([""]) == [[START]]
    assert Encoder(word_tokenizer(is_encoder_decoder=True), False, 10, 10).prompts([""]) == [[START]]


@pytest.mark.parametrize(
    ("is_encoder_decoder", "policy", "expected"),
    [
        (True, "left", [*ids("ae ai"), END]),
        (True, "right", [*ids("aa ae"), END]),
        (False, "left", ids("aa ae ai")),
        (False, "right", [START, *ids("aa ae")]),
    ],
)
def test_a_prompt_is_cut_on_the_named_side_and_counted(is_encoder_decoder, policy, expected):
    cutting = encoder(is_encoder_decoder, prompt=3, prompt_truncation=policy)
    assert cutting.prompts(["aa ae ai", "aa"])[0] == expected
    assert cutting.num_cut_prompts == 1
    cutting.check("data")


@pytest.mark.parametrize("policy", ["left", "right"])
def test_a_limit_of_one_token_keeps_one_token(policy):
    assert encoder(True, prompt=1, prompt_truncation=policy).prompts(["aa ae ai"]) == [[END]]


def test_a_response_that_is_cut_has_no_end_token():
    cutting = encoder(response=2, response_truncation="right")
    assert cutting.responses(["aa ae ai", "aa"]) == [ids("aa ae"), [*ids("aa"), END]]
    assert cutting.num_cut_responses == 1


def test_a_limit_that_just_fits_is_not_an_error():
    fitting = encoder(prompt=4, response=4)
    fitting.prompts(["aa ae ai"])
    fitting.responses(["aa ae ai"])
    fitting.check("data")


def test_what_does_not_fit_is_refused_with_counts_and_the_remedy():
    rows = [Demonstration(Prompt("aa " * n), "ba") for n in (1, 5, 7)]
    with pytest.raises(InputError) as caught:
        tokenize(rows, encoder(prompt=4), "data.train")
    assert str(caught.value) == (
        "data.train: 2 prompts are longer than data.max_prompt_tokens=4 (the longest has 8 tokens); "
        "raise the limit, or set data.prompt_truncation to left or right to cut them"
    )
    with pytest.raises(InputError, match=r"1 responses are longer than data\.max_response_tokens=3 .*has 5 tokens"):
        tokenize([Demonstration(Prompt("aa"), "aa ae ai ao")], encoder(response=3), "data.train")


@given(st.lists(st.lists(st.integers(1, 50), max_size=6), min_size=1, max_size=6).filter(any))
@settings(max_examples=50, deadline=None)
def test_padding_and_mask_give_the_rows_back(rows):
    padded, mask = pad(rows)
    assert padded.shape[1] == max(map(len, rows))
    assert [padded[i][mask[i]].tolist() for i in range(len(rows))] == rows
    assert torch.equal(padded[~mask], torch.zeros(int((~mask).sum()), dtype=torch.long))


def test_every_response_of_a_comparison_is_recorded():
    rows = tokenize(
        [Comparison(Prompt("aa"), ("ba", "be"), (Pair(0, 1, 2),)), Demonstration(Prompt("ae"), "bi")], encoder(), "data"
    )
    batch = recorded(rows)
    assert batch.prompt_index.tolist() == [0] * len(rows[0].responses) + [1] * len(rows[1].responses)
    assert torch.equal(batch.action_mask, batch.response_mask)


def test_demonstrations_and_judgements():
    records = [Judgement(Prompt("aa ae"), "ba", True), Judgement(Prompt("ai"), "be bi", False)]
    judged = judgements(tokenize(records, encoder(), "data"))
    assert judged.is_good.tolist() == [True, False]
    assert judged.sequences.response_ids.tolist() == [[*ids("ba"), END, 0], [*ids("be bi"), END]]
    assert judged.sequences.response_mask.tolist() == [[True, True, False], [True, True, True]]
    assert torch.equal(judged.sequences.action_mask, judged.sequences.response_mask)
    assert judged.sequences.prompt_index.tolist() == [0, 1]
    plain = recorded(tokenize([Demonstration(r.prompt, r.response) for r in records], encoder(), "data"))
    assert torch.equal(plain.response_ids, judged.sequences.response_ids)


def test_what_is_given_in_a_response_is_no_action():
    records = [Demonstration(Prompt("aa"), "ba be bi", ((3, 5),)), Demonstration(Prompt("ae"), "ba be")]
    batch = recorded(tokenize(records, encoder(), "data"))
    assert batch.response_ids.tolist() == [[*ids("ba be bi"), END], [*ids("ba be"), END, 0]]
    assert batch.action_mask.tolist() == [[True, False, True, True], [True, True, True, False]]
    assert batch.response_mask.tolist() == [[True] * 4, [True] * 3 + [False]]


def test_given_spans_of_a_response_that_is_cut_or_loses_its_blank():
    cutting = encoder(response=2, response_truncation="right")
    (row,) = tokenize([Demonstration(Prompt("aa"), "ba be bi", ((0, 8),))], cutting, "data")
    assert recorded([row]).action_mask.tolist() == [[False, False]]
    llama = Encoder(character_tokenizer(Prepend("▁"), Replace(" ", "▁")), False, 9, 9)
    assert llama.given_columns([Demonstration(Prompt("a"), " a b", ((1, 2),))]) == [(0,)]
    assert llama.given_columns([Demonstration(Prompt("a"), " a b", ((3, 4),))]) == [(1,)]


def test_given_spans_need_a_tokenizer_that_knows_where_its_tokens_stand():
    class Slow:
        is_fast = False

    blind = Encoder(Slow(), False, 9, 9)
    assert blind.given_columns([Demonstration(Prompt("a"), "b")]) == [()]
    with pytest.raises(InputError, match=r"Slow cannot say where .* fast tokenizer"):
        blind.given_columns([Demonstration(Prompt("a"), "b", ((0, 1),))])


WORDS = st.text("abé 😀,", min_size=1, max_size=6)


@settings(max_examples=100, derandomize=True, deadline=None)
@given(st.lists(st.tuples(st.booleans(), WORDS), min_size=1, max_size=6))
def test_given_tokens_are_those_that_end_in_a_given_span(pieces):
    """Over the bytes of any text: each token is told apart by decoding the text up to it."""
    text, spans = "", []
    for is_given, piece in pieces:
        if is_given:
            spans.append((len(text), len(text) + len(piece)))
        text += piece
    bytewise = Encoder(train_tokenizer(["ab ab, a b"] * 4, 300, is_encoder_decoder=False), False, 99, 999)
    (columns,) = bytewise.given_columns([Demonstration(Prompt("a"), text, tuple(spans))])
    (tokens,) = bytewise.responses([text])
    raw = [bytes(BYTES[letter] for letter in token) for token in bytewise.tokenizer.convert_ids_to_tokens(tokens[:-1])]
    prefix = b" " if not text.startswith(" ") else b""  # the tokenizer begins every text with a blank
    for column in range(len(raw)):
        so_far = b"".join(raw[: column + 1]).removeprefix(prefix).decode(errors="replace")
        last = max(len(so_far) - 1, 0)  # half a character counts as that character, and that blank as the first
        assert (column in columns) == any(start <= last < end for start, end in spans), (column, so_far, spans)


def test_prompts_keep_their_records():
    records = [Prompt("aa", id="one"), Prompt("ae ai", id="two")]
    batch = prompts(tokenize(records, encoder(False), "data"))
    assert batch.examples == tuple(records)
    assert batch.ids.tolist() == [[START, *ids("aa"), 0], [START, *ids("ae ai")]]
    assert collate_prompts([[5]], records[:1]).mask.tolist() == [[True]]


def test_pairs_point_at_the_rows_of_their_responses_and_share_one_weight():
    first = Comparison(Prompt("aa"), ("ba", "be"), (Pair(0, 1, 2),))
    second = Comparison(Prompt("ae"), ("bi", "bo", "bu"), (Pair(0, 1, 1), Pair(0, 2, 0), Pair(1, 2, 2)))
    batch = preferences(tokenize([first, second], encoder(), "data"))
    assert batch.sequences.prompt_index.tolist() == [0, 0, 1, 1, 1]
    texts = [batch.sequences.response_ids[i, 0].item() for i in range(5)]
    assert texts == ids("ba be bi bo bu")
    # label 2: the second is better
    assert batch.better.tolist() == [1, 2, 2, 4]
    assert batch.worse.tolist() == [0, 3, 4, 3]
    assert batch.is_tie.tolist() == [False, False, True, False]
    assert batch.weight.tolist() == pytest.approx([1, 1 / 3, 1 / 3, 1 / 3])
