"""Answers cut into marked pieces, and characters that hide made visible."""

import pytest

from posttrain.errors import InputError
from posttrain.evaluation.results import Fault
from posttrain.figures.answers import Answer, Piece, pieces, visible
from posttrain.figures.page import fault_letters


def test_overlapping_faults_are_cut_at_every_edge():
    faults = (Fault(start=2, end=6, kind="wrong"), Fault(start=4, end=8, kind="repeated"))
    assert pieces(Answer("abcdefghij", faults=faults)) == [
        Piece("ab"),
        Piece("cd", ("wrong",)),
        Piece("ef", ("repeated", "wrong")),
        Piece("gh", ("repeated",)),
        Piece("ij"),
    ]


def test_offsets_count_characters_of_the_answer_not_of_what_is_shown():
    answer = Answer("\x07\u202ewrong", faults=(Fault(start=2, end=7, kind="wrong"),))
    assert pieces(answer) == [Piece("⟨U+0007⟩⟨U+202E⟩"), Piece("wrong", ("wrong",))]


def test_an_answer_without_text_has_no_pieces():
    assert pieces(Answer("")) == []


@pytest.mark.parametrize(("start", "end"), [(-1, 2), (0, 4), (2, 2)])
def test_a_fault_outside_its_answer_is_refused(start, end):
    with pytest.raises(InputError, match="lies outside its answer"):
        pieces(Answer("abc", faults=(Fault(start=start, end=end, kind="wrong"),)))


def test_visible():
    assert visible("a\tb\nc é 漢 👩‍🔬") == "a\tb\nc é 漢 👩‍🔬"
    assert visible("\x00\x7f\u200b\u2028\ufeff\ud800") == "⟨U+0000⟩⟨U+007F⟩⟨U+200B⟩⟨U+2028⟩⟨U+FEFF⟩⟨U+D800⟩"


def test_letters_tell_kinds_apart():
    assert fault_letters(["irrelevant", "redundant", "wrong"]) == {"irrelevant": "I", "redundant": "R", "wrong": "W"}
    assert fault_letters(["redundant", "repetition", "7up"]) == {"redundant": "1", "repetition": "2", "7up": "3"}
