"""How far an annotator agrees with what is known: their own earlier answer to a repeated item, and gold answers.

A ranking answers several questions at once, which are not independent: each vote counts as one trial, and as a
success by the share of its questions that are right.
"""

from collections.abc import Iterable, Sequence

from posttrain.annotation.records import Item, PairVote, RankVote, Vote
from posttrain.annotation.statistics.answers import LABELS, Question, answer_of, in_order, pair_votes
from posttrain.annotation.statistics.intervals import Estimate, share
from posttrain.annotation.statistics.settings import StatisticsSettings
from posttrain.data.records import Label


def with_self(votes: Sequence[Vote], settings: StatisticsSettings) -> dict[str, Estimate]:
    """For each annotator with repeated items: the share of repeats that were answered as the first time."""
    first_time: dict[tuple[str, Question], Label] = {}
    for vote in votes:
        if not vote.is_repeat:
            first_time.update(((vote.annotator, question), label) for question, label in _said(vote))
    matches: dict[str, list[float]] = {}
    for vote in votes:
        said = [(first_time.get((vote.annotator, question)), label) for question, label in _said(vote)]
        equal = [before == label for before, label in said if before is not None]
        if vote.is_repeat and equal:
            matches.setdefault(vote.annotator, []).append(sum(equal) / len(equal))
    return _shares(matches, "repeated items", settings)


def on_gold(items: Iterable[Item], votes: Iterable[Vote], settings: StatisticsSettings) -> dict[str, Estimate]:
    """For each annotator who met items with known answers: the share of votes on them that are right."""
    known: dict[Question, Label] = {}
    for item in items:
        for (first, second), choice in item.gold.items():
            low, high, ordered = in_order(first, second, choice)
            known[Question(item.id, low, high)] = LABELS[ordered]
    matches: dict[str, list[float]] = {}
    for vote in votes:
        right = [known[question] == label for question, label in _said(vote) if question in known]
        if right:
            matches.setdefault(vote.annotator, []).append(sum(right) / len(right))
    return _shares(matches, "votes on gold items", settings)


def _said(vote: Vote) -> list[tuple[Question, Label]]:
    if not isinstance(vote, PairVote | RankVote):
        return []
    answers = [answer_of(pair, pair.choice) for pair in pair_votes([vote])]
    return [(answer.question, answer.label) for answer in answers]


def _shares(matches: dict[str, list[float]], unit: str, settings: StatisticsSettings) -> dict[str, Estimate]:
    return {annotator: share(sum(found), len(found), unit, settings) for annotator, found in sorted(matches.items())}
