"""Only adapters learn; without them the model is its start, and merged in they change nothing."""

import pytest
import torch
from torch import nn

from posttrain.assembly.parts import RunParts
from posttrain.errors import InputError
from posttrain.models.adapters import UnadaptedLanguageModel, adapters_off, add_adapters, has_adapters, merged
from posttrain.models.export import export
from posttrain.models.language_model import LanguageModel, kl_per_token
from posttrain.models.loading import load_backbone, load_language_model, load_tokenizer, new_scorer
from posttrain.rollouts import in_process
from tests.assembly.test_parts import parts
from tests.tiny_models import EVERY, ONE_PER_FAMILY, random_sequences

SEQUENCES = random_sequences([3, 6, 1], [[2, 5, 4], [3], [1, 4]])


def adapted(folder: str, targets: tuple[str, ...] | None = None) -> LanguageModel:
    torch.manual_seed(0)
    model = LanguageModel(load_language_model(folder, 0.0).model)
    add_adapters(model.hf_model, rank=2, alpha=4, dropout=0.0, targets=targets)
    return model.eval()


def trained(model: LanguageModel) -> LanguageModel:
    """Two large steps: after the first, only B is not zero."""
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.5)
    for _ in range(2):
        (-model(SEQUENCES).sum()).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    return model


@pytest.mark.parametrize("name", EVERY)
def test_only_adapters_learn(name, model_folder):
    folder = str(model_folder(name))
    start = LanguageModel(load_language_model(folder, 0.0).model).eval()
    model = adapted(folder)
    expected = start(SEQUENCES)
    assert torch.allclose(model(SEQUENCES), expected, atol=1e-6)
    trained(model)
    after = model(SEQUENCES)
    assert not torch.allclose(after, expected, atol=0.01)
    with adapters_off(model):
        assert torch.allclose(model(SEQUENCES), expected, atol=1e-6)
        with adapters_off(model):
            pass
        assert torch.allclose(model(SEQUENCES), expected, atol=1e-6)
    assert torch.equal(model(SEQUENCES), after)
    trainable = {name for name, p in model.named_parameters() if p.requires_grad}
    assert trainable
    assert all("lora_" in name for name in trainable)
    assert not any("head" in name for name in trainable)
    whole = merged(model)
    assert not has_adapters(whole)
    assert torch.allclose(whole(SEQUENCES), after, atol=1e-4)
    assert has_adapters(model)


@pytest.mark.parametrize("name", ONE_PER_FAMILY)
def test_a_rollout_is_that_of_the_adapted_model(name, model_folder):
    model = trained(adapted(str(model_folder(name))))
    start = load_language_model(str(model_folder(name)), 0.0)
    config = in_process.Config(max_new_tokens=8, samples_per_prompt=3)
    rollout = in_process.build(config, model, start).generate(SEQUENCES.prompts, step=0)
    mask = rollout.sequences.response_mask
    assert (model(rollout.sequences) - rollout.logprobs)[mask].abs().max() < 1e-4
    with adapters_off(model):
        assert (model(rollout.sequences) - rollout.logprobs)[mask].abs().max() > 0.01


@pytest.mark.parametrize("name", ONE_PER_FAMILY)
def test_what_is_exported_has_the_adapters_in_its_weights(name, model_folder, tmp_path):
    model = trained(adapted(str(model_folder(name))))
    export(model, load_tokenizer(str(model_folder(name))), tmp_path / "out", torch.float32)
    loaded = LanguageModel(load_language_model(str(tmp_path / "out"), 0.0).model).eval()
    assert torch.allclose(loaded(SEQUENCES), model(SEQUENCES), atol=1e-4)
    assert {name for name, _ in loaded.named_parameters()} == {
        name for name, _ in LanguageModel(load_language_model(str(model_folder(name)), 0.0).model).named_parameters()
    }


def test_a_reward_model_is_exported_whole(model_folder, tmp_path):
    folder = str(model_folder("llama"))
    scorer = new_scorer(folder, 0.0)
    add_adapters(scorer.backbone, rank=2, alpha=4, dropout=0.0, targets=("q_proj",))
    for name, parameter in scorer.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter)
    expected = scorer.eval()(SEQUENCES)
    export(scorer, load_tokenizer(folder), tmp_path / "out", torch.float32)
    again = new_scorer(str(tmp_path / "out"), 0.0).eval()
    assert torch.allclose(again(SEQUENCES), expected, atol=1e-5)
    assert not has_adapters(load_backbone(str(tmp_path / "out"), 0.0))


def test_targets(model_folder):
    model = adapted(str(model_folder("llama")), ("q_proj", "v_proj"))
    with_one = {name.split(".lora_")[0].split(".")[-1] for name, p in model.named_parameters() if p.requires_grad}
    assert with_one == {"q_proj", "v_proj"}
    with pytest.raises(InputError, match=r"no linear layer is called query; there are down_proj, .*q_proj"):
        adapted(str(model_folder("llama")), ("q_proj", "query"))


def lora_parts(algorithm: str, folder: str) -> RunParts:
    return parts(algorithm, {"path": folder, "lora": {"rank": 2}, "activation_checkpointing": True})


@pytest.mark.parametrize("name", ONE_PER_FAMILY)
def test_the_reference_is_the_policy_without_adapters(name, model_folder):
    made = lora_parts("ppo", str(model_folder(name)))
    module = made.actor_critic()
    reference, policy = made.reference(), made.language_model
    assert isinstance(reference, UnadaptedLanguageModel)
    assert reference.hf_model is policy.hf_model
    before = reference(SEQUENCES)
    trained(policy)
    assert torch.allclose(reference(SEQUENCES), before, atol=1e-6)
    assert torch.equal(kl_per_token(reference, reference, SEQUENCES), torch.zeros_like(before))
    exact = kl_per_token(policy, reference, SEQUENCES).detach()
    assert exact[SEQUENCES.response_mask].mean() > 0.001
    assert not torch.allclose(policy(SEQUENCES), before, atol=0.01)
    assert not reference(SEQUENCES).requires_grad
    names = {name for name, p in module.named_parameters() if p.requires_grad}
    assert all("lora_" in name or name.startswith("head.") for name in names)
    assert any(name.startswith("value_backbone.") for name in names)


def test_activations_are_computed_again_where_the_run_asks(model_folder):
    made = lora_parts("ppo", str(model_folder("llama")))
    assert made.policy().hf_model.is_activation_checkpointing
    plain = parts("ppo", {"path": str(model_folder("llama"))}).policy()
    assert not plain.hf_model.is_activation_checkpointing
    assert torch.allclose(made.policy().train()(SEQUENCES), plain.train()(SEQUENCES), atol=1e-5)
