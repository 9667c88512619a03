"""Each measure against numbers worked out by hand."""

import math

import pytest
from pydantic import ValidationError

from posttrain.data.records import Prompt
from posttrain.errors import InputError
from posttrain.evaluation import win_rate
from posttrain.evaluation.measures import exact_match, length, repetition, rouge, rouge_lsum


def prompt(*references):
    return Prompt(text="question", id="p7", references=references)


def test_rouge_l_by_hand():
    # longest common subsequence "the cat sat" = 3; precision 3/4, recall 3/6, F1 = 2 * 3/4 * 1/2 / (5/4) = 0.6
    scores = rouge.measure(["the black cat sat"], [prompt("the cat sat on the mat")], rouge.Config())
    assert scores == pytest.approx([0.6], abs=1e-12)


def test_rouge_takes_the_best_reference():
    scores = rouge.measure(["a b c", ""], [prompt("x y z", "a b c"), prompt("a")], rouge.Config())
    assert scores == [1.0, 0.0]


def test_stemming_is_off_by_default():
    responses, prompts = ["winning"], [prompt("wins")]
    assert rouge.measure(responses, prompts, rouge.Config()) == [0.0]
    assert rouge.measure(responses, prompts, rouge.Config(use_stemmer=True)) == [1.0]
    assert rouge_lsum.measure(responses, prompts, rouge_lsum.Config()) == [0.0]
    assert rouge_lsum.measure(responses, prompts, rouge_lsum.Config(use_stemmer=True)) == [1.0]


def test_rouge_lsum_ignores_the_order_of_sentences():
    response, reference = "Lund is old. Kest is new.", "Kest is new. Lund is old."
    as_one = rouge.measure([response], [prompt(reference)], rouge.Config())
    by_sentence = rouge.measure([response], [prompt(reference)], rouge.Config(variant="rougeLsum"))
    assert as_one == pytest.approx([0.5])
    assert by_sentence == [1.0]
    assert rouge_lsum.measure([response], [prompt(reference)], rouge_lsum.Config()) == by_sentence
    assert (rouge.NAME, rouge_lsum.NAME) == ("rougeL", "rougeLsum")
    assert rouge.sentences_on_lines("One. Two?  Three! 3.5 m") == "One.\nTwo?\nThree!\n3.5 m"


def test_rouge_without_a_reference_names_the_prompt():
    with pytest.raises(InputError, match="prompt p7 has no references"):
        rouge.measure(["a"], [prompt()], rouge.Config())


def test_an_exact_match_is_word_for_word_one_of_the_references():
    responses = ["a b", " a  b\n", "a b c", "A b", "", "x"]
    prompts = [*[prompt("x", "a b")] * 5, prompt("x")]
    assert exact_match.measure(responses, prompts, exact_match.Config()) == [1, 1, 0, 0, 0, 1]
    with pytest.raises(InputError, match="prompt 'p7' has no references: exact_match needs"):
        exact_match.measure(["a"], [prompt()], exact_match.Config())


def test_length_in_words_and_in_characters():
    responses, prompts = ["two  words\n", ""], [prompt(), prompt()]
    assert length.measure(responses, prompts, length.Config()) == [2.0, 0.0]
    assert length.measure(responses, prompts, length.Config(unit="characters")) == [11.0, 0.0]


def test_repetition_by_hand():
    # "a b a b a": aba, bab, aba: three 3-grams, two distinct
    scores = repetition.measure(["A b a B a", "a b", "a b c d"], [prompt()] * 3, repetition.Config())
    assert scores == pytest.approx([1 / 3, 0.0, 0.0], abs=1e-12)
    assert repetition.measure(["a a a a"], [prompt()], repetition.Config(ngram_size=1)) == [0.75]


def test_win_tie_and_loss():
    assert win_rate.compare([2.0, 1.0, 0.0], [1.0, 1.0, 1.0], win_rate.Config()) == [1.0, 0.5, 0.0]
    assert win_rate.compare([2.0, 1.2, 0.0], [1.0, 1.0, 1.0], win_rate.Config(tie_margin=0.25)) == [1.0, 0.5, 0.0]


def test_win_rates_of_both_sides_sum_to_one():
    scores, opponent = [0.3, 0.5, 0.5, -1.0], [0.2, 0.5, 0.7, -1.1]
    won, lost = (win_rate.compare(*pair, win_rate.Config()) for pair in ((scores, opponent), (opponent, scores)))
    assert [one + other for one, other in zip(won, lost, strict=True)] == [1.0] * 4


@pytest.mark.parametrize(("scores", "opponent"), [([1.0], [1.0, 2.0]), ([math.nan], [1.0])])
def test_scores_that_cannot_be_compared_are_refused(scores, opponent):
    with pytest.raises(InputError):
        win_rate.compare(scores, opponent, win_rate.Config())


@pytest.mark.parametrize("module", [exact_match, rouge, length, repetition, win_rate])
def test_unknown_settings_are_refused(module):
    with pytest.raises(ValidationError):
        module.Config(no_such_setting=1)
