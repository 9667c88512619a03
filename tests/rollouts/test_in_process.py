"""The engine samples what it says, from the distribution that the trainer scores."""

import math
import warnings

import pytest
import torch

from posttrain.batches import Prompts, Rollout
from posttrain.data.collate import collate_prompts
from posttrain.data.records import Prompt
from posttrain.models.beam import beam_search
from posttrain.models.decoding import plain, recorded, shared
from posttrain.models.language_model import LanguageModel, Sampling
from posttrain.models.layouts import prompts as shared_prompts
from posttrain.models.loading import load_language_model
from posttrain.rollouts.in_process import Config, InProcess, build
from tests.tiny_models import END, EVERY, ONE_PER_FAMILY, plain_logits, random_ids

GENERATOR = torch.Generator().manual_seed(5)
PROMPTS = [random_ids(length, GENERATOR) for length in (4, 1, 7, 3)]


def prompts(*rows: int) -> Prompts:
    return collate_prompts([PROMPTS[row] for row in rows], [Prompt(f"prompt {row}") for row in rows])


def engine(folder, **settings) -> InProcess:
    start = load_language_model(str(folder), 0.0)
    config = Config(**{"max_new_tokens": 12, **settings})
    sampling = Sampling(**{name: getattr(config, name) for name in Sampling.model_fields})
    return build(config, LanguageModel(start.model, sampling), start)


def responses(rollout: Rollout) -> list[list[int]]:
    sequences = rollout.sequences
    return [row[mask].tolist() for row, mask in zip(sequences.response_ids, sequences.response_mask, strict=True)]


def rows_leave_at(share: float, monkeypatch) -> None:
    for kind in (plain.PlainEncoderDecoderDecoding, plain.PlainDecoderOnlyDecoding, shared.EncoderDecoderDecoding,
                 shared.DecoderOnlyDecoding, recorded.RecordedDecoding):  # fmt: skip
        monkeypatch.setattr(kind, "full_enough", share)


@pytest.mark.parametrize("name", EVERY)
def test_greedy_is_what_transformers_generates(name, model_folder):
    ours = engine(model_folder(name), is_greedy=True)
    rollout = ours.generate(prompts(0, 1, 2, 3), step=0)
    model = ours.policy.hf_model
    num_forced = name.count("forced")  # which generate counts among the new tokens
    for row, prompt in enumerate(PROMPTS):
        ids = torch.tensor([prompt])
        output = model.generate(ids, do_sample=False, max_new_tokens=12 + num_forced, pad_token_id=0)[0]
        theirs = output[1 + num_forced :] if model.config.is_encoder_decoder else output[len(prompt) :]
        assert responses(rollout)[row] == theirs.tolist()
    assert len({tuple(response) for response in responses(rollout)}) > 1


