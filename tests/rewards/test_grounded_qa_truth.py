"""The true reward as a stream: the same total at every density, each judgement at the end of its span."""

from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from posttrain.batches import RewardStream, Rollout
from posttrain.data.collate import Encoder, collate_prompts, collate_sequences
from posttrain.data.records import Prompt
from posttrain.errors import InputError
from posttrain.models.loading import load_tokenizer
from posttrain.rewards.grounded_qa_truth import Config, build
from posttrain.worlds.grounded_qa.grammar import Fact
from posttrain.worlds.grounded_qa.passages import Page, Scene
from posttrain.worlds.grounded_qa.truth import gold, judge
from tests.tiny_models import word_tokenizer

CPU = torch.device("cpu")
PARTS = ("completeness", "factuality", "relevance")
PROMPT = Scene(
    title="Dalune",
    asked="year",
    question="When did Dalune come out?",
    pages=(
        Page("Dalune (album)", (Fact("album", "Dalune", "maker", "Tuton"), Fact("album", "Dalune", "year", "1994"))),
        Page("Dalune (film)", (Fact("film", "Dalune", "year", "1950"), Fact("film", "Dalune", "prize", "Amber"))),
    ),
).prompt("hand")
PIECES = (
    "Dalune came out in 1994.", "Dalune came out in 1951.", "Dalune came out in 1950, and it won the Amber prize.",
    "Dalune was made by Badle, and it came out in 1994, and it came out in 1994.", "Blah blah", "Blah.", "", ".", ",",
    " ", "Dalune came ou", "é漢😀", "\ufffd",
)  # fmt: skip
TOKENIZERS = ("builtin/encoder_decoder", "builtin/decoder_only")
ANSWER = "Dalune came out in 1951, and it was made by Tuton. Dalune came out in 1994."


@cache
def tokenizer_of(name: str):
    return load_tokenizer(name)


def rollout_of(name: str, answers: list[str], num_cut: int = 0) -> Rollout:
    """What says these answers; with `num_cut`, its last tokens are cut, and the text is what the others say."""
    tokenizer = tokenizer_of(name)
    responses = Encoder(tokenizer, False, 9999, 9999).responses(answers)
    responses = [ids[: max(len(ids) - num_cut, 1)] for ids in responses]
    texts = tuple(text.strip() for text in tokenizer.batch_decode(responses, skip_special_tokens=True))
    sequences = collate_sequences(collate_prompts([[5]], [PROMPT]), [0] * len(answers), responses)
    shape = sequences.response_ids.shape
    return Rollout(sequences, torch.zeros(shape), texts, torch.tensor([num_cut > 0] * len(answers)))


def stream_of(rollout: Rollout, name: str, part: str, density: str) -> RewardStream:
    return build(Config(part=part, density=density), "truth", tokenizer_of(name), CPU)(rollout)


@pytest.mark.parametrize("name", TOKENIZERS)
@settings(max_examples=25, deadline=None)
@given(
    answers=st.lists(st.lists(st.sampled_from(PIECES), max_size=5).map(" ".join), min_size=1, max_size=3),
    num_cut=st.integers(0, 9),
)
def test_totals_are_the_true_reward_at_each_density(name, answers, num_cut):
    rollout = rollout_of(name, answers, num_cut)
    totals = {}
    lasts = rollout.sequences.lengths - 1
    for part in (*PARTS, "all"):
        own, whole = (stream_of(rollout, name, part, density) for density in ("own", "whole"))
        torch.testing.assert_close(own.totals(), whole.totals(), atol=1e-5, rtol=0)
        totals[part] = own.totals().double()
        for stream in (own, whole):
            assert not stream.mask[~rollout.sequences.response_mask].any()
            assert not stream.values[~stream.mask].any()
        assert torch.equal(whole.mask.nonzero()[:, 1], lasts), "one judgement a response, at its last token"
    for row, text in enumerate(rollout.texts):
        truth = judge(PROMPT, text)
        bad = [sum(span.error is not None for span in spans) / max(len(spans), 1)
               for spans in (truth.factuality, truth.relevance)]  # fmt: skip
        assert totals["completeness"][row].item() == pytest.approx(truth.completeness, abs=1e-5)
        assert totals["factuality"][row].item() == pytest.approx(-bad[0], abs=1e-5)
        assert totals["relevance"][row].item() == pytest.approx(-bad[1], abs=1e-5)
        assert totals["all"][row].item() == pytest.approx(gold(PROMPT, text), abs=1e-5)
    torch.testing.assert_close(sum(totals[part] for part in PARTS), totals["all"], atol=1e-5, rtol=0)


