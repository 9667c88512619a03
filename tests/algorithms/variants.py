"""Every method with every variant of its loss, on a tiny model and with a batch: what invariances are tested on."""

import copy
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from functools import cache
from typing import Any, Literal, NamedTuple, get_args, get_origin

import torch
from torch import Tensor, nn

from posttrain import plugins
from posttrain.batches import (
    Experience,
    Judged,
    JudgedSpans,
    PreferencePairs,
    ReferencedPairs,
    RewardStream,
    Rollout,
    Sequences,
)
from posttrain.data.span_labels import SpanSettings
from posttrain.functional.logprobs import sequence_logprobs
from posttrain.functional.reward_streams import place_at_last
from posttrain.interfaces import AgainstGreedy, Algorithm, OnlineAlgorithm, Pooling
from posttrain.models.actor_critic import SeparateActorCritic
from posttrain.models.language_model import LanguageModel
from posttrain.models.loading import freeze, load_backbone, load_language_model, new_scorer, new_span_scorer
from posttrain.models.scorer import TieScorer
from posttrain.settings import Settings
from tests.tiny_models import random_sequences


class Variant(NamedTuple):
    algorithm: str
    settings: dict[str, Any]


FOLLOWED = {"kl_weight": 0.2, "kl_target": 3.0, "kl_horizon": 50, "cut_penalty": 0.3, "reference_kl_limit": 1e3}
VARIANTS = {
    "sft": Variant("sft", {}),
    "judgement_reward_model": Variant("judgement_reward_model", {}),
    "judgement_reward_model, mean": Variant("judgement_reward_model", {"pooling": "mean"}),
    "span_reward_model": Variant("span_reward_model", {"classes": [{"kinds": ["bad"]}]}),
    "spans, mean": Variant(
        "span_reward_model",
        {"classes": [{"name": "wrong", "kinds": ["wrong"]}, {"name": "vague", "kinds": ["vague"]}], "pooling": "mean",
         "class_weights": "balanced", "segments": "sentence", "good_value": 0.5},
    ),
    "spans, pattern": Variant(
        "span_reward_model", {"classes": [{"kinds": ["bad"]}], "segments": "whole", "pattern": "[a-z]+"}
    ),
    **{
        name: Variant("preference_reward_model", settings)
        for name, settings in {
            "preference_reward_model": {"centering": 0.1},
            "ties dropped, mean": {"ties": "drop", "pooling": "mean", "margin": 0.3},
            "pairs count once": {"pair_weighting": "pair", "margin": 0.5, "label_smoothing": 0.1},
            "rao_kupper": {"ties": "rao_kupper", "margin": 0.3},
            "rao_kupper, fixed": {"ties": "rao_kupper", "tie_strength": 1.7, "centering": 0.1},
            "davidson": {"ties": "davidson", "centering": 0.1},
            "davidson, fixed": {"ties": "davidson", "tie_strength": 0.7, "margin": 0.3, "pooling": "mean"},
            "rankings": {"reads": "rankings", "centering": 0.1},
            "rankings, mean": {"reads": "rankings", "pooling": "mean"},
        }.items()
    },
    **{
        name: Variant("dpo", settings)
        for name, settings in {
            "dpo": {"ties": "half"},
            "dpo, ties dropped": {"beta": 0.3},
            "dpo, sft": {"ties": "half", "sft_weight": 0.5},
            "cdpo": {"label_smoothing": 0.1, "ties": "half"},
            "ipo": {"objective": "ipo", "ties": "half"},
            "ipo, ties dropped": {"objective": "ipo", "beta": 0.3, "sft_weight": 0.5},
            "dpop, outside beta": {"displacement_weight": 2.0, "sft_weight": 0.5, "ties": "half"},
            "dpop, inside beta": {"displacement_weight": 20.0, "displacement_convention": "inside_beta"},
        }.items()
    },
    **{
        name: Variant("reinforce", settings)
        for name, settings in {
            "reinforce": {"view": "token"},
            "reinforce, sequence": {},
            "reinforce, none": {"baseline": "none", **FOLLOWED},
            "reinforce, none, tokens": {"baseline": "none", "view": "token", "discount": 0.9},
            "reinforce, running mean": {"baseline": "running_mean", "running_mean_decay": 0.7},
            "reinforce, running mean, tokens": {"baseline": "running_mean", "view": "token", "discount": 0.9},
            "reinforce, batch mean": {"baseline": "batch_mean"},
            "reinforce, batch mean, tokens": {"baseline": "batch_mean", "view": "token", "discount": 0.9},
            "reinforce, greedy": {"baseline": "greedy"},
            "reinforce, greedy, tokens": {"baseline": "greedy", "view": "token", "discount": 0.9, **FOLLOWED},
            "reinforce, value": {"baseline": "value", "value_weight": 0.3},
            "reinforce, value, tokens": {"baseline": "value", "view": "token", "discount": 0.9},
        }.items()
    },
    "a2c": Variant("a2c", {"entropy_weight": 0.1}),
    "a2c, sequence": Variant("a2c", {"view": "sequence", "entropy_weight": 0.1, "should_whiten_rewards": True}),
    "a2c, unlike the default": Variant(
        "a2c",
        {"entropy_weight": 0.0, "should_whiten_advantages": False, "discount": 0.9, "trace_decay": 0.6,
         "value_weight": 0.3, **FOLLOWED},
    ),
    "ppo": Variant("ppo", {"entropy_weight": 0.1}),
    "ppo, sequence": Variant("ppo", {"view": "sequence", "should_whiten_rewards": True, "value_clip": 0.1}),
    "ppo, unlike the default": Variant(
        "ppo",
        {"clip": 0.1, "should_whiten_advantages": False, "discount": 0.9, "trace_decay": 0.6, "value_weight": 0.3,
         "update_kl_limit": 0.5, **FOLLOWED},
    ),
    "ppo, kl": Variant("ppo", {"objective": "kl_penalty", "update_kl_weight": 3.0, "update_kl_target": 0.1}),
    "ppo, kl, sequence": Variant("ppo", {"objective": "kl_penalty", "view": "sequence", "entropy_weight": 0.1}),
    "grpo": Variant("grpo", {"averages": "response"}),
    "grpo, tokens": Variant("grpo", {"averages": "token", "clip": 0.1, **FOLLOWED}),
    "grpo, not scaled, without kl": Variant("grpo", {"should_scale": False, "kl_weight": 0.0}),
    "rejection_sampling": Variant("rejection_sampling", {}),
    "rejection_sampling, kl": Variant("rejection_sampling", FOLLOWED),
}  # fmt: skip
"""Names are free, but that the plain name of an algorithm is one of its variants."""


