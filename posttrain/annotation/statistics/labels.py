"""One label of a pair from the votes of several annotators, and the pairs that they differ on most."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from posttrain.annotation.records import ADJUDICATION, Vote
from posttrain.annotation.statistics.answers import WHOLE, Answer, Question, answers, by_question
from posttrain.data.records import Label


@dataclass(frozen=True)
class PairLabel:
    """What annotators make of a pair together, and what each of them said."""

    question: Question
    label: Label
    answers: tuple[Answer, ...]

    @property
    def agreeing(self) -> float:
        """Share of the answers that equal the label."""
        return sum(answer.label == self.label for answer in self.answers) / len(self.answers)

    @property
    def entropy(self) -> float:
        """−Σ p log2 p of the answers' labels, in bits: 0 where all are equal, log2 3 where all three are as many."""
        given = [answer.label for answer in self.answers]
        shares = [given.count(label) / len(given) for label in set(given)]
        return 0.0 if len(shares) == 1 else -sum(p * math.log2(p) for p in shares)


def labels(votes: Iterable[Vote], axis: str = WHOLE) -> list[PairLabel]:
    """The label of each pair that anyone answered, in order of the first answer: the final one, else the majority's."""
    return [
        PairLabel(question, majority(_final(given) or [answer.label for answer in given]), tuple(given))
        for question, given in by_question(answers(votes, axis)).items()
    ]


def _final(given: Iterable[Answer]) -> list[Label]:
    """The one final answer, if there is one."""
    return [answer.label for answer in given if answer.annotator == ADJUDICATION]


def majority(given: Iterable[Label]) -> Label:
    """The label with the most votes; no preference where two labels share the most, so that no vote is favoured."""
    votes = list(given)
    counts: dict[Label, int] = {label: votes.count(label) for label in votes}
    most: list[Label] = [label for label, count in counts.items() if count == max(counts.values())]
    return most[0] if len(most) == 1 else 0


def disputed(votes: Iterable[Vote], axis: str = WHOLE) -> list[PairLabel]:
    """The pairs with differing answers, those that differ most first, for a person who decides between them.

    At equal entropy, first against second is a wider dispute than either against no preference, and more votes than
    fewer.
    """
    found = [pair for pair in labels(votes, axis) if pair.entropy > 0]
    return sorted(found, key=lambda pair: (-pair.entropy, not _is_opposed(pair), -len(pair.answers)))


def _is_opposed(pair: PairLabel) -> bool:
    return {1, 2} <= {answer.label for answer in pair.answers}