def said(rollout: Rollout, name: str, column: int) -> str:
    ids = rollout.sequences.response_ids[0, : column + 1].tolist()
    return tokenizer_of(name).decode(ids, skip_special_tokens=True).strip()


@pytest.mark.parametrize("name", TOKENIZERS)
@pytest.mark.parametrize(
    ("part", "judged"),
    [
        ("completeness", [(ANSWER, 0.5)]),
        ("factuality", [(ANSWER[:50], -0.5), (ANSWER, 0.0)]),
        ("relevance", [(ANSWER[:24], 0.0), (ANSWER[:50], -1 / 3), (ANSWER, 0.0)]),
    ],
)
def test_each_judgement_stands_where_its_span_is_said(name, part, judged):
    """What is good is judged too, with 0; completeness stands at the end token."""
    rollout = rollout_of(name, [ANSWER])
    stream = stream_of(rollout, name, part, "own")
    columns = stream.mask[0].nonzero().flatten().tolist()
    assert [said(rollout, name, column) for column in columns] == [text for text, _ in judged]
    assert stream.values[0, columns].tolist() == pytest.approx([value for _, value in judged])
    last = int(rollout.sequences.lengths[0]) - 1
    assert (last in columns) == (part == "completeness"), "a span ends before the end token"
    if part != "completeness":
        assert [said(rollout, name, column - 1) for column in columns] != [text for text, _ in judged]


def test_an_empty_answer_is_judged_as_a_whole_only():
    name = "builtin/decoder_only"
    rollout = rollout_of(name, ["", ANSWER])
    for part in ("factuality", "relevance"):
        assert not stream_of(rollout, name, part, "own").mask[0].any()
        assert stream_of(rollout, name, part, "whole").mask[0].tolist()[:2] == [True, False]
    assert stream_of(rollout, name, "completeness", "own").mask[0].tolist()[:2] == [True, False]
    assert stream_of(rollout, name, "all", "own").totals()[0] == 0


def test_a_cut_answer_is_judged_at_its_last_token():
    name = "builtin/decoder_only"
    for num_cut in range(1, 12):
        rollout = rollout_of(name, [ANSWER], num_cut)
        last = int(rollout.sequences.lengths[0]) - 1
        for part in PARTS:
            stream = stream_of(rollout, name, part, "own")
            assert stream.mask[0].nonzero()[-1] == last


def test_judgements_that_end_with_one_token_are_added():
    """A tokenizer of whole words reads `Blah,x.` as one unknown word; both of its sub-sentences are bad."""
    tokenizer = word_tokenizer(False)
    tokenizer.add_tokens(["Blah,x."])
    ids = tokenizer("Blah,x.", add_special_tokens=False).input_ids
    sequences = collate_sequences(collate_prompts([[5]], [PROMPT]), [0], [[*ids, 1]])
    rollout = Rollout(sequences, torch.zeros(1, 2), ("Blah,x.",), torch.zeros(1).bool())
    stream = build(Config(part="relevance"), "truth", tokenizer, CPU)(rollout)
    assert stream.values.tolist() == [[-1.0, 0.0]]
    assert stream.mask.tolist() == [[True, False]]


def test_prompts_of_another_world_are_refused():
    rollout = rollout_of("builtin/decoder_only", [ANSWER])
    prompts = collate_prompts([[5]], [Prompt("who?", "q7")])
    other = Rollout(
        collate_sequences(prompts, [0], [rollout.sequences.response_ids[0].tolist()]),
        rollout.logprobs, rollout.texts, rollout.is_cut,
    )  # fmt: skip
    with pytest.raises(InputError, match=r"prompt 'q7'.*worlds/grounded_qa"):
        stream_of(other, "builtin/decoder_only", "all", "own")
