"""Simulated annotators whose faults are known: what the statistics of annotation find, and how often they are wrong.

`python -m tests.annotation.statistics.studies` prints the tables of docs/agreement.md, in some minutes on one core.
Each study draws its annotators anew many times; a share of n repetitions is uncertain by 2 √(p (1 − p)/n).
"""

from collections.abc import Iterator

import numpy as np

from posttrain.annotation.records import PairVote, RankVote
from posttrain.annotation.statistics import agreement, bias, intervals
from posttrain.annotation.statistics.agreement import PLACES, alpha_of, coincidences
from posttrain.annotation.statistics.answers import answers
from posttrain.annotation.statistics.ratings import ratings
from posttrain.annotation.statistics.settings import StatisticsSettings
from tests.annotation.votes import item

SETTINGS = StatisticsSettings(num_resamples=300, num_elo_orders=20)
CHOICES = ("first", "second", "tie")


def _choice(gap: float, noise: float, draw: np.random.Generator) -> str:
    """Of a person who sees how much better the first response is, and a logistic error; a tie within ±0.3."""
    seen = gap + noise * draw.logistic()
    return "tie" if abs(seen) < 0.3 else "first" if seen > 0 else "second"


def _vote(name: str, i: int, choice: str, was_left: bool = True) -> PairVote:
    return PairVote(f"i{i}", name, 10.0, 1.0 + i, 0, 1, choice, was_left)


def side_bias(num_votes: int, lazy: float, num_fair: int = 9, repetitions: int = 400) -> tuple[float, float]:
    """(how often the lazy annotator is flagged, how often any fair one is).

    The lazy one takes the left response, whatever it says, in a share `lazy` of votes, and else answers as the others.
    """
    found = false_alarms = 0
    for repetition in range(repetitions):
        draw = np.random.default_rng([1, num_votes, int(100 * lazy), repetition])
        votes = []
        for name in ("lazy", *(f"fair{k}" for k in range(num_fair))):
            lefts = draw.random(num_votes) < 0.5
            for i, left in enumerate(lefts):
                choice = _choice(draw.normal(), 1.0, draw)
                if name == "lazy" and draw.random() < lazy:
                    choice = "first" if left else "second"
                votes.append(_vote(name, i, choice, bool(left)))
        flagged = {
            name
            for name, one in bias.by_annotator(votes, lambda own: bias.side(own, SETTINGS), SETTINGS).items()
            if one.is_flagged
        }
        found += "lazy" in flagged
        false_alarms += bool(flagged - {"lazy"})
    return found / repetitions, false_alarms / repetitions


def length_bias(num_prompts: int, taste: float, merit: float, repetitions: int = 400) -> float:
    """How often a length bias is flagged. Annotators add `taste` for the longer response; of the true quality,

    `merit` is due to the longer one being better.
    """
    found = 0
    for repetition in range(repetitions):
        draw = np.random.default_rng([2, num_prompts, int(100 * taste), int(100 * merit), repetition])
        items, votes = [], []
        for i in range(num_prompts):
            longer_first = draw.random() < 0.5
            sign = 1 if longer_first else -1
            items.append(item(f"i{i}", texts=("x" * (30 if longer_first else 20), "x" * (20 if longer_first else 30))))
            gap = draw.normal() + sign * (taste + merit)
            votes += [_vote(name, i, _choice(gap, 1.0, draw)) for name in ("a", "b")]
        found += bias.length(items, votes, SETTINGS).is_flagged
    return found / repetitions


def _rankings(num_items: int, draw: np.random.Generator) -> list[RankVote]:
    """Two annotators rank four responses of each item; some items are hard for both."""
    votes = []
    for i in range(num_items):
        clarity = draw.choice([0.1, 3.0])  # what makes the six pairs of an item alike
        quality = clarity * draw.normal(size=4)
        for name in ("a", "b"):
            seen = quality + draw.normal(size=4)
            ranks = 1 + (seen[:, None] < seen[None, :]).sum(1)
            votes.append(RankVote(f"i{i}", name, 10.0, 1.0, tuple(int(rank) for rank in ranks), (0, 1, 2, 3)))
    return votes


def _met(votes: list[RankVote]) -> tuple[np.ndarray, list[str]]:
    """Coincidences of each question [questions, 3, 3], and their items."""
    given: dict[tuple[str, int, int], list[int]] = {}
    for answer in answers(votes):
        place = (answer.question.item, answer.question.first, answer.question.second)
        given.setdefault(place, []).append(PLACES[answer.label])
    counts = np.array([np.bincount(places, minlength=3) for places in given.values()], dtype=float)
    return coincidences(counts), [place[0] for place in given]


