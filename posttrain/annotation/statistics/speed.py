"""How long answers take, and which came faster than anyone could have read."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from posttrain.annotation.records import Item, PairVote, RankVote, SpanVote, Vote
from posttrain.annotation.statistics.answers import is_ours
from posttrain.annotation.statistics.settings import StatisticsSettings


@dataclass(frozen=True)
class Speed:
    num: int  # votes whose time is known
    num_too_fast: int
    median_seconds: float | None  # None without votes


def least_seconds(item: Item, vote: Vote, settings: StatisticsSettings) -> float:
    """Below this a vote is too fast: a share of the time that reading what was judged takes, or a floor."""
    shown = [item.responses[i].text for i in _judged(item, vote)]
    characters = 0 if settings.are_images else sum(map(len, shown))
    if settings.should_count_prompt:
        characters += len(item.prompt.text)
    return max(settings.least_seconds, settings.least_reading * characters / settings.characters_per_second)


def is_too_fast(item: Item, vote: Vote, settings: StatisticsSettings) -> bool:
    return _is_timed(vote) and vote.seconds < least_seconds(item, vote, settings)


def speed(items: Iterable[Item], votes: Iterable[Vote], settings: StatisticsSettings) -> Speed:
    known = {item.id: item for item in items}
    timed = [vote for vote in votes if _is_timed(vote) and vote.item in known]
    num_too_fast = sum(is_too_fast(known[vote.item], vote, settings) for vote in timed)
    return Speed(len(timed), num_too_fast, median(vote.seconds for vote in timed) if timed else None)


def _is_timed(vote: Vote) -> bool:
    """Files may say when an answer was given and not how long it took, which is read as 0."""
    return is_ours(vote) and vote.seconds > 0


def _judged(item: Item, vote: Vote) -> Sequence[int]:
    if isinstance(vote, PairVote):
        return (vote.first, vote.second)
    if isinstance(vote, RankVote):
        return range(len(item.responses))
    if isinstance(vote, SpanVote):
        return (vote.response,)
    return ()
