"""Every reward, whatever it is made of: it speaks at the last token of what it judges, and nowhere else."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from posttrain import plugins
from posttrain.batches import RewardStream, Rollout
from posttrain.data.records import Prompt
from posttrain.data.segments import Span, sentences, sub_sentences, words
from posttrain.data.span_labels import SpanClass, SpanSettings
from posttrain.functional.reward_streams import last_true
from posttrain.models.loading import initialize_language_model, new_scorer, new_span_scorer
from posttrain.models.scorer import STATISTICS_FILE
from posttrain.models.spans.report import Moments, SpanReport, write_span_report
from posttrain.worlds.grounded_qa.grammar import Fact, parse
from posttrain.worlds.grounded_qa.passages import Page, Scene
from tests.rewards.rollouts import BUILTIN, TOKENIZERS, completing, ids_of, rollout_of, tokenizer_of
from tests.rewards.servers import judging, reply
from tests.tiny_models import LLAMA, T5, randomize, write_model

FACTS = (Fact("film", "Dalune", "year", "1950"), Fact("film", "Dalune", "maker", "Tuton"))
SCENE = Scene("Dalune", "year", "When did Dalune come out?", (Page("Dalune (film)", FACTS),))
PROMPT = replace(SCENE.prompt("hand"), references=("Dalune came out in 1950.", "the cat"))
PIECES = ("Dalune came out in 1950.", "Dalune came out in 1951, and it was made by Tuton.", "the cat sat, the cat sat",
          "The film is superb!", "é😀", "\n", "  ", "7", "and")  # fmt: skip


@dataclass(frozen=True)
class Case:
    """A reward, its settings, and the spans that it judges in a text; none are those that it judges as a whole."""

    kind: str
    own: dict[str, Any]
    spans: Callable[[str], list[Span]] | None = None
    speaks_at_the_end_if_silent: bool = False
    speaks_at_the_end: bool = False


def bigrams(text: str) -> list[Span]:
    found = words(text)
    return [(one[0], other[1]) for one, other in pairwise(found)]


def cats(text: str) -> list[Span]:
    return [found.span() for found in re.finditer("cat", text)]


def first_reference(text: str) -> list[Span]:
    """In these pieces, references stand between blanks, or between line breaks."""
    found = [it.span() for it in re.finditer(r"(?<!\S)(?:Dalune\s+came\s+out\s+in\s+1950\.|the\s+cat)(?!\S)", text)]
    return sorted(found, key=lambda span: span[1])[:1]


CASES = [
    Case("length", {}),
    Case("length", {"density": "token"}, lambda text: []),
    Case("length", {"unit": "word", "density": "token"}, words),
    Case("length", {"density": "sentence"}, sentences, speaks_at_the_end=True),
    Case("repetition", {"ngram_size": 2}),
    Case("repetition", {"ngram_size": 2, "density": "token"}, bigrams),
    Case("pattern", {"pattern": "cat"}),
    Case("pattern", {"pattern": "cat", "gives": "count", "density": "own"}, cats, speaks_at_the_end_if_silent=True),
    Case("exact_match", {}),
    Case("exact_match", {"match": "contains", "density": "own"}, first_reference, speaks_at_the_end_if_silent=True),
    Case("reviews_sentiment", {}),
    Case("grounded_qa_truth", {"density": "whole"}),
    Case("grounded_qa_truth", {"part": "completeness"}),
    Case("grounded_qa_truth", {"part": "factuality"}, lambda text: [(it.start, it.end) for it in parse(text)]),
    Case("remote", {}),
    Case("remote", {"gives": "spans"}, words),
    Case("remote", {"gives": "spans", "density": "sub_sentence"}, sub_sentences),
    Case("sequence_model", {}),
    Case("span_model", {}, words),
]


@pytest.fixture(scope="module")
def server():
    def answer(question: dict[str, Any]) -> Any:
        texts = question["responses"]
        if question["prompts"][0] == "spans":
            return reply({"spans": [[[*span, 0.5] for span in words(text)] for text in texts]})
        return reply({"scores": [float(len(text)) for text in texts]})

    with judging(answer) as judge:
        yield judge.url


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Callable[[str, str], Path]:
    """A tiny reward model for a tokenizer: with the same tokens, or with those of single words."""
    made: dict[tuple[str, str], Path] = {}

    def folder(kind: str, name: str) -> Path:
        if (kind, name) not in made:
            made[kind, name] = _reward_model(kind, name, tmp_path_factory.mktemp("reward_model"))
        return made[kind, name]

    return folder


def _reward_model(kind: str, name: str, folder: Path) -> Path:
    start = folder / "start"
    if name == "words":
        write_model("llama", start, max_position_embeddings=512)
        tokenizer = None
    else:
        tokenizer = tokenizer_of(name)
        architecture = T5 if name == BUILTIN[0] else LLAMA | {"max_position_embeddings": 512}
        model = initialize_language_model(architecture, tokenizer).model
        randomize(model, seed=0)
        model.save_pretrained(start)
        tokenizer.save_pretrained(start)
    for file in start.glob("*token*"):
        (folder / file.name).write_bytes(file.read_bytes())
    if kind == "sequence_model":
        new_scorer(str(start), 0.0).save(folder)
        (folder / STATISTICS_FILE).write_text(json.dumps({"mean": 0.5, "std": 2.0, "num_responses": 9}))
        return folder
    spans = SpanSettings(pattern=r"\S+", classes=(SpanClass(kinds=("x",)),))
    new_span_scorer(str(start), 0.0, spans).save(folder)
    moments = Moments(mean=0.0, std=1.0)
    write_span_report(folder, SpanReport(
        num_responses=1, num_spans=1, accuracy=1, majority_accuracy=1, macro_f1=1, majority_macro_f1=1,
        calibration_error=0, classes={}, expected=moments, likeliest=moments,
    ))  # fmt: skip
    return folder


@pytest.fixture
def judge_of(server, models) -> Callable[..., Callable[[Rollout], RewardStream]]:
    def build(case: Case, name: str, has_own_tokens: bool) -> Callable[[Rollout], RewardStream]:
        plugin, own = plugins.find("rewards", case.kind), dict(case.own)
        if case.kind == "remote":
            own["url"] = server
        if case.kind in ("sequence_model", "span_model"):
            own["model"] = str(models(case.kind, "words" if has_own_tokens else name))
        return plugin.build(plugin.Config(**own), "it", tokenizer_of(name), torch.device("cpu"))

    return build


def prompt_for(case: Case) -> Prompt:
    return Prompt("spans") if case.own.get("gives") == "spans" else PROMPT


@st.composite
def answers(draw: st.DrawFn, tokenizer: Any) -> list[list[int]]:
    """Some are empty, some cut by the limit, also in the middle of a character."""
    rows = []
    for pieces in draw(st.lists(st.lists(st.sampled_from(PIECES), max_size=4), min_size=1, max_size=3)):
        ids = ids_of(tokenizer, " ".join(pieces))
        rows.append(ids[: draw(st.integers(1, len(ids)))] if draw(st.booleans()) else ids)
    return rows


def shown(tokenizer: Any, ids: list[int], text: str) -> int:
    """Characters of the text that these tokens complete."""
    said = tokenizer.decode(ids, skip_special_tokens=True).lstrip()
    return next((i for i, (a, b) in enumerate(zip(said, text, strict=False)) if a != b), min(len(said), len(text)))


def expected_columns(case: Case, tokenizer: Any, ids: list[int], text: str) -> set[int]:
    last = len(ids) - 1
    if case.spans is None:
        return {last}
    if case.kind == "length" and case.own.get("unit") != "word" and case.own["density"] == "token":
        return set(range(len(ids)))
    complete = [shown(tokenizer, ids[: n + 1], text) for n in range(len(ids))]
    columns = {completing(end, complete, tokenizer, ids, text) for _, end in case.spans(text)}
    at_end = case.speaks_at_the_end or (case.speaks_at_the_end_if_silent and not columns)
    return columns | {last} if at_end else columns


def test_every_reward_is_tested():
    assert {case.kind for case in CASES} == set(plugins.names("rewards"))


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.kind}-{'-'.join(map(str, case.own.values()))}")
@given(data=st.data())
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_it_speaks_at_the_last_token_of_what_it_judges(case, judge_of, data):
    tokenizer = tokenizer_of(name := data.draw(st.sampled_from(TOKENIZERS)))
    rows = data.draw(answers(tokenizer))
    rollout = rollout_of(tokenizer, rows, [prompt_for(case)] * len(rows))
    judge = judge_of(case, name, data.draw(st.booleans()))
    stream = judge(rollout)
    assert stream.name == "it"
    assert stream.values.shape == stream.mask.shape == rollout.logprobs.shape
    assert stream.values.isfinite().all()
    assert (stream.values[~stream.mask] == 0).all(), "0 where nothing is judged"
    for row, ids in enumerate(rows):
        columns = set(stream.mask[row].nonzero().flatten().tolist())
        assert columns == expected_columns(case, tokenizer, ids, rollout.texts[row])


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.kind}-{'-'.join(map(str, case.own.values()))}")
@given(data=st.data())
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_does_not_count_changes_nothing(case, judge_of, data):
    """Padding never, of whatever tokens; nor is a token paid that the policy did not choose."""
    tokenizer = tokenizer_of(name := data.draw(st.sampled_from(TOKENIZERS)))
    rows = data.draw(answers(tokenizer))
    judge = judge_of(case, name, False)
    rollout = rollout_of(tokenizer, rows, [prompt_for(case)] * len(rows))
    action_mask, response_mask = rollout.sequences.action_mask, rollout.sequences.response_mask
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 99)))
    action_mask &= torch.rand(action_mask.shape, generator=generator) < data.draw(st.sampled_from([0.5, 1.1]))
    stream = judge(rollout)
    assert not (stream.mask & ~action_mask).any()
    other_ids = torch.where(response_mask, rollout.sequences.response_ids, tokenizer.eos_token_id)
    other = judge(replace(rollout, sequences=replace(rollout.sequences, response_ids=other_ids)))
    assert torch.equal(other.values, stream.values)
    assert torch.equal(other.mask, stream.mask)
    if case.spans is None:
        has_action = action_mask.any(-1)
        assert torch.equal(stream.mask.any(-1), has_action)
        assert (stream.mask.int().argmax(-1) == last_true(action_mask))[has_action].all()


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.kind}-{'-'.join(map(str, case.own.values()))}")
def test_an_empty_answer_is_judged_at_its_end_token_or_not_at_all(case, judge_of):
    tokenizer = tokenizer_of(BUILTIN[1])
    rollout = rollout_of(tokenizer, [[tokenizer.eos_token_id], ids_of(tokenizer, "the cat")], [prompt_for(case)] * 2)
    assert rollout.texts[0] == ""
    stream = judge_of(case, BUILTIN[1], False)(rollout)
    assert stream.mask[0].nonzero().flatten().tolist() in ([], [0])
    assert stream.mask[0, 0] or case.spans is not None