@pytest.mark.parametrize("name", EVERY)
def test_generating_and_scoring_raise_no_warning(name, model_folder):
    """A user can mend nothing about a deprecation in a library: it is ours to see first."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ours = engine(model_folder(name), samples_per_prompt=2)
        ours.policy(ours.generate(prompts(0, 1), step=0).sequences)
        beam_search(ours.policy.hf_model, prompts(0, 1), (END,), 0, num_beams=2, num_returned=1, max_new_tokens=5)


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize(
    "sampling",
    [{}, {"temperature": 0.7, "top_k": 5, "top_p": 0.9}, {"top_k": 5, "min_p": 0.1}],
    ids=["plain", "top-p", "min-p"],
)
def test_the_trainer_finds_the_same_logprobs(name, sampling, model_folder):
    ours = engine(model_folder(name), samples_per_prompt=6, seed=3, **sampling)
    rollout = ours.generate(prompts(0, 1, 2, 3), step=1)
    recomputed = ours.policy(rollout.sequences)
    mask = rollout.sequences.response_mask
    assert (recomputed - rollout.logprobs)[mask].abs().max() < 1e-5
    assert recomputed[mask].min() > -30  # no sampled token lies outside the support
    if sampling:
        assert recomputed[mask].exp().min() > 0.02  # at most five tokens share the probability


@pytest.mark.parametrize("name", EVERY)
def test_a_sample_does_not_depend_on_its_batch(name, model_folder):
    ours = engine(model_folder(name), samples_per_prompt=3, seed=1)
    alone, first, wider = (responses(ours.generate(prompts(*rows), step=2)) for rows in ((0,), (0, 1), (0, 2, 3)))
    assert first[:3] == wider[:3] == alone
    assert len({tuple(row) for row in alone}) == 3


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("sampling", [{}, {"top_k": 5}], ids=["plain", "filtered"])
def test_when_ended_rows_leave_changes_nothing(name, sampling, model_folder, monkeypatch):
    ours = engine(model_folder(name), samples_per_prompt=6, seed=3, **sampling)
    ours.end_ids = (END, *range(4, 12))
    rollouts = []
    for share in (0.0, 0.8, 1.0):
        rows_leave_at(share, monkeypatch)
        rollouts.append(ours.generate(prompts(0, 1, 2, 3), step=1))
    lengths = {len(response) for response in responses(rollouts[0])}
    assert len(lengths) > 2
    for rollout in rollouts[1:]:
        assert responses(rollout) == responses(rollouts[0])
        assert torch.allclose(rollout.logprobs, rollouts[0].logprobs, atol=1e-5)
        assert rollout.is_cut.tolist() == rollouts[0].is_cut.tolist()
    mask = rollouts[2].sequences.response_mask
    assert (ours.policy(rollouts[2].sequences) - rollouts[2].logprobs)[mask].abs().max() < 1e-5


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("rows_at_once", [1, 6, 8])
@pytest.mark.parametrize("share", [0.5, 1.0])
def test_how_many_rows_are_in_memory_changes_nothing(name, rows_at_once, share, model_folder, monkeypatch):
    """Two samples of each of 12 prompts, which end at different times: others begin meanwhile."""
    rows_leave_at(share, monkeypatch)
    monkeypatch.setattr(shared_prompts, "SMALLEST_GROUP", 1)
    draws = torch.Generator().manual_seed(8)
    lengths = torch.randint(1, 9, (12,), generator=draws).tolist()
    many = collate_prompts([random_ids(length, draws) for length in lengths], [Prompt("")] * 12)
    rollouts = []
    for limit in (None, rows_at_once):
        ours = engine(model_folder(name), samples_per_prompt=2, seed=3, rows_at_once=limit)
        ours.end_ids = (END, *range(4, 12))
        rollouts.append(ours.generate(many, step=1))
    assert len({len(response) for response in responses(rollouts[0])}) > 3
    assert responses(rollouts[1]) == responses(rollouts[0])
    assert torch.allclose(rollouts[1].logprobs, rollouts[0].logprobs, atol=1e-5)
    assert rollouts[1].is_cut.tolist() == rollouts[0].is_cut.tolist()


@pytest.mark.parametrize("name", ["llama", "gpt2", "t5"])
@pytest.mark.parametrize("samples", [1, 2])
def test_others_begin_while_some_go_on(name, samples, model_folder, monkeypatch):
    """Never more rows than allowed, and never one alone while prompts wait."""
    sizes: list[int] = []
    original = InProcess._choose
    monkeypatch.setattr(
        InProcess, "_choose", lambda self, logits, uniform: sizes.append(len(logits)) or original(self, logits, uniform)
    )
    rows_leave_at(1.0, monkeypatch)
    ours = engine(model_folder(name), rows_at_once=4, samples_per_prompt=samples, seed=3)
    ours.end_ids = (END, *range(4, 12))
    draws = torch.Generator().manual_seed(8)
    many = collate_prompts([random_ids(3, draws) for _ in range(20)], [Prompt("")] * 20)
    rollout = ours.generate(many, step=0)
    assert max(sizes) == 4
    num_tokens = int(rollout.sequences.lengths.sum())
    assert sum(sizes) == num_tokens, "no row is decoded after its end"
    full = sum(size for size in sizes if size > 4 - samples)
    assert full > 0.4 * num_tokens


def test_tokens_as_likely_as_the_kth_are_kept(model_folder):
    """Three of four tokens share the second place of top-2: the trainer keeps all of them."""
    ours = engine(model_folder("llama"), top_k=2)
    logits = torch.tensor([[3.0, 1.0, 2.0, 2.0, 2.0, 0.0]])
    drawn = [ours._choose(logits, torch.tensor([u])) for u in (0.01, 0.6, 0.8, 0.99)]
    assert [int(token) for token, _ in drawn] == [0, 2, 3, 4]
    total = math.exp(3) + 3 * math.exp(2)
    expected = [3 - math.log(total), *[2 - math.log(total)] * 3]
    assert [float(logprob) for _, logprob in drawn] == pytest.approx(expected, abs=1e-6)


def test_survivors_are_drawn_in_the_order_of_the_vocabulary(model_folder):
    """So a draw means the same token, however the filter finds the survivors."""
    ours = engine(model_folder("llama"), top_k=3)
    logits = torch.tensor([[0.0, 1.0, 3.0, 2.0, 0.5]])
    total = sum(math.exp(x) for x in (1, 3, 2))
    draws = [0.5 * math.exp(1) / total, (math.exp(1) + 1) / total, (math.exp(1) + math.exp(3) + 1) / total]
    assert [int(ours._choose(logits, torch.tensor([u]))[0]) for u in draws] == [1, 2, 3]


def test_samples_differ_between_steps_and_seeds_and_repeat_within_one(model_folder):
    def sample(seed: int, step: int) -> list[list[int]]:
        return responses(engine(model_folder("llama"), seed=seed).generate(prompts(0, 1), step))

    assert sample(0, 0) == sample(0, 0)
    assert sample(0, 0) != sample(0, 1)
    assert sample(0, 0) != sample(1, 0)


@pytest.mark.parametrize("name", ONE_PER_FAMILY)
def test_an_end_is_counted_and_nothing_comes_after_it(name, model_folder):
    ours = engine(model_folder(name), samples_per_prompt=40, max_new_tokens=6)
    ours.end_ids = (END, *range(4, 16))  # so that many samples end
    rollout = ours.generate(prompts(0, 1, 2, 3), step=0)
    sequences = rollout.sequences
    assert 0.05 < rollout.is_cut.float().mean() < 0.95
    for row, response in enumerate(responses(rollout)):
        assert not set(response[:-1]) & set(ours.end_ids)
        assert bool(rollout.is_cut[row]) == (response[-1] not in ours.end_ids)
        if rollout.is_cut[row]:
            assert len(response) == 6
        width = len(response)
        assert sequences.response_mask[row].tolist() == [True] * width + [False] * (6 - width)
        assert torch.equal(rollout.logprobs[row, width:], torch.zeros(6 - width))
        assert torch.equal(sequences.response_ids[row, width:], torch.zeros(6 - width, dtype=torch.long))
        assert (rollout.logprobs[row, :width] < 0).all()
    assert torch.equal(sequences.action_mask, sequences.response_mask)
    assert (rollout.logprobs - ours.policy(sequences))[sequences.response_mask].abs().max() < 1e-5


def test_a_response_that_ends_with_its_last_token_is_not_cut(model_folder):
    ours = engine(model_folder("llama"), max_new_tokens=1, samples_per_prompt=50)
    ours.end_ids = tuple(range(0, 52, 2))
    rollout = ours.generate(prompts(0), step=0)
    last = rollout.sequences.response_ids[:, 0]
    assert torch.equal(rollout.is_cut, last % 2 == 1)
    assert 0 < rollout.is_cut.sum() < 50


@pytest.mark.parametrize("name", ONE_PER_FAMILY)
@pytest.mark.parametrize("sampling", [{}, {"temperature": 0.7, "top_k": 6, "top_p": 0.9}], ids=["plain", "filtered"])
def test_tokens_come_as_often_as_they_are_likely(name, sampling, model_folder):
    """Pearson's χ² over tokens that are expected at least five times, below its mean by five standard deviations."""
    count = 4000
    ours = engine(model_folder(name), max_new_tokens=1, samples_per_prompt=count, **sampling)
    rollout = ours.generate(prompts(1), step=0)
    logits = plain_logits(ours.policy.hf_model, PROMPTS[1], [0])[0] / sampling.get("temperature", 1.0)
    order = logits.argsort(descending=True)[: sampling.get("top_k", len(logits))]
    shares = logits[order].softmax(-1)
    order = order[(shares.cumsum(-1) - shares) < sampling.get("top_p", 1.0)]
    expected = torch.zeros(len(logits)).scatter(0, order, logits[order].softmax(-1)) * count
    seen = torch.bincount(rollout.sequences.response_ids[:, 0], minlength=len(logits)).float()
    assert seen[expected == 0].sum() == 0
    likely = expected >= 5
    statistic = ((seen - expected)[likely] ** 2 / expected[likely]).sum().item()
    degrees = int(likely.sum()) - 1
    assert degrees > 1
    assert statistic < degrees + 5 * math.sqrt(2 * degrees)


