"""Learning rates by step, and which parameters get which."""

import pytest
from torch import nn

from posttrain.config import TrainingSettings
from posttrain.models.actor_critic import SeparateActorCritic, SharedActorCritic
from posttrain.models.language_model import LanguageModel
from posttrain.models.loading import load_backbone, load_language_model
from posttrain.training.optimizer import build_optimizer, learning_rate_factor, set_learning_rate


def settings(**changes) -> TrainingSettings:
    return TrainingSettings(**{"num_steps": 10, "batch_size": 1, "learning_rate": 0.1, **changes})


@pytest.mark.parametrize(
    ("schedule", "factors"),
    [
        ("constant", [1 / 3, 2 / 3, 1, 1, 1, 1]),
        ("linear", [1 / 3, 2 / 3, 1, 3 / 4, 2 / 4, 1 / 4]),
        ("cosine", [1 / 3, 2 / 3, 1, 0.5 + 0.5**1.5, 0.5, 0.5 - 0.5**1.5]),
        ("quadratic", [1 / 3, 2 / 3, 1, 9 / 16, 1 / 4, 1 / 16]),
    ],
)
def test_schedules_by_hand(schedule, factors):
    chosen = settings(num_steps=6, warmup_steps=2, schedule=schedule)
    assert [learning_rate_factor(step, 6, chosen) for step in range(6)] == pytest.approx(factors)
    assert learning_rate_factor(6, 6, chosen) == pytest.approx(1 if schedule == "constant" else 0)


def test_without_warmup_the_first_step_has_the_peak_rate():
    assert learning_rate_factor(0, 10, settings()) == 1


def groups(module: nn.Module, chosen: TrainingSettings) -> dict[str, tuple[float, float]]:
    names = {parameter: name for name, parameter in module.named_parameters()}
    return {
        names[parameter]: (group["lr"], group["weight_decay"])
        for group in build_optimizer(module, chosen).param_groups
        for parameter in group["params"]
    }


def test_weights_decay_and_biases_and_norms_do_not(model_folder):
    policy = LanguageModel(load_language_model(str(model_folder("gpt2")), 0.0).model)
    found = groups(policy, settings(weight_decay=0.3))
    assert found.keys() == {name for name, _ in policy.named_parameters()}
    for name, (rate, decay) in found.items():
        assert rate == 0.1
        assert decay == (0.0 if name.endswith("bias") or ".ln_" in name else 0.3)


@pytest.mark.parametrize("is_shared", [True, False])
def test_the_value_model_has_a_rate_of_its_own(is_shared, model_folder):
    folder = str(model_folder("llama"))
    policy = LanguageModel(load_language_model(folder, 0.0).model)
    module = SharedActorCritic(policy) if is_shared else SeparateActorCritic(policy, load_backbone(folder, 0.0))
    found = groups(module, settings(value_learning_rate=0.02))
    for name, (rate, _) in found.items():
        assert rate == (0.1 if name.startswith("policy.") else 0.02)
    assert {rate for rate, _ in found.values()} == {0.1, 0.02}
    assert {rate for rate, _ in groups(module, settings()).values()} == {0.1}


def test_frozen_parameters_are_left_out():
    module = nn.Linear(2, 2)
    module.bias.requires_grad_(False)
    assert groups(module, settings()).keys() == {"weight"}


def test_a_factor_scales_each_group_from_its_own_peak(model_folder):
    policy = LanguageModel(load_language_model(str(model_folder("llama")), 0.0).model)
    optimizer = build_optimizer(SharedActorCritic(policy), settings(value_learning_rate=0.02))
    for factor in (0.5, 0.25):  # twice: not from the last rate
        set_learning_rate(optimizer, factor)
        assert {group["lr"] for group in optimizer.param_groups} == {0.1 * factor, 0.02 * factor}
