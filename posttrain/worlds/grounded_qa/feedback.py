"""A labelled comparison as a row of QA-Feedback (Wu et al. 2023): the shape of its `dev_feedback.jsonl`."""

from typing import Any

from posttrain.data.records import Comparison
from posttrain.errors import InputError
from posttrain.worlds.grounded_qa.grammar import Fact, sentence
from posttrain.worlds.grounded_qa.truth import JudgedSpan, Truth, judge

PAIR_ORDER = ((0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3))


def feedback_row(comparison: Comparison) -> dict[str, Any]:
    """One JSON-like row: the first answer has its errors marked, and all four are compared.

    Raises InputError unless the comparison has four responses and the six pairs in QA-Feedback's order.
    """
    prompt = comparison.prompt
    if len(comparison.responses) != 4 or tuple((pair.first, pair.second) for pair in comparison.pairs) != PAIR_ORDER:
        raise InputError(
            f"comparison of prompt {prompt.id!r}: QA-Feedback rows hold 4 responses and the pairs 12, 13, 14, 23, 24, "
            f"34; this one has {len(comparison.responses)} responses and {len(comparison.pairs)} pairs"
        )
    truth = judge(prompt, comparison.responses[0])
    pages = prompt.facts["pages"]
    return {
        "question": prompt.facts["question"],
        "passages": [[page["wikipage"], *(sentence(Fact(*fact)) for fact in page["facts"])] for page in pages],
        "gold": prompt.references[0],
        **{f"prediction {number}": response for number, response in enumerate(comparison.responses, start=1)},
        "feedback": {
            "errors": [_error(span) for span in truth.factuality + truth.relevance if span.error is not None],
            "missing-info": _missing_info(truth, pages),
            "corrected-prediction": prompt.references[0],
        },
        "preference": [pair.label for pair in comparison.pairs],
    }


def _error(span: JudgedSpan) -> dict[str, Any]:
    return {"error type": span.error, "explanation": span.explanation, "start": span.start, "end": span.end}


def _missing_info(truth: Truth, pages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Where each missing fact stands. Both ids count from 1: sentence 0 of a QA-Feedback passage is its title."""
    return [
        {"error type": "Missing-Answer", "passage_id": passage_id, "sentence_id": [sentence_id]}
        for passage_id, page in enumerate(pages, start=1)
        for sentence_id, fact in enumerate(page["facts"], start=1)
        if Fact(*fact) in truth.missing
    ]