def test_rows_texts_and_version(model_folder):
    ours = engine(model_folder("t5"), samples_per_prompt=2)
    ours.load_weights(ours.policy, 9)
    rollout = ours.generate(prompts(0, 2), step=0)
    assert rollout.policy_version == 9
    assert rollout.sequences.prompt_index.tolist() == [0, 0, 1, 1]
    assert [example.text for example in rollout.examples] == ["prompt 0", "prompt 0", "prompt 2", "prompt 2"]
    for text, response in zip(rollout.texts, responses(rollout), strict=True):
        assert text == ours.tokenizer.decode([token for token in response if token > 3])


@pytest.mark.parametrize("is_training", [True, False])
def test_sampling_is_without_dropout_and_leaves_the_mode_of_the_model_alone(is_training, model_folder):
    start = load_language_model(str(model_folder("t5")), 0.5)
    ours = build(Config(max_new_tokens=5, is_greedy=True), LanguageModel(start.model), start)
    ours.policy.train(is_training)
    rollout = ours.generate(prompts(0, 1), step=0)
    assert ours.policy.training is is_training
    plain = engine(model_folder("t5"), max_new_tokens=5, is_greedy=True).generate(prompts(0, 1), step=0)
    assert responses(rollout) == responses(plain)


@pytest.mark.parametrize("draw", [0.0, 1 - 2**-24], ids=["smallest draw", "largest draw"])
def test_the_ends_of_the_range_of_draws_stay_in_the_support(draw, model_folder):
    """Filtered tokens stand first and last, where a draw of 0 or of almost 1 could slip to them."""
    ours = engine(model_folder("llama"), top_k=3)
    logits = torch.tensor([[-9.0, 1.0, 2.0, 1.5, -9.0]])
    token, logprob = ours._choose(logits, torch.tensor([draw]))
    assert token.item() == (1 if draw == 0 else 3)
    assert logprob.isfinite().all()


