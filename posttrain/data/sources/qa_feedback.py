"""QA-Feedback (Wu et al. 2023, arXiv:2306.01693, github.com/allenai/FineGrainedRLHF): its files as they are.

Demonstration rows: {"text", "answer": [text, ...], "passages": [{"wikipage", "content"}, ...], "question"}, where
`text` is the model's input, "question: Q context: wikipage: TITLE text: TEXT | wikipage: TITLE text: TEXT ...".
Feedback rows: {"question", "passages": [[title, sentence, ...], ...], "gold", "prediction 1".."prediction 4",
"feedback", "preference": six labels for the pairs 12, 13, 14, 23, 24, 34}.

A feedback row has no input text, so it is rebuilt from the sentences. Of the 357 questions that dev.jsonl and
dev_feedback.jsonl share, 348 prompts come out equal to the character; the other 9 differ by one or two blanks, where
the sentence splitter of the data set cut between words that no blank separated ("FanFiction.Net").
"""

from collections.abc import Callable, Iterator
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any, Literal

from pydantic import NonNegativeInt, PositiveInt

from posttrain.data.fields import (
    as_label,
    as_list,
    as_mapping,
    as_text,
    check_names,
    integer,
    items,
    mapping,
    take,
    text,
    texts,
)
from posttrain.data.jsonl import Row, read_rows
from posttrain.data.lines import Where
from posttrain.data.records import Comparison, Demonstration, Pair, Prompt, Record, SpanError, SpanJudgement
from posttrain.settings import Settings

DEMONSTRATION_FIELDS = ("text", "answer", "passages", "question")
PREDICTIONS = ("prediction 1", "prediction 2", "prediction 3", "prediction 4")
FEEDBACK_FIELDS = ("question", "passages", "gold", *PREDICTIONS, "feedback", "preference")


class Config(Settings):
    path: Path
    records: Literal["demonstrations", "comparisons", "span_judgements", "prompts"]
    """Demonstrations need a demonstration file, comparisons and span judgements (of prediction 1) a feedback file;
    prompts are taken from either."""
    start: NonNegativeInt = 0
    num: PositiveInt | None = None
    """Rows from `start` on; None takes all that follow. The whole file is checked either way."""


def load(config: Config) -> list[Record]:
    read = READERS[config.records]
    return take([read(row, where) for where, row in read_rows(config.path)], config.num, config.path, config.start)


def _prompt(row: Row, where: Where) -> Prompt:
    if "feedback" in row or "preference" in row:
        return _comparison(row, where).prompt
    return _demonstration(row, where).prompt


def _demonstration(row: Row, where: Where) -> Demonstration:
    """The first answer is the response, all are references."""
    check_names(row, where, DEMONSTRATION_FIELDS)
    answers = texts(row, where, "answer")
    question = text(row, where, "question")
    facts = {"question": question, "passages": items(row, where, "passages", is_empty_allowed=True)}
    return Demonstration(Prompt(text(row, where, "text"), question, answers, facts), answers[0])


def _comparison(row: Row, where: Where) -> Comparison:
    """Four responses and six judgements. The prompt's facts keep the feedback, which is about the first response."""
    check_names(row, where, FEEDBACK_FIELDS)
    question = text(row, where, "question")
    responses = tuple(text(row, where, name) for name in PREDICTIONS)
    pairs = pairs_of(row, where)
    passages = items(row, where, "passages", is_empty_allowed=True)  # retrieval finds nothing for a few questions
    feedback = mapping(row, where, "feedback")
    for check in feedback_checks(feedback, where, len(responses[0])):
        check()
    facts: dict[str, Any] = {"question": question, "passages": passages, "feedback": feedback}
    prompt = Prompt(_input_text(question, passages, where), question, (text(row, where, "gold"),), facts)
    return Comparison(prompt, responses, pairs)


def pairs_of(row: Row, where: Where) -> tuple[Pair, ...]:
    labels = items(row, where, "preference")
    positions = list(combinations(range(len(PREDICTIONS)), 2))  # 12, 13, 14, 23, 24, 34, counted from 0
    if len(labels) != len(positions):
        raise where.fault(f'field "preference" holds {len(labels)} labels; expected 6, for 12, 13, 14, 23, 24, 34')
    return tuple(
        Pair(first, second, as_label(found, where, f"preference[{i}]"))
        for i, ((first, second), found) in enumerate(zip(positions, labels, strict=True))
    )


def _span_judgement(row: Row, where: Where) -> SpanJudgement:
    """The first response with its errors. A span that the annotators left empty marks nothing."""
    comparison = _comparison(row, where)
    errors = comparison.prompt.facts["feedback"]["errors"]
    spans = tuple(SpanError(it["start"], it["end"], it["error type"]) for it in errors if it["end"] > it["start"])
    return SpanJudgement(comparison.prompt, comparison.responses[:1], (spans,))


def feedback_checks(feedback: Row, where: Where, num_characters: int | None) -> Iterator[Callable[[], object]]:
    """Each raises InputError if its part of the feedback is not sound: every error lies in the first response.

    `num_characters` are those of that response, None where it has none.
    """
    yield partial(check_names, feedback, where, ("errors", "missing-info", "corrected-prediction"))
    yield partial(text, feedback, where, "corrected-prediction", is_empty_allowed=True)
    for name in ("errors", "missing-info"):
        if not isinstance(feedback.get(name), list):
            yield partial(items, feedback, where, name, is_empty_allowed=True)
            continue
        for i, found in enumerate(feedback[name]):
            yield partial(_check_mark, found, where, f"{name}[{i}]", num_characters if name == "errors" else None)


def _check_mark(found: object, where: Where, name: str, num_characters: int | None) -> None:
    mark = as_mapping(found, where, name)
    text(mark, where, "error type")
    if num_characters is not None:
        start = integer(mark, where, "start", 0, num_characters)
        integer(mark, where, "end", start, num_characters)


def _input_text(question: str, passages: list[Any], where: Where) -> str:
    """The `text` of the demonstration files."""
    blocks = [block_of(found, where, f"passages[{i}]") for i, found in enumerate(passages)]
    return f"question: {question} context: {' | '.join(blocks)}"


def block_of(passage: object, where: Where, name: str) -> str:
    """A passage of a feedback row, as it stands in `text`."""
    parts = as_list(passage, where, name)
    title, *sentences = (as_text(part, where, f"{name}[{j}]", True) for j, part in enumerate(parts))
    return f"wikipage: {title} text: {_join(sentences)}"


def _join(sentences: list[str]) -> str:
    """One blank between sentences, none after a sentence that ends in a line break."""
    joined = ""
    for sentence in sentences:
        joined += sentence if not joined or joined.endswith("\n") else f" {sentence}"
    return joined


READERS: dict[str, Callable[[Row, Where], Record]] = {
    "demonstrations": _demonstration,
    "comparisons": _comparison,
    "span_judgements": _span_judgement,
    "prompts": _prompt,
}
"""How a row is read, by `Config.records`. InputError at a row's first fault."""
