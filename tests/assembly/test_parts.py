"""The models of a run: with dropout only where it belongs, and scored as they are sampled."""

import pytest
import torch
from torch import nn

from posttrain.assembly.parts import RunParts, check_models
from posttrain.config import parse
from posttrain.errors import InputError
from posttrain.models.actor_critic import SharedActorCritic
from posttrain.models.language_model import Sampling
from posttrain.training.distributed import Ranks
from tests.tiny_models import T5, random_sequences, write_model

SOURCE = {"source": "prompt_jsonl", "path": "unread.jsonl"}
REWARD = {"kind": "sequence_model", "model": "a/b"}
CONSUMED = {
    "sft": "demonstrations", "preference_reward_model": "preferences", "judgement_reward_model": "judgements",
    "dpo": "referenced_preferences", "ppo": "rollouts",
}  # fmt: skip


def parts(algorithm: str, model: dict, **sections) -> RunParts:
    values = {
        "model": model, "algorithm": {"name": algorithm},
        "data": {"train": SOURCE, "max_prompt_tokens": 9, "max_response_tokens": 9},
        "training": {"num_steps": 1, "batch_size": 1, "learning_rate": 0.1}, **sections,
    }  # fmt: skip
    ranks = Ranks(0, 1, torch.device("cpu"))
    return RunParts(parse(values, "test"), CONSUMED[algorithm], ranks, ["aa ae", "ba be"])


def is_random(module: nn.Module) -> bool:
    """Whether two forwards in training mode differ."""
    sequences = random_sequences([5], [[6]])
    outputs = [module.train()(sequences) for _ in range(2)]
    first, second = (torch.cat(x) if isinstance(x, tuple) else x for x in outputs)
    return not torch.equal(first, second)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> str:
    """A model whose config asks for dropout."""
    return str(write_model("t5", tmp_path_factory.mktemp("dropout") / "t5", dropout_rate=0.5))


@pytest.mark.parametrize("algorithm", ["ppo", "dpo"])
@pytest.mark.parametrize("model_setting", [{}, {"dropout": 0.5}])
def test_dropout_has_no_effect_where_policies_are_compared(algorithm, model_setting, folder):
    made = parts(algorithm, {"path": folder, **model_setting})
    assert not is_random(made.policy())
    assert not is_random(made.actor_critic())
    assert not is_random(made.reference())


@pytest.mark.parametrize(("setting", "expected"), [({}, True), ({"dropout": 0.0}, False), ({"dropout": 0.3}, True)])
def test_supervised_learning_has_the_models_own_dropout_or_the_configured(setting, expected, folder):
    assert is_random(parts("sft", {"path": folder, **setting}).policy()) is expected
    assert is_random(parts("preference_reward_model", {"path": folder, **setting}).scorer("last")) is expected


@pytest.mark.parametrize(
    ("algorithm", "setting", "expected"), [("sft", {}, True), ("sft", {"dropout": 0.0}, False), ("dpo", {}, False)]
)
def test_dropout_of_a_model_that_starts_from_random_weights(algorithm, setting, expected):
    architecture = T5 | {"dropout_rate": 0.5}
    model = {"architecture": architecture, "tokenizer": {"vocab_size": 270}, **setting}
    assert is_random(parts(algorithm, model).policy()) is expected


def test_policy_and_reference_are_scored_under_the_sampling_of_the_rollout(folder):
    rollout = {"engine": "in_process", "temperature": 0.7, "top_k": 5, "top_p": 0.9}
    made = parts("ppo", {"path": folder}, rollout=rollout)
    assert made.policy().sampling == made.reference().sampling == Sampling(temperature=0.7, top_k=5, top_p=0.9)
    assert parts("sft", {"path": folder}).policy().sampling == Sampling()


def test_the_reference_is_the_start_and_stays(folder):
    made = parts("ppo", {"path": folder})
    reference, policy = made.reference(), made.policy()
    sequences = random_sequences([5], [[6]])
    before = reference(sequences)
    assert torch.allclose(before, policy(sequences), atol=1e-6)
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter += 0.1
    assert torch.equal(reference(sequences), before)
    assert not any(parameter.requires_grad for parameter in reference.parameters())


def test_a_shared_trunk_has_one_backbone(folder):
    module = parts("ppo", {"path": folder}, value_model={"shared_trunk": True}).actor_critic()
    assert isinstance(module, SharedActorCritic)
    separate = parts("ppo", {"path": folder}).actor_critic()
    count = [sum(p.numel() for p in m.parameters()) for m in (module, separate)]
    assert count[0] < 0.6 * count[1]


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"model": {"path": "./no"}}, "model.path"),
        ({"reference": "./no", "value_model": {"path": "./no"}}, "reference, value_model.path"),
        ({"rewards": [REWARD, REWARD | {"name": "x", "model": "./no"}]}, "rewards.1.model"),
    ],
)  # fmt: skip
def test_settings_that_name_a_missing_model(changes, named, folder):
    sections = {"model": {"path": folder}, "reference": folder} | changes
    config = parts("ppo", sections.pop("model"), **sections).config
    with pytest.raises(InputError) as caught:
        check_models(config)
    assert str(caught.value) == f"{named}: model ./no: no such folder; train that model first, or correct the path"