def consumed(variant: str) -> str:
    return plugins.find("algorithms", VARIANTS[variant].algorithm).CONSUMES


ONLINE = tuple(name for name in VARIANTS if consumed(name) == "rollouts")


def missing(algorithm: str, variants: Sequence[Variant]) -> Iterator[str]:
    """What these variants leave out of an algorithm: an option, or a setting that is always at its default."""
    made = plugins.find("algorithms", algorithm).Config
    configs = [made(**variant.settings) for variant in variants if variant.algorithm == algorithm]
    if not configs:
        yield algorithm
    for name, field in made.model_fields.items():
        values = [getattr(config, name) for config in configs]
        if get_origin(field.annotation) is Literal or field.annotation is bool:
            options = (False, True) if field.annotation is bool else get_args(field.annotation)
            yield from (f"{algorithm}.{name}={option}" for option in options if option not in values)
        elif all(value == field.default for value in values):
            yield f"{algorithm}.{name}"


class TinyParts:
    """The parts of `interfaces.Parts`, on a tiny model; the reference is near the policy."""

    def __init__(self, folder: str):
        self._folder, self._policy = folder, LanguageModel(load_language_model(folder, 0.0).model)

    def policy(self) -> nn.Module:
        return self._policy

    def reference(self) -> nn.Module:
        reference, generator = copy.deepcopy(self._policy), torch.Generator().manual_seed(1)
        with torch.no_grad():
            for parameter in reference.parameters():
                parameter += 0.03 * torch.randn(parameter.shape, generator=generator)
        return freeze(reference)

    def actor_critic(self) -> nn.Module:
        critic = SeparateActorCritic(self._policy, load_backbone(self._folder, 0.0))
        nn.init.normal_(critic.head.weight)
        return critic

    def scorer(self, pooling: Pooling, learns_tie_strength: bool = False) -> nn.Module:
        scorer = new_scorer(self._folder, 0.0, pooling)
        return TieScorer(scorer) if learns_tie_strength else scorer

    def span_scorer(self, spans: Settings) -> nn.Module:
        assert isinstance(spans, SpanSettings)
        return new_span_scorer(self._folder, 0.0, spans)

    def sum_over_ranks(self, values: Tensor) -> Tensor:
        return values


