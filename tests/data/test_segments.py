"""Where sentences and sub-sentences begin and end: by hand, and as properties of any text."""

import re
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from posttrain.data.segments import (
    ABBREVIATIONS,
    MIN_WORDS,
    SEGMENTERS,
    matches,
    segmenter,
    sentences,
    sub_sentences,
    whole,
)

SENTENCES = {
    "two": ["Ann came.", "Bob left!"],
    "question": ["Who came?", "Ann did."],
    "titles": ["Dr. Who met Mrs. Smith of St. Mary's.", "They left."],
    "initials": ["J. K. Rowling wrote it.", "George R. R. Martin did not."],
    "dotted abbreviations": ["It was i.e. late, at 5 p.m. or so, e.g. at night.", "True."],
    "an abbreviation that ends the text": ["It was made by Smith Inc."],
    "decimals": ["It costs 3.50 or 1,000.25 dollars.", "Version 2.0 is out."],
    "a number ends it": ["It was 1994.", "Then came 1995."],
    "host names": ["See FanFiction.Net or a.b.c for it.", "Yes."],
    "closing quotes": ['He said "Go."', "She went.", "“Why?”", "(Because.)", "'So.'"],
    "ellipses": ["Well...", "I do not know…", "Maybe"],
    "several marks": ["What?!", "No!!!", "Yes."],
    "line breaks": ["Title", "First line", "second"],
    "marks before blanks": ["Dalune came out in 1994 .", "Dalune came out in 1950 ."],
    "no marks": ["no mark at all here"],
    "one word": ["word"],
    "only marks": ["...."],
    "marks apart": ["!", "?", "."],
    "lower case": ["it ended. ".strip(), "so it did."],
    "accents and emoji": ["Zoë kam früh.", "Ça va? ".strip(), "😀😀!", "好"],
    "CJK marks before blanks": ["你好。", "再见！", "真的？"],
}


@pytest.mark.parametrize("pieces", SENTENCES.values(), ids=SENTENCES)
@pytest.mark.parametrize(("between", "around"), [(" ", ""), ("  \n ", " \t"), ("\n", "\n")])
def test_sentences_by_hand(pieces, between, around):
    """Pieces that were put together come apart again, whatever white space was between and around them."""
    text = around + between.join(pieces) + around
    found = [text[start:end] for start, end in sentences(text)]
    if pieces == SENTENCES["line breaks"] and between == " ":
        assert found == [" ".join(pieces)]
    else:
        assert found == pieces


def test_the_abbreviations_are_lower_case_words_that_never_end_a_sentence():
    for word in ABBREVIATIONS:
        assert word == word.lower().strip(".")
        for written in (word, word.capitalize(), f"({word}"):
            assert len(sentences(f"It was {written}. 5 and more")) == 1


SUB_SENTENCES = {
    "at commas": ("He was born in 1950, and he died in Rome, where he had lived for years.",
                  ["He was born in 1950,", "and he died in Rome,", "where he had lived for years."]),
    "a short beginning goes on": ("In 1950, he was born in Rome.", ["In 1950, he was born in Rome."]),
    "a short end goes back": ("He was born in Rome, they say.", ["He was born in Rome, they say."]),
    "short ones add up": ("One, two, three, four, five, six, seven, eight, nine, ten.",
                          ["One, two, three, four, five,", "six, seven, eight, nine, ten."]),
    "what is left over goes back": ("a, b, c, d, e, f, g", ["a, b, c, d, e, f, g"]),
    "semicolons": ("She wrote it in one year; nobody has read it since.",
                   ["She wrote it in one year;", "nobody has read it since."]),
    "a mark inside": ('"Is it really so late?" asked the man at home.',
                      ['"Is it really so late?"', "asked the man at home."]),
    "thousands": ("There were in all some 1,000,000 of them, so many that none saw all.",
                  ["There were in all some 1,000,000 of them,", "so many that none saw all."]),
    "not over the end of a sentence": ("Yes, so. It was all in vain, and so they went home again.",
                                       ["Yes, so.", "It was all in vain,", "and so they went home again."]),
    "empty": ("", []),
    "blank": (" \n\t ", []),
    "only commas": (",,,,", [",,,,"]),
    "only blanks and marks": (" , ; ! ", [", ; !"]),
}  # fmt: skip


@pytest.mark.parametrize(("text", "pieces"), SUB_SENTENCES.values(), ids=SUB_SENTENCES)
def test_sub_sentences_by_hand(text, pieces):
    assert [text[start:end] for start, end in sub_sentences(text)] == pieces


def test_a_span_names_its_place_and_not_its_words():
    text = " Go. Go. Go."
    assert sentences(text) == [(1, 4), (5, 8), (9, 12)]
    assert whole(text) == [(1, 12)]
    assert whole("\u3000\u2028") == []


def test_matches_of_a_pattern_are_the_spans():
    assert segmenter("whole", r"\w+ ?")("ab  c, d ") == [(0, 2), (4, 5), (7, 8)]
    assert matches(r"\s*")("a b") == [], "blank matches are no spans"
    assert segmenter("sentence")("Go on. So.") == [(0, 6), (7, 10)]
    with pytest.raises(re.error):
        matches("(")


TEXTS = st.one_of(
    st.text(max_size=60),
    st.lists(
        st.sampled_from([
            "a", "Mr.", "J.", "word", "3.5", "1,000", "e.g.", ".", ",", ";", "!", "?", "...", '"', "'", ")", " ", "  ",
            "\n", "\r\n", "\u3000", "\u2028", "\x1c", "。", "！", "é", "漢字", "😀", "\u0301", "…", "”", "U.S.",
        ]),
        max_size=40,
    ).map("".join),
    st.lists(st.sampled_from(["a", "b,", "c.", "Dr.", "d;", "e!", "f?", ",", "\n"]), max_size=40).map(" ".join),
)  # fmt: skip


def blank_free(text: str) -> str:
    return "".join(text.split())


@settings(max_examples=300, deadline=None)
@given(TEXTS)
@example("....")
@example('one two three four five!", he said.')
def test_spans_of_any_text(text):
    """Ordered, disjoint, trimmed, and together all that is not blank; sub-sentences cut sentences and nothing else."""
    for find in SEGMENTERS.values():
        spans = find(text)
        assert all(before[1] <= after[0] for before, after in pairwise(spans))
        pieces = [text[start:end] for start, end in spans]
        assert all(piece and piece == piece.strip() for piece in pieces)
        assert "".join(map(blank_free, pieces)) == blank_free(text)
    parts = iter(sub_sentences(text))
    for start, end in sentences(text):
        inside = [next(parts)]
        while inside[-1][1] < end:
            inside.append(next(parts))
        assert (inside[0][0], inside[-1][1]) == (start, end)
        lengths = [len(text[first:last].split()) for first, last in inside]
        assert min(lengths) >= MIN_WORDS or len(inside) == 1
    assert next(parts, None) is None


@settings(max_examples=100, deadline=None)
@given(TEXTS, st.sampled_from([r"\w+", r"[^,]*,?", ".", r"\S+\s*"]))
def test_spans_of_a_pattern(text, pattern):
    spans = matches(pattern)(text)
    assert all(before[1] <= after[0] for before, after in pairwise(spans))
    assert all(text[start:end] == text[start:end].strip() != "" for start, end in spans)
