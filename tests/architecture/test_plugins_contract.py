"""Every plug-in keeps the contract: one importable file, a frozen strict `Config`, and its verb."""

import inspect
from types import ModuleType

import pytest

from posttrain import plugins
from posttrain.config import RewardSettings
from posttrain.settings import Settings

PLUGINS = [(kind, name) for kind in plugins.KINDS for name in plugins.names(kind)]
VERBS = {
    "algorithms": {"build"},
    "rewards": {"build"},
    "rollouts": {"build"},
    "data.sources": {"load"},
    "worlds": {"load"},
    "evaluation.measures": {"measure", "compare"},  # judges one model's responses, or two models' scores
}
NAMING_KEYS = {
    "algorithms": "name",
    "rewards": "kind",
    "rollouts": "engine",
    "data.sources": "source",
    "worlds": "source",
}
CONSUMED = {"span_judgements", "demonstrations", "preferences", "referenced_preferences", "judgements", "rollouts"}


@pytest.fixture(params=PLUGINS, ids=lambda plugin: ".".join(plugin))
def plugin(request: pytest.FixtureRequest) -> tuple[str, ModuleType]:
    kind, name = request.param
    return kind, plugins.find(kind, name)


def test_every_kind_has_plugins():
    assert [kind for kind in plugins.KINDS if not plugins.names(kind)] == []


def test_config_is_frozen_and_strict(plugin: tuple[str, ModuleType]):
    _, module = plugin
    assert issubclass(module.Config, Settings)
    assert module.Config.model_config["frozen"] is True
    assert module.Config.model_config["extra"] == "forbid"


def test_config_leaves_the_names_of_its_section_free(plugin: tuple[str, ModuleType]):
    kind, module = plugin
    taken = {NAMING_KEYS.get(kind, "name")}
    if kind == "rewards":
        taken |= set(RewardSettings.model_fields)
    assert set(module.Config.model_fields).isdisjoint(taken), f"{taken} are said beside the settings in YAML"


def test_the_verb_takes_the_config(plugin: tuple[str, ModuleType]):
    kind, module = plugin
    verbs = [getattr(module, verb) for verb in VERBS[kind] if callable(getattr(module, verb, None))]
    assert len(verbs) == 1, f"{module.__name__} should have exactly one of {VERBS[kind]}"
    assert "config" in inspect.signature(verbs[0]).parameters


def test_the_module_says_what_it_is(plugin: tuple[str, ModuleType]):
    assert plugin[1].__doc__, f"{plugin[1].__name__} has no docstring"


@pytest.mark.parametrize("name", plugins.names("algorithms"))
def test_an_algorithm_says_what_it_consumes(name: str):
    assert plugins.find("algorithms", name).CONSUMES in CONSUMED
