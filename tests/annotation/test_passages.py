"""Prompts taken apart."""

from posttrain.annotation.passages import Passage, Reading, reading_of
from posttrain.data.records import Prompt

TEXT = "question: Who? And when? context: wikipage: One (film) text: It is 3.5 m. Was it? Yes | wikipage: Two text: No."


def test_a_prompt_without_passages_is_its_text():
    assert reading_of(Prompt("Tell me. context: nothing")) == Reading("Tell me. context: nothing")


def test_question_and_passages():
    one = Passage("One (film)", ("It is 3.5 m.", "Was it?", "Yes"))
    assert reading_of(Prompt(TEXT)) == Reading("Who? And when?", (one, Passage("Two", ("No.",))))


def test_sentences_that_the_file_gives_are_taken():
    given = [["One (film)", "It is 3.5 m. Was it?", "Yes"], ["Two", "No."]]
    found = reading_of(Prompt(TEXT, facts={"passages": given}))
    assert [len(passage.sentences) for passage in found.passages] == [2, 1]
    other = [{"wikipage": "One", "content": ["x"]}]  # as demonstration files have it
    assert len(reading_of(Prompt(TEXT, facts={"passages": other})).passages[0].sentences) == 3
