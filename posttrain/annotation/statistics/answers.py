"""Votes as answers to questions: which of two responses of an item is better, on the whole or on one axis."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from posttrain.annotation.records import ADJUDICATION, Choice, Item, PairVote, RankVote, Vote
from posttrain.data.records import Label

OPPOSITE: Mapping[Choice, Choice] = {"first": "second", "second": "first", "tie": "tie", "both_bad": "both_bad"}
LABELS: Mapping[Choice, Label] = {"first": 1, "second": 2, "tie": 0, "both_bad": 0}

WHOLE = ""
"""The axis of the answer on the whole."""


@dataclass(frozen=True)
class Question:
    """Two responses of an item, `first` < `second`."""

    item: str
    first: int
    second: int


@dataclass(frozen=True)
class Answer:
    """What an annotator said to a question; `choice` counts in the question's order."""

    question: Question
    annotator: str
    choice: Choice

    @property
    def label(self) -> Label:
        return LABELS[self.choice]


def is_ours(vote: Vote) -> bool:
    """Whether side and time of a vote are known: a format that holds neither is read with `at` 0."""
    return vote.at > 0


def pair_votes(votes: Iterable[Vote]) -> list[PairVote]:
    """The pairwise votes, and those that rankings come to; spans come to none."""
    found = []
    for vote in votes:
        if isinstance(vote, PairVote):
            found.append(vote)
        elif isinstance(vote, RankVote):
            found.extend(pairs_of_ranks(vote))
    return found


def pairs_of_ranks(vote: RankVote) -> list[PairVote]:
    """The k(k−1)/2 comparisons that a ranking of k makes (Ouyang et al. 2022, arXiv:2203.02155, section 3.5).

    The time is shared among them, so that sums over votes stay what they were. What stood earlier was left.
    """
    pairs = list(combinations(range(len(vote.ranks)), 2))
    place = {response: i for i, response in enumerate(vote.shown)}
    return [
        PairVote(
            vote.item,
            vote.annotator,
            vote.seconds / len(pairs),
            vote.at,
            first,
            second,
            _better(vote.ranks[first], vote.ranks[second]),
            place[first] < place[second],
            is_repeat=vote.is_repeat,
        )
        for first, second in pairs
    ]


def in_order(first: int, second: int, choice: Choice) -> tuple[int, int, Choice]:
    """The same judgement with the lower position first."""
    return (first, second, choice) if first < second else (second, first, OPPOSITE[choice])


def answers(votes: Iterable[Vote], axis: str = WHOLE) -> list[Answer]:
    """One answer for each annotator and question, the latest if there are several; repeated items do not count.

    In the order in which they were given, final ones last.
    """
    found: dict[tuple[Question, str], Answer] = {}
    given = (vote for vote in pair_votes(votes) if not vote.is_repeat)
    for vote in sorted(given, key=lambda vote: (vote.annotator == ADJUDICATION, vote.at)):
        choice = vote.choice if axis == WHOLE else vote.axes.get(axis)
        if choice is not None:
            answer = answer_of(vote, choice)
            found[answer.question, answer.annotator] = answer
    return list(found.values())


def answer_of(vote: PairVote, choice: Choice) -> Answer:
    first, second, choice = in_order(vote.first, vote.second, choice)
    return Answer(Question(vote.item, first, second), vote.annotator, choice)


def by_question(found: Iterable[Answer]) -> dict[Question, list[Answer]]:
    """In order of first answer."""
    grouped: dict[Question, list[Answer]] = {}
    for answer in found:
        grouped.setdefault(answer.question, []).append(answer)
    return grouped


def axes(votes: Iterable[Vote]) -> tuple[str, ...]:
    """Names of all axes that were asked for, sorted."""
    return tuple(sorted({axis for vote in votes if isinstance(vote, PairVote) for axis in vote.axes}))


def prompt_of(item: Item) -> str:
    """What items of one prompt share, so that intervals over prompts draw them together; an empty prompt is no bond."""
    return item.prompt.text or f"\0{item.id}"


def annotators(votes: Sequence[Vote]) -> tuple[str, ...]:
    return tuple(sorted({vote.annotator for vote in votes}))


def _better(first_rank: int, second_rank: int) -> Choice:
    if first_rank == second_rank:
        return "tie"
    return "first" if first_rank < second_rank else "second"
