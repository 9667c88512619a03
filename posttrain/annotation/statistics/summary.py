"""Everything that a project's dashboard shows, as one record: from no votes on, where it says what is too few."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from posttrain.annotation.records import Item, PairVote, RankVote, SpanVote, Vote
from posttrain.annotation.statistics import agreement, bias, consistency
from posttrain.annotation.statistics.answers import annotators, axes
from posttrain.annotation.statistics.bias import Bias
from posttrain.annotation.statistics.games import WinRate, win_rates
from posttrain.annotation.statistics.intervals import Estimate, missing
from posttrain.annotation.statistics.labels import PairLabel, disputed, labels
from posttrain.annotation.statistics.ratings import Ratings, ratings
from posttrain.annotation.statistics.settings import StatisticsSettings
from posttrain.annotation.statistics.span_agreement import SpanAgreement, span_agreement
from posttrain.annotation.statistics.speed import Speed, speed
from posttrain.data.records import Label


@dataclass(frozen=True)
class Counts:
    items: int
    answered: int  # items with a vote
    annotators: int
    pair_votes: int
    rank_votes: int
    span_votes: int
    repeats: int  # among the votes
    labels: Mapping[Label, int]  # pairs by the majority of their votes


@dataclass(frozen=True)
class Agreement:
    """On the whole, or on one axis."""

    nominal: Estimate  # Krippendorff's alpha: any two labels differ alike
    ordinal: Estimate  # first against second differs more than either against no preference
    exchanged: Estimate  # nominal, each question counted in both orders
    equal_share: Estimate
    confusion: tuple[tuple[int, ...], ...]  # of two annotators: rows and columns first, no preference, second


@dataclass(frozen=True)
class AnnotatorSummary:
    name: str
    num_votes: int  # repeats included
    with_others: Estimate
    with_self: Estimate
    on_gold: Estimate
    side: Bias
    length: Bias
    speed: Speed


@dataclass(frozen=True)
class Summary:
    counts: Counts
    agreement: Agreement
    axes: Mapping[str, Agreement]
    spans: SpanAgreement
    side: Bias
    length: Bias
    speed: Speed
    annotators: tuple[AnnotatorSummary, ...]  # by name
    ratings: Ratings
    win_rates: Mapping[tuple[str, str], WinRate]
    disputed: tuple[PairLabel, ...]  # most disputed first


def summary(
    items: Sequence[Item], votes: Sequence[Vote], settings: StatisticsSettings | None = None, num_disputed: int = 20
) -> Summary:
    """Of any number of items and votes. Votes on items that are not given do not count."""
    settings = settings or StatisticsSettings()
    known = {item.id for item in items}
    votes = [vote for vote in votes if vote.item in known]
    return Summary(
        counts=_counts(items, votes),
        agreement=_agreement(votes, settings),
        axes={axis: _agreement(votes, settings, axis) for axis in axes(votes)},
        spans=span_agreement(items, votes, settings),
        side=bias.side(votes, settings),
        length=bias.length(items, votes, settings),
        speed=speed(items, votes, settings),
        annotators=_annotators(items, votes, settings),
        ratings=ratings(items, votes, settings),
        win_rates=win_rates(items, votes, settings),
        disputed=tuple(disputed(votes)[:num_disputed]),
    )


def _counts(items: Sequence[Item], votes: Sequence[Vote]) -> Counts:
    found = [pair.label for pair in labels(votes)]
    every: tuple[Label, ...] = (0, 1, 2)
    return Counts(
        items=len(items),
        answered=len({vote.item for vote in votes}),
        annotators=len(annotators(votes)),
        pair_votes=sum(isinstance(vote, PairVote) for vote in votes),
        rank_votes=sum(isinstance(vote, RankVote) for vote in votes),
        span_votes=sum(isinstance(vote, SpanVote) for vote in votes),
        repeats=sum(vote.is_repeat for vote in votes),
        labels={label: found.count(label) for label in every},
    )


def _agreement(votes: Iterable[Vote], settings: StatisticsSettings, axis: str = "") -> Agreement:
    return Agreement(
        nominal=agreement.alpha(votes, settings, "nominal", axis),
        ordinal=agreement.alpha(votes, settings, "ordinal", axis),
        exchanged=agreement.alpha(votes, settings, "nominal", axis, should_exchange=True),
        equal_share=agreement.equal_share(votes, settings, axis),
        confusion=agreement.confusion(votes, axis),
    )


def _annotators(
    items: Sequence[Item], votes: Sequence[Vote], settings: StatisticsSettings
) -> tuple[AnnotatorSummary, ...]:
    with_others = agreement.with_others(votes, settings)
    with_self = consistency.with_self(votes, settings)
    on_gold = consistency.on_gold(items, votes, settings)
    sides = bias.by_annotator(votes, lambda own: bias.side(own, settings), settings)
    lengths = bias.by_annotator(votes, lambda own: bias.length(items, own, settings), settings)
    own_votes = {name: [vote for vote in votes if vote.annotator == name] for name in annotators(votes)}
    return tuple(
        AnnotatorSummary(
            name=name,
            num_votes=len(own),
            with_others=with_others.get(name, missing(0, "no items that others answered too")),
            with_self=with_self.get(name, missing(0, "no repeated items")),
            on_gold=on_gold.get(name, missing(0, "no votes on gold items")),
            side=sides[name],
            length=lengths[name],
            speed=speed(items, own, settings),
        )
        for name, own in own_votes.items()
    )
