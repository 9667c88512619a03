"""Items and votes for tests, written short."""

from posttrain.annotation.records import Item, PairVote, RankVote, Response
from posttrain.annotation.statistics.settings import StatisticsSettings
from posttrain.data.records import Prompt

QUICK = StatisticsSettings(num_resamples=200, num_elo_orders=20)

NAMES = {"F": "first", "S": "second", "T": "tie", "B": "both_bad"}


def item(id="i", texts=("one", "two"), models=("m", "n"), **details):
    responses = tuple(Response(text, model) for text, model in zip(texts, models, strict=True))
    return Item(id, Prompt(details.pop("prompt", f"prompt of {id}")), responses, **details)


def vote(item="i", annotator="ann", choice="F", *, first=0, second=1, left=True, seconds=10.0, at=1.0, **details):
    return PairVote(item, annotator, seconds, at, first, second, NAMES[choice], left, **details)


def rank(item="i", annotator="ann", ranks=(1, 2), shown=None, *, seconds=10.0, at=1.0, **details):
    return RankVote(item, annotator, seconds, at, tuple(ranks), tuple(shown or range(len(ranks))), **details)


def answered(*rows):
    """Votes of annotators (columns) on items (rows): answered("FF", "F.", "TS"); a dot is no answer."""
    return [
        vote(f"i{i}", f"a{j}", choice, at=1.0 + i)
        for i, row in enumerate(rows)
        for j, choice in enumerate(row)
        if choice != "."
    ]