def build(variant: str, folder: str) -> Algorithm:
    name, settings = VARIANTS[variant]
    module = plugins.find("algorithms", name)
    torch.manual_seed(0)
    algorithm = module.build(module.Config(**settings), TinyParts(folder))
    algorithm.module.eval()
    return algorithm


LENGTHS = ([3, 6, 1, 4], [[2, 5, 4], [3, 7], [1, 4], [6, 2, 2]])


def lengths(seed: int) -> tuple[list[int], list[list[int]]]:
    """LENGTHS, and with another seed than 0 any lengths of as many prompts and responses.

    Responses to one prompt differ in length: of equal ones, rounding would say which has the higher score.
    """
    if seed == 0:
        return LENGTHS
    draw = random.Random(seed)
    prompts, responses = LENGTHS
    drawn = [draw.sample(range(1, 8), len(some)) for some in responses]
    if drawn[0][0] == 1:  # so that what has a column a token is not taken for what has one a response
        drawn[0].reverse()
    return [draw.randint(1, 7) for _ in prompts], drawn


def preference_pairs(sequences: Sequences) -> PreferencePairs:
    """Of sequences of LENGTHS: prompts with 3, 1, 1 and 2 pairs, one of them a tie."""
    better, worse = torch.tensor([0, 1, 2, 3, 6, 8, 7]), torch.tensor([1, 2, 0, 4, 5, 7, 9])
    weight = torch.tensor([1 / 3] * 3 + [1.0, 1.0] + [0.5] * 2)
    return PreferencePairs(sequences, better, worse, torch.tensor([False] * 6 + [True]), weight)


def spans_of(sequences: Sequences, num_classes: int, generator: torch.Generator) -> JudgedSpans:
    """A third of the tokens ends a span, which begins behind the one before it."""
    mask = sequences.action_mask
    is_end = mask & (torch.rand(mask.shape, generator=generator) < 0.33)
    label = torch.where(is_end, torch.randint(0, num_classes, mask.shape, generator=generator), -1)
    first = torch.zeros_like(label)
    for row, lasts in enumerate(is_end):
        ends = lasts.nonzero().flatten().tolist()
        for before, last in zip([-1, *ends], ends, strict=False):
            first[row, last] = before + 1
    return JudgedSpans(
        sequences, first, label, torch.where(is_end, 0.5 + torch.rand(mask.shape, generator=generator), 0)
    )


def rankings(sequences: Sequences) -> PreferencePairs:
    """The responses to each prompt as they stand, the best first."""
    index = sequences.prompt_index.tolist()
    pairs = [(a, b) for b in range(len(index)) for a in range(b) if index[a] == index[b]]
    weights = [1 / sum(index[a] == index[c] for c, _ in pairs) for a, _ in pairs]
    better, worse = zip(*pairs, strict=True)
    none_tied = torch.zeros(len(pairs), dtype=torch.bool)
    return PreferencePairs(sequences, torch.tensor(better), torch.tensor(worse), none_tied, torch.tensor(weights))


