"""Simulated annotators: they compare answers through the true reward, with noise, ties, carelessness and a side bias.

A careful look at answers i and j follows Rao & Kupper 1967, with s = scale * gold and θ = tie_theta > 1:

    P(i better) = e^si / (e^si + θ e^sj),   P(j better) = e^sj / (e^sj + θ e^si),   P(tie) = the rest

An annotator looks carefully with probability `reliability` and otherwise marks 0, 1 or 2 at random.
"""

import random
from collections.abc import Callable, Sequence
from itertools import combinations
from math import exp

from pydantic import Field

from posttrain.data.agreement import agreement
from posttrain.data.records import Comparison, Label, Pair, Prompt, SpanError, SpanJudgement
from posttrain.settings import Settings
from posttrain.worlds.grounded_qa.truth import FACTUALITY_ERRORS, RELEVANCE_ERRORS, gold, judge


class Config(Settings):
    seed: int = 0
    num_annotators: int = Field(default=8, ge=1)
    scale: float = Field(default=12.0, gt=0)
    """Logits per unit of true reward: the larger, the surer the annotators."""
    tie_theta: float = Field(default=2.0, ge=1)
    """θ: 1 never ties; two equal answers tie with probability (θ - 1) / (θ + 1)."""
    reliability: float = Field(default=0.95, ge=0, le=1)
    """Mean share of careful looks."""
    reliability_spread: float = Field(default=0.05, ge=0, le=1)
    """The annotators' reliabilities lie evenly between reliability ± spread, kept within [0, 1]."""
    side_bias: float = 0.0
    """Logits added to the answer that is shown first, the one with the lower position."""


def label(
    prompt: Prompt, responses: Sequence[str], config: Config, score: Callable[[Prompt, str], float] = gold
) -> Comparison:
    """One annotator of the pool compares all pairs (12, 13, 14, 23, 24, 34 for four responses) by a true score.

    The draw depends on the seed, the prompt and the responses only: labelling in another order gives the same labels.
    Raises InputError if the prompt does not come from this world.
    """
    rng = random.Random("\n".join([str(config.seed), prompt.text, *responses]))
    number = rng.randrange(config.num_annotators)
    scores = [config.scale * score(prompt, response) for response in responses]
    pairs = []
    for first, second in combinations(range(len(responses)), 2):
        weights = label_probabilities(scores[first] - scores[second] + config.side_bias, config.tie_theta)
        if rng.random() >= annotator_reliability(number, config):
            weights = (1.0, 1.0, 1.0)
        chosen: Label = rng.choices((0, 1, 2), weights)[0]
        pairs.append(Pair(first, second, chosen, f"annotator-{number}"))
    return Comparison(prompt, tuple(responses), tuple(pairs))


def completeness(prompt: Prompt, response: str) -> float:
    """A score to compare by: the share of the needed facts that an answer states."""
    return judge(prompt, response).completeness


def mark(prompt: Prompt, responses: Sequence[str], config: Config) -> SpanJudgement:
    """The errors of each response, each as one annotator of the pool marks them."""
    return SpanJudgement(prompt, tuple(responses), tuple(_marked(prompt, response, config) for response in responses))


def _marked(prompt: Prompt, response: str, config: Config) -> tuple[SpanError, ...]:
    """One annotator of the pool marks the errors of an answer, span by span.

    At each sentence and sub-sentence a careless look sees the opposite of what is so: an error is missed, or one of a
    random kind is marked. Draws are as in `label`.
    """
    rng = random.Random("\n".join(["mark", str(config.seed), prompt.text, response]))
    careful = annotator_reliability(rng.randrange(config.num_annotators), config)
    truth = judge(prompt, response)
    errors = []
    for spans, kinds in ((truth.factuality, FACTUALITY_ERRORS), (truth.relevance, RELEVANCE_ERRORS)):
        for span in spans:
            seen = span.error
            if rng.random() >= careful:
                seen = None if span.error is not None else rng.choice(kinds)
            if seen is not None:
                errors.append(SpanError(span.start, span.end, seen))
    return tuple(errors)


def label_probabilities(advantage: float, tie_theta: float) -> tuple[float, float, float]:
    """Rao-Kupper probabilities of the labels 0 (tie), 1, 2, where `advantage` is s_first - s_second in logits."""
    first = 1 / (1 + tie_theta * exp(-advantage))
    second = 1 / (1 + tie_theta * exp(advantage))
    return max(0.0, 1 - first - second), first, second


def annotator_reliability(number: int, config: Config) -> float:
    """The share of careful looks of one annotator of the pool."""
    place = 2 * number / (config.num_annotators - 1) - 1 if config.num_annotators > 1 else 0.0
    return min(1.0, max(0.0, config.reliability + place * config.reliability_spread))


def ceiling(comparisons: Sequence[Comparison]) -> tuple[float, int]:
    """`agreement` of the true reward with these annotators: no reward model can be expected to have more."""
    return agreement(comparisons, [[gold(each.prompt, text) for text in each.responses] for each in comparisons])
