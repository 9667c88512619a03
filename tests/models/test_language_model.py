"""Every family scores a response as transformers' own forward does, one unpadded sequence at a time."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from posttrain.batches import Prompts, Sequences
from posttrain.functional import head_logprobs
from posttrain.functional.kl import exact_kl
from posttrain.models import language_model
from posttrain.models.language_model import LanguageModel, Sampling, kl_per_token
from posttrain.models.layouts import packed
from posttrain.models.loading import freeze, load_language_model
from tests.tiny_models import (
    EVERY,
    plain_logits,
    plain_logprobs,
    prompt_of_row,
    random_sequences,
    randomize,
    response_of_row,
)


@pytest.fixture
def sequences() -> Sequences:
    """Three prompts of other lengths, with 3, 1 and 2 responses."""
    return random_sequences([3, 6, 1], [[2, 5, 4], [3], [1, 4]])


@pytest.fixture(params=EVERY)
def model(request, model_folder) -> LanguageModel:
    return LanguageModel(load_language_model(str(model_folder(request.param)), 0.0).model).eval()


def gradients(module: nn.Module, loss: Tensor) -> dict[str, Tensor]:
    module.zero_grad()
    loss.backward()
    return {name: p.grad.clone() for name, p in module.named_parameters() if p.grad is not None}


def assert_close(actual: dict[str, Tensor], expected: dict[str, Tensor], relative: float) -> None:
    assert actual.keys() == expected.keys()
    scale = max(float(gradient.abs().max()) for gradient in expected.values())
    for name, gradient in expected.items():
        assert (actual[name] - gradient).abs().max() <= relative * scale, name


def widened(sequences: Sequences, prompt_columns: int, response_columns: int) -> Sequences:
    """More padding columns, filled with a real token's id: a mask must keep it out."""
    prompts = sequences.prompts
    return replace(
        sequences,
        prompts=replace(
            prompts, ids=F.pad(prompts.ids, (0, prompt_columns), value=9), mask=F.pad(prompts.mask, (0, prompt_columns))
        ),
        response_ids=F.pad(sequences.response_ids, (0, response_columns), value=9),
        response_mask=F.pad(sequences.response_mask, (0, response_columns)),
        action_mask=F.pad(sequences.action_mask, (0, response_columns)),
    )


def filled(sequences: Sequences, token: int) -> Sequences:
    """Another id where the padding is."""
    prompts = sequences.prompts
    return replace(
        sequences,
        prompts=replace(prompts, ids=prompts.ids.masked_fill(~prompts.mask, token)),
        response_ids=sequences.response_ids.masked_fill(~sequences.response_mask, token),
    )


def unshared(sequences: Sequences) -> Sequences:
    """Each response with a prompt of its own."""
    index = sequences.prompt_index
    prompts = sequences.prompts
    own = Prompts(prompts.ids[index], prompts.mask[index], tuple(prompts.examples[i] for i in index.tolist()))
    return replace(sequences, prompts=own, prompt_index=torch.arange(len(index)))


def test_logprobs_and_gradients_are_those_of_the_plain_forward(model, sequences):
    ours = model(sequences)
    rows = range(len(sequences))
    plain = [plain_logprobs(model.hf_model, prompt_of_row(sequences, r), response_of_row(sequences, r)) for r in rows]
    for row, expected in enumerate(plain):
        assert torch.allclose(ours[row, : len(expected)], expected, atol=1e-5)
        assert torch.equal(ours[row, len(expected) :], torch.zeros(ours.shape[1] - len(expected)))
    weights = torch.linspace(-1, 2, ours.numel()).view_as(ours)
    expected_loss = torch.stack([(weights[row, : len(x)] * x).sum() for row, x in enumerate(plain)]).sum()
    assert_close(gradients(model, (weights * ours).sum()), gradients(model, expected_loss), relative=1e-4)