@dataclass(frozen=True)
class Acted:
    """A rollout with its rewards, and the greedy responses to the same prompts with theirs."""

    rollout: Rollout
    rewards: list[RewardStream]
    greedy: Rollout
    greedy_rewards: list[RewardStream]

    def experience(self, algorithm: OnlineAlgorithm) -> tuple[Experience, dict[str, Tensor]]:
        of_rollout, of_greedy = (
            list(zip((0.7, 0.3), rewards, strict=True)) for rewards in (self.rewards, self.greedy_rewards)
        )
        if isinstance(algorithm, AgainstGreedy):
            return algorithm.experience_against(self.rollout, of_rollout, self.greedy, of_greedy)
        return algorithm.experience(self.rollout, of_rollout)


def acted(algorithm: OnlineAlgorithm, seed: int) -> Acted:
    """Responses, as if the policy had sampled them: one reward at their ends, and one at some tokens."""
    generator = torch.Generator().manual_seed(seed)
    prompts, responses = lengths(seed)
    one_each = [some[-1:] for some in responses]
    both = random_sequences(prompts, responses, seed), random_sequences(prompts, one_each, seed + 1)
    greedy_sequences = replace(both[1], prompts=both[0].prompts)
    policy = algorithm.module if isinstance(algorithm.module, LanguageModel) else algorithm.module.policy
    assert isinstance(policy, LanguageModel)
    made: list[Any] = []
    for sequences in (both[0], greedy_sequences):
        mask, rows = sequences.action_mask, len(sequences)
        with torch.no_grad():
            logprobs = policy(sequences)
        ends = place_at_last(torch.randn(rows, generator=generator), mask)
        spans = mask & (torch.rand(mask.shape, generator=generator) < 0.5)
        is_cut = torch.rand(rows, generator=generator) < 0.4
        made.append(Rollout(sequences, logprobs, tuple(f"text {row}" for row in range(rows)), is_cut))
        made.append(
            [RewardStream("end", *ends), RewardStream("spans", torch.randn(mask.shape, generator=generator), spans)]
        )
    return Acted(*made)


def batch_for(variant: str, algorithm: Any, seed: int) -> Any:
    """Old and reference log-probabilities, and old values, are not those of the module, so that every term counts."""
    generator = torch.Generator().manual_seed(seed)
    sequences, kind = random_sequences(*lengths(seed), seed), consumed(variant)
    if kind == "rollouts":
        made, _ = acted(algorithm, seed).experience(algorithm)
        moved = {
            field.name: torch.where(  # what does not count stays 0
                (value := getattr(made, field.name)) == 0,
                0.0,
                value + 0.15 * torch.randn(value.shape, generator=generator),
            )
            for field in fields(made)
            if field.name not in ("sequences", "advantages", "returns")
        }
        return replace(made, **moved)
    if kind == "demonstrations":  # a third of the tokens is given
        is_given = torch.rand(sequences.action_mask.shape, generator=generator) < 0.33
        return replace(sequences, action_mask=sequences.action_mask & ~is_given)
    if kind == "judgements":
        return Judged(sequences, torch.rand(len(sequences), generator=generator) < 0.4)
    if kind == "span_judgements":
        return spans_of(sequences, len(algorithm.config.names), generator)
    is_ranked = getattr(algorithm.config, "reads", "pairs") == "rankings"
    pairs = rankings(sequences) if is_ranked else preference_pairs(sequences)
    if kind == "preferences":
        return pairs
    with torch.no_grad():
        logprobs = sequence_logprobs(algorithm.module(sequences), sequences.action_mask)
    of_reference = logprobs + 2 * torch.randn(len(logprobs), generator=generator)
    return ReferencedPairs(sequences, pairs.better, pairs.worse, pairs.is_tie, pairs.weight, of_reference)


@cache
def cached(variant: str, folder: str) -> Algorithm:
    """For tests that leave it as it is."""
    return build(variant, folder)


def problem(variant: str, folder: str) -> tuple[Algorithm, Any]:
    algorithm = build(variant, folder)
    return algorithm, batch_for(variant, algorithm, seed=0)
