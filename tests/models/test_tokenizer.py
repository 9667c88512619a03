"""A tokenizer trained on a run's own texts."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posttrain.models.loading import load_tokenizer
from posttrain.models.tokenizer import train_tokenizer

TEXTS = ["the cat sat on the mat", "the dog sat on the cat"] * 5


@pytest.fixture(scope="module", params=[True, False], ids=["encoder_decoder", "decoder_only"])
def tokenizer(request):
    return train_tokenizer(TEXTS, 290, request.param)


@given(text=st.text(st.characters(exclude_categories=["Cs"]), max_size=30))
@settings(max_examples=50, deadline=None)
def test_any_text_comes_back(tokenizer, text):
    ids = tokenizer(text, add_special_tokens=False).input_ids
    assert tokenizer.decode(ids).removeprefix(" ") == text.removeprefix(" ")


def test_special_tokens(tokenizer):
    assert (tokenizer.pad_token_id, tokenizer.eos_token_id, tokenizer.bos_token_id) == (0, 1, 2)
    ids = tokenizer("the cat").input_ids
    assert len(tokenizer("the cat", add_special_tokens=False).input_ids) == 2  # " the" and " cat" were learnt
    # An encoder's prompt ends with its end token, a decoder's has a mark where the response begins.
    ends = tokenizer.convert_ids_to_tokens([ids[0], *ids[3:]] if ids[0] == 2 else ids[2:])
    assert ends in (["</s>"], ["<s>", "<response>"])
    assert tokenizer.decode(ids, skip_special_tokens=True).strip() == "the cat"


def test_a_saved_tokenizer_is_the_same(tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "t5"}')
    loaded = load_tokenizer(str(tmp_path))
    assert loaded.get_vocab() == tokenizer.get_vocab()
    assert loaded("the dog, Ünïcödé").input_ids == tokenizer("the dog, Ünïcödé").input_ids
