"""What the page of disputes shows: pairs on which annotators differ, without who wrote a response or who answered."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, Row, select

from posttrain.annotation.assignment import keyed
from posttrain.annotation.passages import Reading, reading_of
from posttrain.annotation.project import Project
from posttrain.annotation.records import Choice, PairVote, Vote
from posttrain.annotation.statistics.answers import Question
from posttrain.annotation.statistics.labels import PairLabel, disputed
from posttrain.annotation.store.reading import item_of, read_votes
from posttrain.annotation.store.tables import items
from posttrain.annotation.store.verdicts import read_verdicts
from posttrain.annotation.web.tasks.task_view import LETTERS, Shown, images_of

NUM_OPEN = 10
NUM_DECIDED = 20
WORDS: dict[str, str] = {"left": "A is better", "right": "B is better", "tie": "Tie", "both_bad": "Both bad"}


@dataclass(frozen=True)
class Dispute:
    path: str
    reading: Reading
    responses: tuple[Shown, ...]
    said: tuple[tuple[str, int], ...]  # (what, how many annotators), the most first
    reasons: tuple[str, ...]
    verdict: str  # "" while it is open
    reason: str


@dataclass(frozen=True)
class Disputes:
    open: tuple[Dispute, ...]  # the most disputed first
    num_open: int
    decided: tuple[Dispute, ...]  # the newest first
    num_decided: int


def disputes_of(connection: Connection, project: Project) -> Disputes:
    votes = read_votes(connection)
    found = disputed(votes)
    verdicts = {Question(each.item, each.first, each.second): each for each in read_verdicts(connection)}
    by_question = {pair.question: pair for pair in found}
    open_pairs = [pair for pair in found if pair.question not in verdicts]
    decided = list(verdicts)[::-1]  # also where annotators agree by now
    shown = [pair.question for pair in open_pairs[:NUM_OPEN]] + decided[:NUM_DECIDED]
    query = select(items).where(items.c.name.in_({question.item for question in shown}))
    rows = {row.name: row for row in connection.execute(query)}
    views = [
        _view(connection, project, rows[question.item], question, (by_question.get(question), votes), verdicts)
        for question in shown
    ]
    num = min(len(open_pairs), NUM_OPEN)
    return Disputes(tuple(views[:num]), len(open_pairs), tuple(views[num:]), len(decided))


def order_of(project: Project, item: int, first: int, second: int) -> tuple[int, int]:
    """How the pair stands on the page: the same at each load, and nobody can foresee which model is left."""
    is_swapped = keyed(project.secret, "adjudication", item, first, second) % 2
    return (second, first) if is_swapped else (first, second)


def _view(
    connection: Connection,
    project: Project,
    row: Row[tuple],
    question: Question,
    answered: tuple[PairLabel | None, Sequence[Vote]],
    verdicts: dict[Question, PairVote],
) -> Dispute:
    item = item_of(row)
    order = order_of(project, row.id, question.first, question.second)
    numbers = images_of(connection, row.id, project.settings.mode)
    texts = [item.responses[position].text for position in order]
    pair, votes = answered
    counts = Counter(_as_shown(answer.choice, order) for answer in pair.answers) if pair else Counter[str]()
    verdict = verdicts.get(question)
    return Dispute(
        f"/disputes/{row.id}/{question.first}/{question.second}",
        reading_of(item.prompt),
        tuple(Shown(LETTERS[place], text, numbers.get(text)) for place, text in enumerate(texts)),
        tuple(counts.most_common()),
        tuple(_reasons(votes, question)),
        _as_shown(verdict.choice, order) if verdict else "",
        verdict.reason if verdict else "",
    )


def _as_shown(choice: Choice, order: Sequence[int]) -> str:
    sides = ("left", "right") if order[0] < order[1] else ("right", "left")
    return WORDS[{"first": sides[0], "second": sides[1]}.get(choice, choice)]


def _reasons(votes: Sequence[Vote], question: Question) -> list[str]:
    return [
        vote.reason
        for vote in votes
        if isinstance(vote, PairVote)
        and vote.reason
        and (vote.item, {vote.first, vote.second}) == (question.item, {question.first, question.second})
    ]
