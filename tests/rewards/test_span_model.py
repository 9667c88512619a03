"""Each span of a response is paid at its own last token, whatever tokens the reward model reads."""

import re
from pathlib import Path

import pytest
import torch

from posttrain.batches import Rollout
from posttrain.data.collate import Encoder, collate_prompts, collate_sequences
from posttrain.data.records import Prompt
from posttrain.data.span_labels import SpanClass, SpanSettings
from posttrain.errors import InputError
from posttrain.models.loading import load_span_scorer, load_tokenizer, new_span_scorer
from posttrain.models.spans.report import SPAN_STATISTICS_FILE, Moments, write_span_report
from posttrain.rewards.span_model import Config, SpanModelReward, build
from tests.data.byte_tokenizers import byte_tokenizer
from tests.models.spans.test_report import REPORT
from tests.tiny_models import ONE_PER_FAMILY, is_encoder_decoder, word_tokenizer, write_model

CPU = torch.device("cpu")
PATTERN = r"\w+ \w+|\w+"  # two words, or what is left
PROMPTS = ("ba ce di", "fo")
TEXTS = ("gu ha be", "be ci do da", "", "cy")
PROMPT_OF = (0, 0, 1, 1)
IS_CUT = (True, False, False, True)
VALUES = torch.tensor([0.7, -1.0, -0.5])
CLASSES = (SpanClass(name="wrong", kinds=("w",)), SpanClass(name="dull", kinds=("d",), value=-0.5))
LOG_WEIGHTS = torch.tensor([0.2, -0.3, 1.0])


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    """Span reward models that read whole words; `short` has 10 positions."""
    made = {}
    short = {"max_position_embeddings": 10}
    for name, kind, changes in (("t5", "t5", {}), ("llama", "llama", {}), ("short", "llama", short)):
        path = tmp_path_factory.mktemp("rewards")
        write_model(kind, path / "start", **changes)
        torch.manual_seed(3)
        spans = SpanSettings(pattern=PATTERN, classes=CLASSES, good_value=0.7, pooling="mean")
        scorer = new_span_scorer(str(path / "start"), 0.0, spans)
        scorer.log_weights.copy_(LOG_WEIGHTS)
        scorer.save(path)
        load_tokenizer(str(path / "start")).save_pretrained(path)
        write_span_report(path, REPORT.model_copy(update={
            "expected": Moments(mean=0.25, std=0.5), "likeliest": Moments(mean=-0.25, std=2.0)
        }))  # fmt: skip
        made[name] = path
    return made


def policy_tokenizer(name: str, reads: str):
    if reads == "words":
        return word_tokenizer(is_encoder_decoder(name))
    return byte_tokenizer(False) if reads == "bytes" else load_tokenizer("builtin/decoder_only")


def rollout_of(name: str, reads: str, texts: tuple[str, ...] = TEXTS, prompts: tuple[str, ...] = PROMPTS) -> Rollout:
    encoder = Encoder(policy_tokenizer(name, reads), is_encoder_decoder(name), 99, 99)
    responses = [ids[: len(ids) - is_cut] for ids, is_cut in zip(encoder.responses(texts), IS_CUT, strict=False)]
    encoded = collate_prompts(encoder.prompts(prompts), [Prompt(text) for text in prompts])
    sequences = collate_sequences(encoded, PROMPT_OF[: len(texts)], responses)
    return Rollout(sequences, torch.zeros(sequences.response_ids.shape), texts, torch.tensor(IS_CUT[: len(texts)]))


def reward_of(folders, name: str, reads: str = "words", **settings) -> SpanModelReward:
    config = Config(model=str(folders[name]), **settings)
    return build(config, "mine", policy_tokenizer(name, reads), CPU)


@torch.no_grad()
def logits_of_spans(folders, name: str, is_cut: tuple[bool, ...]) -> list[list[torch.Tensor]]:
    """The scorer's logits for each pair of words of each text, one text at a time."""
    scorer, tokenizer = load_span_scorer(str(folders[name]))
    encoder = Encoder(tokenizer, is_encoder_decoder(name), 99, 99)
    every = []
    for text, prompt, cut in zip(TEXTS, PROMPT_OF, is_cut, strict=True):
        (ids,) = encoder.responses([text])
        prompts = collate_prompts(encoder.prompts([PROMPTS[prompt]]), [Prompt("")])
        sequences = collate_sequences(prompts, [0], [ids[: len(ids) - cut]])
        found, words = [], text.split()
        for first in range(0, len(words), 2):
            last = min(first + 1, len(words) - 1)
            firsts, is_end = torch.full_like(sequences.response_ids, first), torch.zeros_like(sequences.response_mask)
            is_end[0, last] = True
            found.append(scorer(sequences, firsts, is_end)[0])
        every.append(found)
    return every


def expected_value(logits: torch.Tensor) -> float:
    return float((logits - LOG_WEIGHTS).softmax(-1) @ VALUES)


LASTS = {"words": [[1, 2], [1, 3], [], [0]]}  # columns, by hand; of bytes, found below


