"""Repetition, exact match and pattern by hand: tokens are ▁the ▁dog . ▁cat and the end token."""

import pytest
from pydantic import ValidationError

from posttrain.data.records import Prompt
from posttrain.errors import InputError
from posttrain.rewards import pattern
from tests.rewards.rollouts import ids_of, rollout_of, tokenizer_of
from tests.rewards.test_density import stream_of

TOKENIZER = tokenizer_of("byte fallback")


def values(kind: str, text: str, references: tuple[str, ...] = (), **own) -> dict[int, float]:
    """Column → value, of what is judged."""
    rollout = rollout_of(TOKENIZER, [ids_of(TOKENIZER, text)], [Prompt("p", references=references)])
    stream = stream_of(kind, TOKENIZER, rollout, **own)
    columns = stream.mask[0].nonzero().flatten().tolist()
    return {column: pytest.approx(stream.values[0, column].item(), abs=1e-6) for column in columns}


def test_repetition():
    """the dog, dog the, the dog: the third of three came before."""
    text = "the dog the dog"
    assert values("repetition", text, ngram_size=2) == {4: -1 / 3}
    assert values("repetition", text, ngram_size=2, density="token") == {1: 0, 2: 0, 3: -1 / 3}
    assert values("repetition", "the dog. the dog.", ngram_size=2, density="sentence") == {2: 0, 5: -1 / 3}
    assert values("repetition", text, ngram_size=2, unit="token") == {4: -1 / 4}, "with `dog </s>`"
    assert values("repetition", text, ngram_size=5, density="token") == {}
    assert values("repetition", "", ngram_size=1) == {0: 0}


def test_exact_match():
    assert list(values("exact_match", "the dog", ("cat", "the dog")).values()) == [1]
    assert values("exact_match", "the dog.", ("the dog",)) == {3: 0}
    assert values("exact_match", "the dog.", ("dog",), ignores=["punctuation", "articles"]) == {3: 1}
    assert values("exact_match", "the dog", ("The DOG",), ignores=["case"]) == {2: 1}
    assert values("exact_match", "the dog", ("The DOG",)) == {2: 0}
    assert values("exact_match", "", ("",)) == {0: 1}


def test_a_reference_that_is_contained():
    own = {"match": "contains", "density": "own"}
    assert values("exact_match", "the dog the cat the cat", ("the cat", "cat the"), **own) == {3: 1}
    assert values("exact_match", "the dog", ("the dog the",), **own) == {2: 0}
    assert values("exact_match", "the dog.", ("dog",), **own) == {3: 0}, "`dog.` is another word"
    with pytest.raises(InputError, match=r"rewards.exact_match: prompt 'p' has a reference without words"):
        values("exact_match", "the dog", ("the",), ignores=["articles"], **own)


def test_a_prompt_without_references():
    with pytest.raises(InputError, match=r"rewards.exact_match: prompt 'p' has no references"):
        values("exact_match", "the dog")


def test_pattern():
    text = "the dog. the cat"
    assert values("pattern", text, pattern="dog|cat") == {5: 1}
    assert values("pattern", text, pattern="dog|cat", density="own") == {1: 1}
    assert values("pattern", text, pattern="dog|cat", density="own", gives="count") == {1: 1, 4: 1}
    assert values("pattern", text, pattern="the", density="sentence", gives="count") == {2: 1, 4: 1}
    assert values("pattern", text, pattern="cat", density="sentence") == {2: 0, 4: 1}, "a sentence without is judged"
    assert values("pattern", text, pattern="x*", gives="count") == {5: 0}, "an empty match counts for nothing"
    assert values("pattern", text, pattern="the dog", gives="all", density="own") == {5: 0}
    assert values("pattern", text, pattern="the .*", gives="all", density="own") == {5: 1}
    assert values("pattern", "", pattern="", density="own") == {0: 1}


def test_a_pattern_that_is_none():
    with pytest.raises(ValidationError, match=r"'\(' is no regular expression"):
        pattern.Config(pattern="(")
