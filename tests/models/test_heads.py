"""Scores and values: read from the right state, and trainable."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

from posttrain.algorithms import judgement_reward_model, preference_reward_model
from posttrain.batches import Sequences
from posttrain.errors import InputError
from posttrain.models.actor_critic import SeparateActorCritic, SharedActorCritic
from posttrain.models.language_model import LanguageModel
from posttrain.models.loading import load_backbone, load_language_model, load_scorer, load_tokenizer, new_scorer
from posttrain.models.scorer import read_statistics, write_statistics
from tests.tiny_models import END, EVERY, ONE_PER_FAMILY, START, prompt_of_row, random_sequences, response_of_row


@pytest.fixture
def sequences() -> Sequences:
    return random_sequences([3, 6], [[2, 5, 4], [3]])


def last_state(backbone, prompt: list[int], response: list[int]) -> torch.Tensor:
    """The state after all of one unpadded sequence was read, by transformers' own forward."""
    if backbone.config.is_encoder_decoder:
        forced = [START] if "bart_forced" in backbone.config._name_or_path else []
        ids = torch.tensor([[backbone.config.decoder_start_token_id, *forced, *response]])
        output = backbone(input_ids=torch.tensor([prompt]), decoder_input_ids=ids)
    else:
        output = backbone(input_ids=torch.tensor([prompt + response]))
    return output.last_hidden_state[0, -1]


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("padding", [0, END], ids=["padded with pad", "padded with eos"])
def test_the_scorer_reads_the_last_real_token(name, padding, model_folder, sequences):
    torch.manual_seed(0)
    scorer = new_scorer(str(model_folder(name)), 0.0).eval()
    torch.nn.init.normal_(scorer.head.bias)
    changed = replace(sequences, response_ids=sequences.response_ids.masked_fill(~sequences.response_mask, padding))
    expected = [
        scorer.head(last_state(scorer.backbone, prompt_of_row(sequences, row), response_of_row(sequences, row))).item()
        for row in range(len(sequences))
    ]
    assert scorer(changed).tolist() == pytest.approx(expected, abs=1e-4)
    assert max(expected) - min(expected) > 0.05  # so that a wrong state would show


@pytest.mark.parametrize("name", EVERY)
def test_a_score_can_read_the_mean_over_the_tokens_of_the_response(name, model_folder, sequences):
    torch.manual_seed(0)
    scorer = new_scorer(str(model_folder(name)), 0.0, "mean").eval()
    expected = []
    for row in range(len(sequences)):
        prompt, response = prompt_of_row(sequences, row), response_of_row(sequences, row)
        states = [last_state(scorer.backbone, prompt, response[: end + 1]) for end in range(len(response))]
        expected.append(scorer.head(torch.stack(states).mean(0)).item())
    unfilled = replace(sequences, response_ids=sequences.response_ids.masked_fill(~sequences.response_mask, 9))
    assert scorer(unfilled).tolist() == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("algorithm", [preference_reward_model, judgement_reward_model])
@pytest.mark.parametrize("pooling", ["last", "mean"])
def test_the_algorithms_ask_for_the_pooling_of_their_config(algorithm, pooling, model_folder):
    parts = SimpleNamespace(scorer=lambda asked, learns=False: new_scorer(str(model_folder("t5")), 0.0, asked))
    assert algorithm.build(algorithm.Config(pooling=pooling), parts).module.pooling == pooling


def test_an_unknown_pooling_in_a_head_is_refused(model_folder, tmp_path):
    scorer = new_scorer(str(model_folder("t5")), 0.0)
    scorer.pooling = "median"
    scorer.save(tmp_path)
    with pytest.raises(InputError, match="its pooling is 'median'; known are last, mean"):
        new_scorer(str(tmp_path), 0.0)


