"""Whether votes follow what they should not: the side a response stood on, and its length.

Both are tests of a fair coin. They cannot tell why: longer responses may be better ones, so that a length bias of
votes is a reason to look, while sides are drawn by chance and a side bias is an error for certain.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from posttrain.annotation.records import Item, PairVote, Vote
from posttrain.annotation.statistics.answers import LABELS, annotators, is_ours, pair_votes, prompt_of
from posttrain.annotation.statistics.intervals import Estimate, holm, missing, share, sign_test
from posttrain.annotation.statistics.settings import StatisticsSettings

Direction = Callable[[PairVote], int]
"""+1 where a pairwise vote went with the bias (to the left, to the longer), −1 against it, 0 where it says neither."""


@dataclass(frozen=True)
class Bias:
    """The share of trials that went with the bias, half if there is none, and the exact p-value of the sign test."""

    share: Estimate
    p: float | None = None
    is_flagged: bool = False  # set over all annotators at once, by Holm's rule


def side(votes: Iterable[Vote], settings: StatisticsSettings) -> Bias:
    """Whether what stood left (in a ranking: earlier) wins more often. A trial is a vote, by the sign of its pairs.

    Sides are drawn anew for each annotator, so that votes are independent of one another if sides do not matter.
    Ties and repeated items do not count.
    """
    signs = [_sign(pair_votes([vote]), _to_the_left) for vote in votes if is_ours(vote) and not vote.is_repeat]
    return _tested(signs, "decided votes", settings)


def length(items: Sequence[Item], votes: Iterable[Vote], settings: StatisticsSettings) -> Bias:
    """Whether the longer response, in characters, wins more often. A trial is a prompt, by the sign of all its votes:

    annotators who see the same responses share what is good about them, and so do items of the same prompt.
    """
    if settings.are_images:
        return Bias(missing(0, "responses are images"))
    known = {item.id: item for item in items}
    prompts: dict[str, list[PairVote]] = {}
    for vote in pair_votes(votes):
        if vote.item in known and not vote.is_repeat:
            prompts.setdefault(prompt_of(known[vote.item]), []).append(vote)

    def to_the_longer(vote: PairVote) -> int:
        first, second = (len(known[vote.item].responses[i].text) for i in (vote.first, vote.second))
        return _winner(vote) * ((first > second) - (first < second))

    return _tested([_sign(given, to_the_longer) for given in prompts.values()], "decided prompts", settings)


def by_annotator(
    votes: Sequence[Vote], test: Callable[[Sequence[Vote]], Bias], settings: StatisticsSettings
) -> dict[str, Bias]:
    """`test` of each annotator's votes. Flagged are those that Holm's rule leaves, so that a crowd has no false ones.

    That is: with a chance of at most `flag_level` is anyone flagged in a crowd without bias.
    """
    names = annotators(votes)
    found = [test([vote for vote in votes if vote.annotator == name]) for name in names]
    adjusted = holm([bias.p for bias in found])
    return {
        name: replace(bias, is_flagged=p is not None and p < settings.flag_level)
        for name, bias, p in zip(names, found, adjusted, strict=True)
    }


def _sign(given: Iterable[PairVote], direction: Direction) -> int:
    total = sum(direction(vote) for vote in given)
    return (total > 0) - (total < 0)


def _winner(vote: PairVote) -> int:
    """+1 the first, −1 the second, 0 neither."""
    return (0, 1, -1)[LABELS[vote.choice]]


def _to_the_left(vote: PairVote) -> int:
    return _winner(vote) if vote.first_was_left else -_winner(vote)


def _tested(signs: Sequence[int], unit: str, settings: StatisticsSettings) -> Bias:
    decided = [sign for sign in signs if sign != 0]
    num, with_bias = len(decided), decided.count(1)
    p = sign_test(with_bias, num) if num >= settings.few else None
    return Bias(share(with_bias, num, unit, settings), p, p is not None and p < settings.flag_level)
