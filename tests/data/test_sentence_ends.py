"""Where sentences end, on cases from QA-Feedback, and how often its annotators marked what our segments are."""

import pytest

from posttrain.data.segments import Segmenter, sentences, sub_sentences
from posttrain.data.sources import qa_feedback
from tests.data.sources.test_qa_feedback import FOLDER, real_data

RELEVANCE, FACTUALITY = ("Irrelevant", "Redundant", "Incoherent"), ("Wrong-Grounding", "Unverifiable")


@pytest.mark.parametrize(
    "parts",
    [
        ["It is in Washington, D.C.", "The building is old."],
        ["It ended in World War I.", 'In 1968, the "Monday Act" came.'],
        ["He spoke to Steve Trevor Jr.", "She did not."],
        ["It was at 5 p.m.", "“They left.”"],
        ["It is a vessel of the U.S. Navy.", "It was written by J. K. Rowling."],
        ["How the Grinch Stole Christmas! is a film.", "It is old."],
        ["It goes around the District... and in every State."],
        ['He asked "Who?" and "Why?" twice.', "Who?", "Nobody!"],
        ["No!", "Überall?", "Ja."],
    ],
    ids=lambda parts: parts[0][:20],
)
def test_sentences(parts: list[str]):
    text = " ".join(parts)
    assert [text[start:end] for start, end in sentences(text)] == parts


def test_a_closing_quote_stays_with_the_mark_before_it():
    text = 'He sang the song "Who are you?" and then he went all the way home.'
    assert [text[start:end] for start, end in sub_sentences(text)] == [
        'He sang the song "Who are you?"', "and then he went all the way home."
    ]  # fmt: skip


@real_data
@pytest.mark.parametrize(
    ("segmenter", "kinds", "num", "starts", "ends", "both"),
    [(sub_sentences, RELEVANCE, 816, 0.672, 0.828, 0.610), (sentences, FACTUALITY, 238, 0.345, 0.479, 0.218)],
)
def test_the_shares_of_marked_errors_that_begin_and_end_where_segments_do(
    segmenter: Segmenter, kinds: tuple[str, ...], num: int, starts: float, ends: float, both: float
):
    """The numbers of docs/qa_feedback.md. White space at either end of a mark does not count."""
    hits: list[tuple[bool, bool]] = []
    for name in ("dev_feedback", "train_feedback_24"):
        for row in qa_feedback.load(qa_feedback.Config(path=FOLDER / f"{name}.jsonl.gz", records="span_judgements")):
            (text,), (errors,) = row.responses, row.errors
            spans = segmenter(text)
            for error in errors:
                if error.kind in kinds:
                    marked = text[error.start : error.end]
                    start = error.start + len(marked) - len(marked.lstrip())
                    end = error.start + len(marked.rstrip())
                    hits.append((start in [s for s, _ in spans], end in [e for _, e in spans]))
    assert len(hits) == num
    shares = (sum(s for s, _ in hits), sum(e for _, e in hits), sum(s and e for s, e in hits))
    assert [share / num for share in shares] == pytest.approx([starts, ends, both], abs=6e-4)