@pytest.mark.parametrize(
    "change",
    [lambda s: widened(s, 4, 3), lambda s: filled(s, 7), unshared],
    ids=["more padding", "other padding", "a prompt for each response"],
)
def test_layout_changes_nothing(model, sequences, change: Callable[[Sequences], Sequences]):
    changed = change(sequences)
    before, after = model(sequences), model(changed)
    assert torch.allclose(after[:, : before.shape[1]], before, atol=1e-5)
    assert torch.equal(after[:, before.shape[1] :], torch.zeros_like(after[:, before.shape[1] :]))
    assert_close(gradients(model, after.sum()), gradients(model, before.sum()), relative=1e-4)


def test_a_response_does_not_see_its_batch(model, sequences):
    together = model(sequences)
    for row in range(len(sequences)):
        alone = model(sequences.select([row]))[0]
        assert torch.allclose(alone, together[row], atol=1e-5)


@pytest.mark.parametrize("name", ["gpt2", "llama", "qwen2"])
def test_each_token_is_read_once_and_no_padding(name, model_folder, sequences):
    model = LanguageModel(load_language_model(str(model_folder(name)), 0.0).model).eval()
    read = []
    model.hf_model.get_input_embeddings().register_forward_pre_hook(lambda _, args: read.append(args[0].numel()))
    model(sequences)
    num_prompt_tokens = int(sequences.prompts.lengths[sequences.prompt_index.unique()].sum())
    assert read == [num_prompt_tokens + int(sequences.lengths.sum())]
    read.clear()
    unshared = sequences.select([0, 3, 4])
    model(unshared)
    assert read == [int(unshared.prompts.lengths[unshared.prompt_index].sum() + unshared.lengths.sum())]


@pytest.mark.parametrize("name", ["gpt2", "llama", "qwen2"])
@pytest.mark.parametrize("is_shared", [True, False])
def test_the_number_of_groups_changes_nothing(name, is_shared, model_folder, sequences, monkeypatch):
    model = LanguageModel(load_language_model(str(model_folder(name)), 0.0).model).eval()
    rows = sequences if is_shared else sequences.select([0, 3, 4])
    monkeypatch.setattr(packed, "MOST_GROUPS", 1)
    together = model(rows)
    expected = gradients(model, together.square().sum())
    monkeypatch.setattr(packed, "MOST_GROUPS", 3)
    grouped = model(rows)
    assert torch.allclose(grouped, together, atol=1e-6)
    assert_close(gradients(model, grouped.square().sum()), expected, relative=1e-5)


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_empty_responses_have_the_state_after_their_prompt(name, model_folder):
    model = LanguageModel(load_language_model(str(model_folder(name)), 0.0).model).eval()
    rows = random_sequences([3, 5], [[0, 4], [0, 2]])
    states, alone = model.states(rows), [model.states(rows.select([row]))[0] for row in range(4)]
    for row, own in enumerate(alone):
        kept = int(rows.lengths[row]) + 1
        assert torch.allclose(states[row, :kept], own[:kept], atol=1e-5)


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_a_long_prompt_beside_a_long_response_needs_no_more_positions(name, model_folder):
    """Its own response is short: together they fit, and padding must not count."""
    model = LanguageModel(load_language_model(str(model_folder(name)), 0.0).model).eval()
    limit = model.hf_model.config.max_position_embeddings
    rows = random_sequences([limit - 4, 5], [[4, 3], [limit - 8, 6]])
    expected = torch.cat([model(rows.select([row]))[:, : rows.response_ids.shape[1]] for row in range(4)])
    assert torch.allclose(model(rows), expected, atol=1e-5)


@pytest.mark.parametrize("name", ["t5", "bart", "gpt2", "llama"])
def test_layouts_are_left_where_activations_are_made_again(name, model_folder, sequences):
    model = LanguageModel(load_language_model(str(model_folder(name)), 0.0).model).eval()
    expected = model(sequences)
    expected_gradients = gradients(model, expected.square().sum())
    model.hf_model.activation_checkpointing_enable()
    again = model.train()(sequences)
    assert torch.allclose(again, expected, atol=1e-5)
    assert_close(gradients(model, again.square().sum()), expected_gradients, relative=1e-4)