@pytest.mark.parametrize("name", ONE_PER_FAMILY)
def test_greedy_is_one_likeliest_response_a_prompt_whatever_is_sampled(name, model_folder):
    sampler = engine(model_folder(name), samples_per_prompt=3, temperature=2.0, seed=4)
    likeliest = engine(model_folder(name), is_greedy=True).generate(prompts(0, 1, 2), step=0)
    greedy = sampler.greedy(prompts(0, 1, 2))
    assert greedy.sequences.prompt_index.tolist() == [0, 1, 2]
    assert responses(greedy) == responses(likeliest)
    assert responses(sampler.generate(prompts(0, 1, 2), step=0))[::3] != responses(greedy)


def test_what_is_as_likely_as_the_kth_is_kept_in_its_row_and_nothing_else(model_folder):
    ours = engine(model_folder("llama"), top_k=2)
    logits = torch.tensor([[1.0, 3.0, 2.0, 2.0, 0.0], [0.0, 2.9, 1.0, 3.0, 2.0]]).bfloat16()
    drawn = [ours._choose(logits, torch.full((2,), u)) for u in torch.linspace(0, 0.999, 50).tolist()]
    assert {int(token[0]) for token, _ in drawn} == {1, 2, 3}
    assert {int(token[1]) for token, _ in drawn} == {1, 3}
    kept = torch.tensor([3.0, 2.0, 2.0])
    expected = (kept - kept.logsumexp(0)).tolist()
    found = {int(token[0]): float(logprob[0]) for token, logprob in drawn}
    assert [found[1], found[2], found[3]] == pytest.approx(expected, abs=1e-6)