def lasts_by_decoding(rollout: Rollout, tokenizer) -> list[list[int]]:
    """For each span, the first column with which the text is said up to the span's end."""
    every, sequences = [], rollout.sequences
    for ids, mask, text in zip(sequences.response_ids, sequences.response_mask, rollout.texts, strict=True):
        ids, found = ids[mask].tolist(), []
        said = [tokenizer.decode(ids[: t + 1], skip_special_tokens=True).strip() for t in range(len(ids))]
        for match in re.finditer(PATTERN, text):
            found.append(next(t for t, some in enumerate(said) if some[: match.end()] == text[: match.end()]))
        every.append(found)
    return every


@pytest.mark.parametrize("reads", ["words", "bytes", "builtin"])
@pytest.mark.parametrize("name", ONE_PER_FAMILY)
def test_each_span_is_paid_at_its_last_token(name, reads, folders):
    reward = reward_of(folders, name, reads, batch_size=2)
    assert (reward.tokenizer is None) == (reads == "words")
    rollout = rollout_of(name, reads)
    stream = reward(rollout)
    lasts = lasts_by_decoding(rollout, policy_tokenizer(name, reads))
    assert lasts == LASTS.get(reads, lasts)
    # A scorer that reads the texts in tokens of its own reads an end where the policy was cut; spans do not see it.
    logits = logits_of_spans(folders, name, IS_CUT if reads == "words" else (False,) * 4)
    assert stream.name == "mine"
    for row, (columns, some) in enumerate(zip(lasts, logits, strict=True)):
        assert stream.mask[row].nonzero().flatten().tolist() == columns
        assert stream.values[row, columns].tolist() == pytest.approx([expected_value(it) for it in some], abs=1e-4)
    assert not stream.values[~stream.mask].any()
    assert len({round(value, 3) for value in stream.values[stream.mask].tolist()}) == 5
    end = policy_tokenizer(name, reads).eos_token_id
    assert not stream.mask[~rollout.sequences.response_mask].any()
    assert not stream.mask[rollout.sequences.response_ids == end].any()


def test_the_likeliest_class_has_one_of_the_values(folders):
    """The likeliest under the weights of its training, as in its precision and recall."""
    stream = reward_of(folders, "t5", gives="likeliest")(rollout_of("t5", "words"))
    likeliest = [int(it.argmax()) for some in logits_of_spans(folders, "t5", IS_CUT) for it in some]
    assert len(set(likeliest)) > 1
    assert stream.values[stream.mask].tolist() == pytest.approx([float(VALUES[i]) for i in likeliest])


@pytest.mark.parametrize(("gives", "mean", "std"), [("expected", 0.25, 0.5), ("likeliest", -0.25, 2.0)])
def test_values_are_normalised_with_the_moments_of_what_is_given(gives, mean, std, folders):
    rollout = rollout_of("llama", "words")
    plain = reward_of(folders, "llama", gives=gives)(rollout)
    normalised = reward_of(folders, "llama", gives=gives, should_normalize=True, scale=3.0, bias=0.5)(rollout)
    of_each = (plain.values[plain.mask] - mean) / std * 3 + 0.5
    torch.testing.assert_close(normalised.values[normalised.mask], of_each)
    assert torch.equal(normalised.mask, plain.mask)
    assert not normalised.values[~normalised.mask].any(), "the bias is for each span, and not for each token"


def test_a_spread_of_nothing_divides_by_a_small_number_and_not_by_0(folders, tmp_path):
    reward = reward_of(folders, "t5", should_normalize=True)
    reward.moments = Moments(mean=0.0, std=0.0)
    assert reward(rollout_of("t5", "words")).values.isfinite().all()


@pytest.mark.parametrize("reads", ["words", "bytes"])
def test_the_batch_size_changes_nothing(reads, folders):
    rollout = rollout_of("t5", reads)
    one, two, all_at_once = (reward_of(folders, "t5", reads, batch_size=size)(rollout) for size in (1, 2, 64))
    assert torch.equal(one.mask, all_at_once.mask)
    for other in (one, two):
        torch.testing.assert_close(other.values, all_at_once.values, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("reads", ["words", "bytes"])
def test_answers_without_spans_are_not_judged(reads, folders):
    stream = reward_of(folders, "t5", reads)(rollout_of("t5", reads, ("", "")))
    assert not stream.mask.any()
    assert stream.totals().tolist() == [0, 0]


@pytest.mark.parametrize("reads", ["words", "bytes"])
def test_texts_that_the_model_has_no_positions_for_are_refused(reads, folders):
    reward = reward_of(folders, "short", reads)
    assert reward(rollout_of("llama", reads, TEXTS)).mask.any()
    with pytest.raises(InputError, match=r"rewards\.mine.*lower the token limits of data and rollout, or take a"):
        reward(rollout_of("llama", reads, ("ba " * 9 + "ba",)))


def test_folders_that_are_no_whole_span_reward_model_are_named(folders, tmp_path):
    with pytest.raises(InputError, match=r"span_head\.safetensors: missing"):
        build(Config(model=str(folders["t5"] / "start")), "mine", word_tokenizer(True), CPU)
    scorer, tokenizer = load_span_scorer(str(folders["t5"]))
    scorer.save(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(InputError, match=rf"{SPAN_STATISTICS_FILE}: missing; train the span reward model again"):
        build(Config(model=str(tmp_path)), "mine", word_tokenizer(True), CPU)


@pytest.mark.parametrize(
    "settings", [{"scale": 0.0}, {"scale": -1.0}, {"batch_size": 0}, {"gives": "score"}, {"weight": 2.0}]
)
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        Config(model="x", **settings)