@pytest.mark.parametrize("name", ["t5", "bart", "gpt2", "llama"])
def test_layouts_are_left_where_attention_drops_weights(name, model_folder, sequences):
    model = LanguageModel(load_language_model(str(model_folder(name)), 0.3).model)
    expected = model.eval()(sequences)
    model.train()
    torch.manual_seed(0)
    drawn = [model(sequences) for _ in range(2)]
    assert not torch.allclose(drawn[0], drawn[1], atol=1e-3)
    assert torch.allclose(model.eval()(sequences), expected, atol=1e-6)


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_logits_in_tiles_are_the_same(temperature, model, sequences, monkeypatch):
    """Larger problems keep no logits: the head is read in tiles, here of 4 tokens by 5 words, and again backward."""
    model.sampling = Sampling(temperature=temperature)
    whole = model(sequences)
    whole_gradients = gradients(model, whole.square().sum())
    for name, value in {"MOST_KEPT": 0, "TILE_TOKENS": 4, "TILE_WORDS": 5}.items():
        monkeypatch.setattr(head_logprobs, name, value)
    tiled = model(sequences)
    assert torch.allclose(tiled, whole, atol=1e-6)
    assert_close(gradients(model, tiled.square().sum()), whole_gradients, relative=1e-5)


def test_filtered_logits_in_chunks_are_the_same(model, sequences, monkeypatch):
    model.sampling = Sampling(top_k=20)
    whole = model(sequences)
    whole_gradients = gradients(model, whole.square().sum())
    monkeypatch.setattr(language_model, "LOGITS_AT_ONCE", 4 * model.hf_model.config.vocab_size)  # 4 tokens at a time
    calls = []
    original = LanguageModel._token_logprobs
    monkeypatch.setattr(
        LanguageModel, "_token_logprobs", lambda self, h, i: calls.append(len(i)) or original(self, h, i)
    )
    chunked = model(sequences)
    assert calls == [4, 4, 4, 4, 3]
    assert torch.allclose(chunked, whole, atol=1e-6)
    assert_close(gradients(model, chunked.square().sum()), whole_gradients, relative=1e-5)
    assert len(calls) == 10  # the backward pass has computed each chunk again


def test_sampling_is_what_is_scored(model, sequences):
    policy = LanguageModel(model.hf_model, Sampling(temperature=0.7, top_k=5, top_p=0.9))
    ours = policy(sequences)
    for row in range(len(sequences)):
        response = torch.tensor(response_of_row(sequences, row))
        logits = plain_logits(model.hf_model, prompt_of_row(sequences, row), response.tolist()) / 0.7
        for t, token in enumerate(response.tolist()):
            best = logits[t].topk(5).indices
            shares = logits[t][best].softmax(-1)
            kept = best[(shares.cumsum(-1) - shares) < 0.9].tolist()
            support = sorted({*kept, token})
            expected = logits[t, token] - logits[t, support].logsumexp(-1)
            assert ours[row, t].item() == pytest.approx(expected.item(), abs=1e-4)


def test_kl_per_token_is_the_sum_over_the_vocabulary(model, model_folder, sequences, monkeypatch):
    other = LanguageModel(load_language_model(model.hf_model.config._name_or_path, 0.0).model).eval()
    randomize(other.hf_model, seed=1)
    freeze(other)
    expected = torch.zeros(sequences.response_mask.shape)
    for row in range(len(sequences)):
        both = (prompt_of_row(sequences, row), response_of_row(sequences, row))
        p, q = (plain_logits(m.hf_model, *both).log_softmax(-1) for m in (model, other))
        assert torch.allclose((p.exp() * (p - q)).sum(-1), exact_kl(p, q), atol=1e-5)
        expected[row, : len(both[1])] = exact_kl(p, q)
    assert torch.allclose(kl_per_token(model, other, sequences), expected, atol=1e-4)
    assert torch.equal(kl_per_token(model, model, sequences), torch.zeros_like(expected))
    monkeypatch.setattr(language_model, "LOGITS_AT_ONCE", 4 * model.hf_model.config.vocab_size)
    assert torch.allclose(kl_per_token(model, other, sequences), expected, atol=1e-4)