def alpha_coverage(num_items: int, repetitions: int = 400) -> tuple[float, float, float]:
    """(coverage of the interval over items, of one that draws questions by themselves, mean width of the first)."""
    met, _ = _met(_rankings(20_000, np.random.default_rng(3)))
    true = alpha_of(met.sum(0, keepdims=True), "nominal")[0]
    covered = naive = width = 0.0
    for repetition in range(repetitions):
        votes = _rankings(num_items, np.random.default_rng([4, num_items, repetition]))
        settings = StatisticsSettings(**{**SETTINGS.model_dump(), "seed": repetition})
        found = agreement.alpha(votes, settings)
        covered += found.low <= true <= found.high
        width += found.high - found.low
        met, _ = _met(votes)
        sums = intervals.resampled_sums(met.reshape(len(met), -1), settings).reshape(-1, 3, 3)
        low, high = intervals.percentiles(alpha_of(sums, "nominal"), len(met), 0.95)
        naive += low <= true <= high
    return covered / repetitions, naive / repetitions, width / repetitions


def _battles(num_prompts: int, num_votes: int, draw: np.random.Generator) -> Iterator[tuple[str, str, str, str]]:
    """(prompt, first, second, choice): which of three models is better depends on the prompt."""
    mean = {"a": 0.0, "b": 0.5, "c": 1.0}
    for i in range(num_prompts):
        quality = {name: value + draw.normal() for name, value in mean.items()}
        for _ in range(num_votes):
            first, second = draw.permutation(sorted(mean))[:2]
            yield f"p{i}", str(first), str(second), _choice(quality[first] - quality[second], 1.0, draw)


def _rated(battles: Iterator[tuple[str, str, str, str]], is_clustered: bool, seed: int) -> dict[str, tuple]:
    items, votes = [], []
    for i, (prompt, first, second, choice) in enumerate(battles):
        items.append(item(f"i{i}", models=(first, second), prompt=prompt if is_clustered else f"vote {i}"))
        votes.append(_vote("a", i, choice))
    settings = StatisticsSettings(**{**SETTINGS.model_dump(), "seed": seed})
    found = ratings(items, votes, settings)
    return {one.model: (one.strength, one.elo) for one in found.models}


def rating_coverage(num_prompts: int, num_votes: int = 8, repetitions: int = 300) -> tuple[float, float]:
    """(coverage of Bradley-Terry intervals over prompts, and of intervals that draw each vote by itself)."""
    large = _rated(_battles(20_000, 3, np.random.default_rng(5)), True, 0)
    true = {name: strength.value for name, (strength, _) in large.items()}
    covered = [0, 0]
    for repetition in range(repetitions):
        for place, is_clustered in enumerate((True, False)):
            draw = np.random.default_rng([6, num_prompts, repetition])
            found = _rated(_battles(num_prompts, num_votes, draw), is_clustered, repetition)
            covered[place] += sum(one.low <= true[name] <= one.high for name, (one, _) in found.items())
    return covered[0] / (3 * repetitions), covered[1] / (3 * repetitions)


def elo_shrinkage(num_votes: int, repetitions: int = 50) -> tuple[float, float]:
    """Mean gap between two models, of Bradley-Terry and of Elo, where the better wins 76 % of votes (200 points)."""
    gaps = np.zeros(2)
    for repetition in range(repetitions):
        draw = np.random.default_rng([7, num_votes, repetition])
        wins = draw.random(num_votes) < 1 / (1 + 10**-0.5)
        battles = ((f"p{i}", "b", "a", "first" if win else "second") for i, win in enumerate(wins))
        found = _rated(battles, True, 0)
        gaps += [found["b"][kind].value - found["a"][kind].value for kind in (0, 1)]
    return tuple(gaps / repetitions)


def print_biases() -> None:
    print("side bias: votes given to the left unread, votes each, lazy one flagged, any of 9 fair ones flagged")
    for lazy in (0.2, 0.4, 0.6):
        for num in (20, 50, 100, 200):
            print("  {:.1f}  {:4}  {:.3f}  {:.3f}".format(lazy, num, *side_bias(num, lazy)), flush=True)
    print("length bias: taste, merit, prompts, flagged")
    for taste, merit in ((0.0, 0.0), (0.5, 0.0), (0.0, 0.5)):
        for num in (50, 100, 200):
            print(f"  {taste}  {merit}  {num:4}  {length_bias(num, taste, merit):.3f}", flush=True)


def print_coverage() -> None:
    print("coverage of alpha: items, over items, over questions, width")
    for num in (10, 20, 50, 100):
        print("  {:4}  {:.3f}  {:.3f}  {:.3f}".format(num, *alpha_coverage(num)), flush=True)
    print("coverage of Bradley-Terry: prompts, over prompts, over votes")
    for num in (10, 20):
        print("  {:4}  {:.3f}  {:.3f}".format(num, *rating_coverage(num)), flush=True)
    print("gap of 200 points: votes, Bradley-Terry, Elo")
    for num in (25, 50, 100, 400):
        print("  {:5}  {:.0f}  {:.0f}".format(num, *elo_shrinkage(num)), flush=True)


if __name__ == "__main__":
    print_biases()
    print_coverage()