def test_a_reward_model_keeps_its_pooling(model_folder, sequences, tmp_path):
    scorer = new_scorer(str(model_folder("llama")), 0.0, "mean").eval()
    scorer.save(tmp_path)
    write_statistics(tmp_path, torch.tensor([1.0, 2.0]))
    load_tokenizer(str(model_folder("llama"))).save_pretrained(tmp_path)
    loaded, _, _ = load_scorer(str(tmp_path))
    assert torch.allclose(loaded(sequences), scorer(sequences), atol=1e-6)
    with pytest.raises(InputError, match=r"it scores with pooling mean, algorithm.pooling is last"):
        new_scorer(str(tmp_path), 0.0)


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("kind", ["separate", "shared"])
def test_a_value_is_read_before_its_token(name, kind, model_folder, sequences):
    """V(s_t) must not depend on token t, and must depend on token t − 1."""
    torch.manual_seed(0)
    actor_critic = build(kind, str(model_folder(name))).eval()
    torch.nn.init.normal_(actor_critic.head.weight)
    logprobs, values = actor_critic(sequences)
    assert torch.allclose(logprobs, actor_critic.policy(sequences), atol=1e-6)
    ids = sequences.response_ids.clone()
    ids[1, 2] = 4 + (ids[1, 2] - 3) % 40  # another word
    _, changed = actor_critic(replace(sequences, response_ids=ids))
    assert torch.allclose(changed[1, :3], values[1, :3], atol=1e-5)
    assert (changed[1, 3:5] - values[1, 3:5]).abs().min() > 1e-3
    assert torch.allclose(changed[[0, 2, 3]][sequences.response_mask[[0, 2, 3]]],
                          values[[0, 2, 3]][sequences.response_mask[[0, 2, 3]]], atol=1e-5)  # fmt: skip


def build(kind: str, folder: str) -> SeparateActorCritic | SharedActorCritic:
    policy = LanguageModel(load_language_model(folder, 0.0).model)
    return SharedActorCritic(policy) if kind == "shared" else SeparateActorCritic(policy, load_backbone(folder, 0.0))


@pytest.mark.parametrize("name", ONE_PER_FAMILY)
@pytest.mark.parametrize("kind", ["separate", "shared"])
def test_policy_and_value_both_train(name, kind, model_folder, sequences):
    actor_critic = build(kind, str(model_folder(name)))
    mask = sequences.response_mask
    targets = torch.linspace(-1, 1, int(mask.sum()))
    assert torch.equal(actor_critic(sequences)[1], torch.zeros(mask.shape))  # no opinion at the start
    optimizer = torch.optim.Adam(actor_critic.parameters(), lr=0.03)
    losses = []
    for _ in range(30):
        logprobs, values = actor_critic(sequences)
        both = -logprobs[mask].mean(), F.mse_loss(values[mask], targets)
        losses.append([loss.item() for loss in both])
        optimizer.zero_grad()
        (both[0] + both[1]).backward()
        optimizer.step()
    assert losses[-1][0] < 0.5 * losses[0][0]
    assert losses[-1][1] < 0.5 * losses[0][1]


@pytest.mark.parametrize("name", ONE_PER_FAMILY)
def test_a_saved_scorer_scores_the_same_and_can_be_trained_on(name, model_folder, sequences, tmp_path):
    folder = tmp_path / "reward_model"
    torch.manual_seed(0)
    scorer = new_scorer(str(model_folder(name)), 0.0).eval()
    scorer.save(folder)
    load_tokenizer(str(model_folder(name))).save_pretrained(folder)
    with pytest.raises(InputError, match=r"score_statistics\.json: missing; train the reward model with held-out data"):
        load_scorer(str(folder))
    write_statistics(folder, torch.tensor([1.0, 2.0, 6.0]))
    loaded, _, statistics = load_scorer(str(folder))
    assert (statistics.mean, statistics.num_responses) == (3, 3)
    assert statistics.std == pytest.approx(7**0.5)  # Σ(x−3)² = 14, over n − 1 = 2
    assert read_statistics(folder) == statistics
    assert torch.allclose(loaded(sequences), scorer(sequences), atol=1e-6)
    assert not any(p.requires_grad for p in loaded.parameters())
    assert torch.allclose(new_scorer(str(folder), 0.0).eval()(sequences), scorer(sequences), atol=1e-6)


def test_a_language_model_is_not_a_reward_model(model_folder):
    with pytest.raises(InputError, match=r"score_head\.safetensors: missing, so .* is not a reward model"):
        load_scorer(str(model_folder("t5")))
