"""A run is read strictly: every fault has one line that names the setting, and what is written reads back equal."""

import sys
from pathlib import Path

import pytest
from pydantic import BaseModel

from posttrain import config, plugins
from posttrain.errors import InputError
from posttrain.reading import strict_yaml
from posttrain.reading.config_reading import Choice

RUN = """\
seed: 3
model: {path: some/folder}
algorithm: {name: pretend_method, clip: 0.1}
data:
  train: {source: pretend_world, split: train}
  evaluation: {source: pretend_file, path: x.jsonl}
  max_prompt_tokens: 100
  max_response_tokens: 20
training: {num_steps: 10, batch_size: 4, learning_rate: 1e-4}
rollout: {engine: pretend_engine}
rewards:
- {kind: pretend_reward, weight: 0.5, target: 3}
- {kind: pretend_reward, name: other}
"""

PLUGINS = {
    "algorithms/pretend_method.py": "clip: float = 0.2\n    num_heads: int | None = None",
    "worlds/pretend_world.py": "split: str = 'all'",
    "data/sources/pretend_file.py": "path: str",
    "rollouts/pretend_engine.py": "top_ks: tuple[int, ...] = (1,)",
    "rewards/pretend_reward.py": "target: int = 2",
}


@pytest.fixture(autouse=True)
def pretend_plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folders of plug-ins, longer by one file each that leaves a trace when it is imported."""
    for name, fields in PLUGINS.items():
        file = tmp_path / "plugins" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        text = f"from posttrain.settings import Settings\n\n\nclass Config(Settings):\n    {fields}\n"
        file.write_text(text, encoding="utf-8")
        package = f"posttrain.{Path(name).parent.as_posix().replace('/', '.')}"
        __import__(package)
        monkeypatch.setattr(sys.modules[package], "__path__", [*sys.modules[package].__path__, str(file.parent)])
        monkeypatch.delitem(sys.modules, f"{package}.{file.stem}", raising=False)


@pytest.fixture
def run_file(tmp_path: Path) -> Path:
    path = tmp_path / "run.yaml"
    path.write_text(RUN, encoding="utf-8")
    return path


def faults(path: Path, *overrides: str) -> list[str]:
    with pytest.raises(InputError) as caught:
        config.load(path, overrides)
    return str(caught.value).splitlines()


def test_settings_and_plugin_settings_arrive_typed(run_file: Path):
    loaded = config.load(run_file)
    assert loaded.seed == 3
    assert loaded.training.learning_rate == 1e-4
    assert (loaded.algorithm.kind, loaded.algorithm.name) == ("algorithms", "pretend_method")
    assert loaded.algorithm.settings == loaded.algorithm.plugin.Config(clip=0.1)
    assert loaded.data.train.kind == "worlds"
    assert loaded.data.evaluation is not None
    assert loaded.data.evaluation.kind == "data.sources"
    assert [(reward.name, reward.weight) for reward in loaded.rewards] == [("pretend_reward", 0.5), ("other", 1.0)]
    assert [reward.choice.settings.model_dump() for reward in loaded.rewards] == [{"target": 3}, {"target": 2}]


def test_what_is_written_is_complete_and_reads_back_equal(run_file: Path, tmp_path: Path):
    loaded = config.load(run_file, ["rollout.top_ks=[5, 6]", "training.max_grad_norm=.inf"])
    again = tmp_path / "again.yaml"
    again.write_text(strict_yaml.write(config.resolved(loaded)), encoding="utf-8")
    assert config.load(again) == loaded
    assert config.resolved(loaded)["rewards"][1] == {
        "kind": "pretend_reward",
        "name": "other",
        "weight": 1.0,
        "target": 2,
    }
    assert config.resolved(loaded)["training"]["betas"] == [0.9, 0.999]


def test_a_diagnostic_has_its_own_threshold_or_none(run_file: Path):
    loaded = config.load(run_file, ["diagnostics.displacement=2", "diagnostics.saturated=null"])
    assert (loaded.diagnostics.displacement, loaded.diagnostics.saturated) == (2.0, None)
    assert loaded.diagnostics.repetition == config.load(run_file).diagnostics.repetition is not None


def test_the_run_folder(run_file: Path):
    assert config.load(run_file).out == "runs/run"
    assert config.load(run_file, ["out=elsewhere"]).out == "elsewhere"
    assert config.load(run_file, ["out=elsewhere"], out="here").out == "here"


def test_overrides(run_file: Path):
    loaded = config.load(
        run_file,
        [
            "rewards.0.weight=2",
            "training.learning_rate=1e-5",
            "metrics.wandb.project=a",
            "model.path='1'",
            "seed=4",
            "seed=5",
        ],
    )
    assert loaded.rewards[0].weight == 2.0
    assert loaded.training.learning_rate == 1e-5
    assert loaded.metrics.wandb is not None
    assert loaded.metrics.wandb.project == "a"
    assert loaded.model.path == "1"
    assert loaded.seed == 5


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("training.lerning_rate=3", "training.lerning_rate is not a setting; did you mean learning_rate?"),
        ("data.max_prompt_tokens=abc", 'data.max_prompt_tokens should be a valid integer, not "abc"'),
        ("data.max_prompt_tokens='7'", 'data.max_prompt_tokens should be a valid integer, not "7"'),
        ("seed=true", "seed should be a valid integer, not true"),
        ("seed=-1", "seed should be greater than or equal to 0, not -1"),
        ("training.learning_rate=.nan", "training.learning_rate should be a finite number, not NaN"),
        (
            "training.schedule=step",
            "training.schedule should be 'constant', 'linear', 'cosine' or 'quadratic', not \"step\"",
        ),
        ("training.betas=[0.9]", "training.betas.1 is missing"),
        ("training.num_epochs=1", "training: give exactly one of num_steps and num_epochs"),
        ("model={}", "model: give exactly one of path and architecture"),
        ("model={architecture: {model_type: t5}}", "model: tokenizer goes with architecture: give both, or a path"),
        ("algorithm.clp=1", "algorithm.clp is not a setting; did you mean clip?"),
        ("algorithm.clip=wide", 'algorithm.clip should be a valid number, not "wide"'),
        ("algorithm.name=pretend_methud", "algorithm.name: 'pretend_methud' is not in posttrain/algorithms; did you"),
        ("algorithm={clip: 1}", "algorithm.name is missing: one of "),
        ("algorithm=pretend_method", 'algorithm should be a mapping with `name`, not "pretend_method"'),
        ("data.train.source=pretend", "is not in posttrain/data/sources or posttrain/worlds; did you mean pretend_"),
        ("rewards.0.target=true", "rewards.0.target should be a valid integer, not true"),
        ("rewards.0.targt=1", "rewards.0.targt is not a setting; did you mean target?"),
        ("rewards.1.name=pretend_reward", "rewards: two have the name pretend_reward"),
        ("rewards=[3]", "rewards.0 should be a mapping, not 3"),
        ("rollout.top_ks=[1, a]", 'rollout.top_ks.1 should be a valid integer, not "a"'),
        ("evaluation.measures=[ruge]", "'ruge' is not in posttrain/evaluation/measures; did you mean rouge?"),
        ("value_model={shared_trunk: true, path: x}", "value_model: a shared trunk has no weights of its own"),
        ("diagnostics.displacment=1", "diagnostics.displacment is not a setting; did you mean displacement?"),
        ("diagnostics.saturated=1.5", "diagnostics.saturated should be less than or equal to 1, not 1.5"),
        ("diagnostics.judge_falls=1.5", "diagnostics.judge_falls should be a valid integer"),
        ("rewards.7.weight=1", "override 'rewards.7.weight=1': rewards has no item 7"),
        ("seed.deep=1", "override 'seed.deep=1': seed has no item deep"),
        ("seed", "override 'seed': write it as a.b=value"),
        ("seed=[1", "override 'seed=[1':1: "),
    ],
)  # fmt: skip
def test_a_fault_is_one_line_that_names_the_setting(run_file: Path, override: str, message: str):
    lines = faults(run_file, override)
    assert len(lines) == 1, lines
    assert message in lines[0]


def test_the_line_begins_with_where_the_setting_was_given(tmp_path: Path, run_file: Path):
    run_file.write_text(RUN + "sed: 1\n", encoding="utf-8")
    assert faults(run_file) == [f"{run_file}: sed is not a setting; did you mean seed?"]
    assert faults(run_file, "chekpoint={}")[-1].startswith(f"{run_file} with overrides: chekpoint")


def test_all_faults_are_said_at_once(run_file: Path):
    lines = faults(run_file, "training.lerning_rate=3", "rewards.0.targt=1", "rewards.0.target=x", "checkpoint.keep=0")
    settings = [line.split(": ")[1].split()[0] for line in lines]
    assert sorted(settings) == ["checkpoint.keep", "rewards.0.target", "rewards.0.targt", "training.lerning_rate"]


def test_a_missing_setting_is_said_with_what_it_is(run_file: Path):
    run_file.write_text(RUN.replace(", learning_rate: 1e-4", ""), encoding="utf-8")
    assert faults(run_file) == [f"{run_file}: training.learning_rate is missing: Peak learning rate."]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seed: 1\nmodel: {path: a}\nseed: 2\n", ":3: seed is given twice: keep one of them"),
        ("model: {path: a, path: b}\n", ":1: path is given twice: keep one of them"),
        ("model: &m {path: a}\nother: *m\n", ":2: an alias (*name): write the value out"),
        ("seed: [1\n", ":2: expected"),
        ("seed: !!python/object/apply:os.getcwd []\n", ":1: could not determine a constructor for the tag"),
        ("1: 2\n", ":1: the key 1 is not a word: put it in quotes"),
        ("- 1\n", ": should be a mapping of settings"),
        ("", ": should be a mapping of settings"),
        ("[" * 5000, ": nested too deeply"),
        ("seed: !!int 0x\n", ": not YAML: invalid literal"),
    ],
)
def test_yaml_that_cannot_be_read(run_file: Path, text: str, message: str):
    run_file.write_text(text, encoding="utf-8")
    (line,) = faults(run_file)
    assert line.startswith(f"{run_file}{message}")


def test_files_that_cannot_be_read(tmp_path: Path):
    assert "no.yaml: cannot be read (No such file or directory)" in faults(tmp_path / "no.yaml")[0]
    assert "cannot be read (Is a directory)" in faults(tmp_path)[0]
    (tmp_path / "latin.yaml").write_bytes("seed: é".encode("latin-1"))
    assert faults(tmp_path / "latin.yaml") == [f"{tmp_path / 'latin.yaml'}: is not UTF-8 text (byte 6)"]


def test_words_and_numbers_are_what_they_look_like():
    text = "a: 1e-4\nb: no\nc: 1:30\nd: 010\ne: '1e-4'\nf: 2020-01-01\ng: .inf\nh: null\ni: -3\nj: 1_000\nk: 5.\n"
    values = strict_yaml.parse(text, "text")
    expected = {"a": 1e-4, "b": "no", "c": "1:30", "d": 10, "e": "1e-4", "f": "2020-01-01", "g": float("inf")}
    assert values == expected | {"h": None, "i": -3, "j": "1_000", "k": 5.0}
    assert strict_yaml.parse(strict_yaml.write(values), "text") == values


def test_importing_the_schema_and_listing_names_imports_no_plugin():
    assert "pretend_method" in plugins.names("algorithms")
    assert "posttrain.algorithms.pretend_method" not in sys.modules


def test_find_takes_the_first_kind_that_has_the_name():
    assert plugins.find(("data.sources", "worlds"), "pretend_world").__name__ == "posttrain.worlds.pretend_world"


def test_a_run_can_be_written_in_python(run_file: Path):
    loaded = config.load(run_file)
    reward = config.RewardSettings.model_validate({"choice": loaded.rewards[0].choice, "weight": 2})
    assert (reward.name, reward.weight) == ("pretend_reward", 2.0)
    assert isinstance(reward.choice, Choice)
    assert loaded.model_copy(update={"rewards": (reward,)}).rewards[0].weight == 2.0


@pytest.mark.parametrize(
    "section",
    [value for value in vars(config).values() if isinstance(value, type) and issubclass(value, config.Section)],
    ids=lambda section: section.__name__,
)
def test_every_setting_is_described(section: type[BaseModel]):
    assert section.__doc__
    assert [name for name, field in section.model_fields.items() if not field.description] == []


CONFIGS = Path(__file__).parents[1] / "configs"


@pytest.mark.parametrize(
    "path",
    [
        path
        for path in sorted(CONFIGS.rglob("*.yaml"))
        if path.parent.name != "frontier" and not path.name.startswith("iterate_")
    ],  # those are of many runs
    ids=lambda path: path.stem,
)
def test_a_committed_config_is_sound(path: Path):
    config.load(path)
