"""A response's total is the same at every density, and each density pays at the last token of its parts."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from posttrain import plugins
from posttrain.batches import RewardStream, Rollout
from posttrain.data.records import Prompt
from posttrain.data.segments import SEGMENTERS
from posttrain.functional.response_statistics import repeated_share
from posttrain.functional.reward_streams import last_true
from posttrain.rewards.placing import Judged, written
from tests.rewards.rollouts import TOKENIZERS, completing, ids_of, rollout_of, tokenizer_of

PIECES = (
    "the cat",
    "The dog.",
    " sat, and the cat sat",
    "é😀",
    "7",
    ".",
    "!",
    "\n",
    "  ",
    "Mr. X, who is the cat;",
    "a",
)
TEXTS = st.lists(st.sampled_from(PIECES), max_size=8).map(" ".join)
RULES: list[tuple[str, dict[str, Any]]] = [
    ("length", {"unit": "token", "per": 4.0}),
    ("length", {"unit": "word", "per": 4.0}),
    ("repetition", {"unit": "word", "ngram_size": 2}),
    ("repetition", {"unit": "token", "ngram_size": 2}),
    ("exact_match", {"match": "contains", "ignores": ["case", "punctuation"]}),
    ("exact_match", {"match": "equal"}),
    ("pattern", {"pattern": "cat", "gives": "count"}),
    ("pattern", {"pattern": "dog|(?=sat)"}),
    ("pattern", {"pattern": "(?s).*a", "gives": "all"}),
]


def stream_of(kind: str, tokenizer: Any, rollout: Rollout, **own: Any) -> RewardStream:
    plugin = plugins.find("rewards", kind)
    return plugin.build(plugin.Config(**own), kind, tokenizer, torch.device("cpu"))(rollout)


def densities_of(kind: str) -> tuple[str, ...]:
    return plugins.find("rewards", kind).Config.model_fields["density"].annotation.__args__


@st.composite
def rollouts(draw: st.DrawFn) -> tuple[Any, Rollout]:
    """Responses of one tokenizer; some are cut, also in the middle of a character, and some tokens were given."""
    tokenizer = tokenizer_of(draw(st.sampled_from(TOKENIZERS)))
    rows = []
    for text in draw(st.lists(TEXTS, min_size=1, max_size=3)):
        ids = ids_of(tokenizer, text)
        rows.append(ids[: draw(st.integers(1, len(ids)))] if draw(st.booleans()) else ids)
    rollout = rollout_of(tokenizer, rows, [Prompt("p", references=("the cat", "Dog"))] * len(rows))
    if draw(st.booleans()):
        generator = torch.Generator().manual_seed(draw(st.integers(0, 99)))
        mask = rollout.sequences.action_mask
        mask &= torch.rand(mask.shape, generator=generator) < 0.8
    return tokenizer, rollout


@pytest.mark.parametrize(("kind", "own"), RULES, ids=lambda it: it if isinstance(it, str) else "")
@given(case=rollouts())
@settings(max_examples=40, deadline=None)
def test_the_total_is_the_same_at_every_density(kind, own, case):
    tokenizer, rollout = case
    streams = {it: stream_of(kind, tokenizer, rollout, density=it, **own) for it in densities_of(kind)}
    whole = streams["whole"]
    for stream in streams.values():
        assert stream.totals().tolist() == pytest.approx(whole.totals().tolist(), abs=1e-5)
        assert not (stream.mask & ~rollout.sequences.action_mask).any()
        assert (stream.values[~stream.mask] == 0).all()
    has_action = rollout.sequences.action_mask.any(-1)
    assert whole.mask.sum(-1).tolist() == has_action.int().tolist()
    assert (whole.mask.int().argmax(-1) == last_true(rollout.sequences.action_mask))[has_action].all()


@pytest.mark.parametrize("density", ["sentence", "sub_sentence"])
@given(case=rollouts())
@settings(max_examples=40, deadline=None)
def test_parts_are_judged_at_the_token_that_completes_them(density, case):
    """By decoding ever longer beginnings of the response, which the code under test does not do."""
    tokenizer, rollout = case
    sequences = rollout.sequences
    sequences.action_mask.copy_(sequences.response_mask)
    stream = stream_of("length", tokenizer, rollout, density=density)
    for row, text in enumerate(rollout.texts):
        ids = sequences.response_ids[row][sequences.response_mask[row]].tolist()
        shown = [_shown(tokenizer, ids[: n + 1], text) for n in range(len(ids))]
        ends = {completing(end, shown, tokenizer, ids, text) for _, end in SEGMENTERS[density](text)}
        judged = set(stream.mask[row].nonzero().flatten().tolist())
        assert judged - {len(ids) - 1} == ends - {len(ids) - 1}
        assert len(ids) - 1 in judged, "what follows the last part, an end token, counts at the last token"


def _shown(tokenizer: Any, ids: list[int], text: str) -> int:
    """Characters of the text that these tokens complete."""
    said = tokenizer.decode(ids, skip_special_tokens=True).lstrip()
    return next((i for i, (a, b) in enumerate(zip(said, text, strict=False)) if a != b), min(len(said), len(text)))


@given(words=st.lists(st.sampled_from(["a", "B", "b", "cat"]), max_size=12), size=st.integers(1, 4))
@settings(max_examples=40, deadline=None)
def test_repetition_is_the_measure_as_a_cost(words, size):
    tokenizer = tokenizer_of("builtin/decoder_only")
    rollout = rollout_of(tokenizer, [ids_of(tokenizer, " ".join(words))])
    expected = -repeated_share([word.lower() for word in words], size)
    for density in densities_of("repetition"):
        stream = stream_of("repetition", tokenizer, rollout, ngram_size=size, density=density)
        assert stream.totals().item() == pytest.approx(expected, abs=1e-6)


def test_spans_that_meet_are_summed_and_what_nobody_chose_is_not_judged():
    tokenizer = tokenizer_of("builtin/decoder_only")
    rollout = rollout_of(tokenizer, [ids_of(tokenizer, "cat")[:1] * 5], num_padded=1)
    rollout.sequences.action_mask[0] = torch.tensor([True, True, False, False, True, False])
    found = [[Judged(0, 1, 1.0), Judged(1, 1, 2.0), Judged(1, 3, 4.0), Judged(2, 3, 8.0), Judged(4, 4, 0.0)]]
    stream = written("r", rollout, found)
    assert stream.values[0].tolist() == [0, 7, 0, 0, 0, 0]
    assert stream.mask[0].tolist() == [False, True, False, False, True, False]
    assert written("r", rollout, found, "whole").values[0].tolist() == [0, 0, 0, 0, 7, 0]
