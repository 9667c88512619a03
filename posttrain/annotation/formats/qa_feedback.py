"""The feedback files of QA-Feedback (Wu et al. 2023, arXiv:2306.01693): four predictions, six labels, marked errors.

    {"question", "passages": [[title, sentence, ...], ...], "gold", "prediction 1".."prediction 4", "preference",
     "feedback": {"errors", "missing-info", "corrected-prediction"}}

`preference` has the labels of 12, 13, 14, 23, 24, 34, by the majority of votes; `feedback` is on prediction 1, by the
first annotator who marked it. Passages and sentences count from 1 in the file, and a sentence 0 is the title; they
count from 0 in records, so that the title is sentence −1. What the form has no place for is counted: the evidence of
an error, errors of other predictions, and all marks after the first.
"""

from collections.abc import Iterable, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from posttrain.annotation.formats.exchange import (
    Exported,
    Imported,
    as_jsonl,
    decided,
    item_id,
    not_pairwise,
    read_numbered,
    undated_pair,
)
from posttrain.annotation.records import Item, Missing, Response, SpanError, SpanVote, Vote
from posttrain.annotation.statistics.answers import Question
from posttrain.data.fields import as_integer, as_mapping, as_text, integer, items
from posttrain.data.jsonl import Row
from posttrain.data.lines import Where
from posttrain.data.records import Comparison, Label, Prompt
from posttrain.data.sources import qa_feedback as source

JUDGE = "qa_feedback"
"""Annotator of the votes that are read: the file names nobody."""

PAIRS = tuple(combinations(range(4), 2))


def export(items: Iterable[Item], votes: Iterable[Vote]) -> Exported:
    items, votes = list(items), list(votes)
    labels: dict[Question, Label] = {question: label for question, label, _ in decided(votes, "majority")}
    marks: dict[str, list[SpanVote]] = {}
    for vote in votes:
        if isinstance(vote, SpanVote) and not vote.is_repeat:
            marks.setdefault(vote.item, []).append(vote)
    rows: list[Row] = []
    left_out: dict[str, int] = {}
    num_unmarked = 0
    for item in items:
        questions = [Question(item.id, *pair) for pair in PAIRS]
        own: list[Label] = [labels[question] for question in questions if question in labels]
        if reason := _unfit(item, own):
            left_out[reason] = left_out.get(reason, 0) + 1
            continue
        of_first = [vote for vote in marks.get(item.id, []) if vote.response == 0]
        num_unmarked += not of_first
        _count_marks(left_out, marks.get(item.id, []), of_first[:1])
        rows.append(_row(item, own, of_first[0] if of_first else None))
    others = {key: count for key, count in not_pairwise(items, votes).items() if key != "span judgements"}
    notes = [f"{num_unmarked} rows have empty feedback because nobody marked errors there"] if num_unmarked else []
    return as_jsonl(rows, {**left_out, **others}, notes)


def read(path: Path | str) -> Imported:
    """Items with a vote on each pair, and one on the spans of the first response."""
    path = Path(path)
    config = source.Config(path=path, records="comparisons")
    found, votes, seen = [], [], {}
    for comparison, (number, where, row) in zip(source.load(config), read_numbered(path), strict=True):
        assert isinstance(comparison, Comparison), "records=comparisons"
        facts = {name: value for name, value in comparison.prompt.facts.items() if name != "feedback"}
        prompt = Prompt(comparison.prompt.text, "", comparison.prompt.references, facts)
        item = Item(item_id("", number, where, seen), prompt, tuple(map(Response, comparison.responses)))
        found.append(item)
        votes += [undated_pair(item.id, JUDGE, pair.first, pair.second, pair.label) for pair in comparison.pairs]
        votes.append(_marks(item.id, row["feedback"], where))
    return Imported(tuple(found), tuple(votes))


def _unfit(item: Item, labels: Sequence[Label]) -> str:
    """Why an item has no row, or nothing."""
    if len(item.responses) != 4 or not all(response.text.strip() for response in item.responses):
        return "items without four responses that say something"
    if not (isinstance(item.prompt.facts.get("question"), str) and _are_passages(item.prompt.facts.get("passages"))):
        return 'items without the facts "question" and "passages" ([[title, sentence, ...], ...])'
    if len(item.prompt.references) != 1:
        return "items without exactly one reference answer"
    return "" if len(labels) == len(PAIRS) else "items without a vote on each of the six pairs"


def _are_passages(found: object) -> bool:
    return isinstance(found, list | tuple) and all(
        isinstance(passage, list | tuple) and passage and all(isinstance(part, str) for part in passage)
        for passage in found
    )


def _count_marks(left_out: dict[str, int], marks: Sequence[SpanVote], kept: Sequence[SpanVote]) -> None:
    for reason, count in (
        ("span judgements of predictions 2 to 4", sum(vote.response != 0 for vote in marks)),
        ("further span judgements of prediction 1", sum(vote.response == 0 for vote in marks) - len(kept)),
        ("evidence sentences of errors", sum(len(error.evidence) for vote in kept for error in vote.errors)),
    ):
        left_out[reason] = left_out.get(reason, 0) + count


def _row(item: Item, labels: Sequence[Label], marks: SpanVote | None) -> dict[str, Any]:
    facts = item.prompt.facts
    return {
        "question": facts["question"],
        "passages": [list(passage) for passage in facts["passages"]],
        "gold": item.prompt.references[0],
        **{name: response.text for name, response in zip(source.PREDICTIONS, item.responses, strict=True)},
        "feedback": {
            "errors": [
                {"error type": error.type, "explanation": error.explanation, "start": error.start, "end": error.end}
                for error in (marks.errors if marks else ())
            ],
            "missing-info": [
                {"error type": one.type, "passage_id": one.passage + 1, "sentence_id": [one.sentence + 1]}
                for one in (marks.missing if marks else ())
            ],
            "corrected-prediction": marks.corrected if marks else "",
        },
        "preference": list(labels),
    }


def _marks(item: str, feedback: Row, where: Where) -> SpanVote:
    """The source has checked all but explanations, and passages and sentences."""
    errors = tuple(
        SpanError(error["start"], error["end"], error["error type"], _explanation(error, where))
        for error in feedback["errors"]
    )
    missing = tuple(
        Missing(entry["error type"], integer(entry, where, "passage_id", 1) - 1, sentence - 1)
        for entry in feedback["missing-info"]
        for sentence in _sentences(entry, where)
    )
    return SpanVote(item, JUDGE, 0.0, 0.0, 0, errors, missing, feedback["corrected-prediction"])


def _explanation(error: Row, where: Where) -> str:
    return as_text(error.get("explanation", ""), where, "explanation", True)


def _sentences(entry: Row, where: Where) -> list[int]:
    """An entry may name several sentences of its passage; each is a record of its own."""
    found = enumerate(items(as_mapping(entry, where, "missing-info"), where, "sentence_id"))
    return [as_integer(sentence, where, f"sentence_id[{i}]", 0) for i, sentence in found]
