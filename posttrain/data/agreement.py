"""How often scores agree with judgements."""

from collections.abc import Sequence

from posttrain.data.records import Comparison, Pair


def decided(pairs: Sequence[Pair], scores: Sequence[float]) -> list[float]:
    """For each pair without a tie: 1 if the better response has the higher score, 0.5 if they are equal, else 0."""
    correct = []
    for pair in pairs:
        if pair.label != 0:
            better, worse = (pair.first, pair.second) if pair.label == 1 else (pair.second, pair.first)
            correct.append(0.5 if scores[better] == scores[worse] else float(scores[better] > scores[worse]))
    return correct


def agreement(comparisons: Sequence[Comparison], scores: Sequence[Sequence[float]]) -> tuple[float, int]:
    """(accuracy, n): the share of the n decided pairs that the scores order as labelled; nan if n is 0.

    Of the true scores it is what no reward model can be expected to exceed.
    """
    correct = [one for each, own in zip(comparisons, scores, strict=True) for one in decided(each.pairs, own)]
    return (sum(correct) / len(correct) if correct else float("nan")), len(correct)
