"""A sweep is read strictly and planned whole: each fault has a line with its setting, before anything is trained."""

from pathlib import Path

import pytest

from posttrain import cli
from posttrain.errors import InputError
from posttrain.frontier import settings
from posttrain.frontier.plan import plan
from tests.frontier.tiny_sweep import write_sweep

CONFIGS = sorted((Path(__file__).parents[2] / "configs" / "frontier").glob("*.yaml"))


def names(path: Path, *overrides: str, is_quick: bool = False) -> list[str]:
    return [point.name for point in settings.load(path, overrides, is_quick)[1]]


def test_points_are_methods_by_values_by_seeds(tmp_path: Path):
    path = write_sweep(tmp_path)
    ppo = ["ppo-kl_weight=0.5-seed0", "ppo-kl_weight=0.1-seed0"]
    assert names(path) == [*ppo, "dpo-beta=0.1-seed0", "preferred_sft-seed0"]
    quick = ["ppo-kl_weight=0.5-seed3", "dpo-beta=0.1-seed3", "preferred_sft-seed3"]
    assert names(path, is_quick=True) == quick
    assert names(path, "methods.dpo.values=[2, 3]", "seeds=[1, 2]")[4:8] == [
        "dpo-beta=2-seed1", "dpo-beta=2-seed2", "dpo-beta=3-seed1", "dpo-beta=3-seed2",
    ]  # fmt: skip
    (_, first, *_) = settings.load(path)[1]
    assert first.run.algorithm.settings.model_dump()["kl_weight"] == 0.1


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("max_new_tokens: 12\n", "max_new_token: 12\n", "max_new_token is not a setting; did you mean max_new_tokens?"),
        ("num_steps: 20", "num_stepz: 20", "base.training.num_stepz is not a setting; did you mean num_steps?"),
        ("is_watched: true", "is_wotched: true", "methods.0.is_wotched is not a setting; did you mean is_watched?"),
        ("kind: reviews_sentiment", "kind: review_sentiment", "did you mean reviews_sentiment?"),
        ("algorithm.kl_weight", "algorithm.kl_wight", "algorithm.kl_wight is not a setting; did you mean kl_weight?"),
        ("algorithm.kl_weight", "algoritm.kl_weight", "varies: the run has no section algoritm"),
        ("values: [0.5, 0.1]", "values: [0.5, -1]", "algorithm.kl_weight should be greater than or equal to 0, not -1"),
        ("values: [0.5, 0.1]", "values: [0.5, 0.5]", "methods.0: a value is given twice"),
        ("best_of: [2, 4]", "best_of: [2, 8]", "best_of 8 needs measuring.num_samples of at least 8"),
        ("best_of: [2, 4]", "varies: algorithm.beta", "give exactly one of run and best_of"),
        ("  algorithm: {name: sft}", "  seed: 3\n  algorithm: {name: sft}", "base.seed: belongs to the sweep"),
        ("generate: true, ", "", "is_watched needs values, and a run with evaluation.generate and data.evaluation"),
        ("name: dpo\n", "name: ppo\n", "two have the same name"),
        ("- methods.ppo.values", "- methods.po.values", "no method is called po; did you mean ppo?"),
        ("num_threads: 1", "num_threads: [1", "sweep.yaml:3: "),
    ],
)  # fmt: skip
def test_a_fault_names_its_setting(old: str, new: str, message: str, tmp_path: Path):
    path = write_sweep(tmp_path, (old, new))
    with pytest.raises(InputError) as caught:
        settings.load(path, (), is_quick="methods.po" in new)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)


def test_quick_needs_settings_of_its_own(tmp_path: Path):
    path = write_sweep(tmp_path, ("quick:\n- methods.ppo.values=[0.5]\n- seeds=[3]\n", ""))
    assert names(path)
    with pytest.raises(InputError, match="quick is missing or empty"):
        settings.load(path, (), is_quick=True)


def test_a_fault_on_the_command_line_is_a_line_and_makes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path = write_sweep(tmp_path)
    assert cli.main(["frontier", str(path), "--out", str(tmp_path / "out"), "sed=1"]) == 2
    assert capsys.readouterr().err == f"posttrain: {path} with overrides: sed is not a setting; did you mean seed?\n"
    assert not (tmp_path / "out").exists()


def places(path: Path, *overrides: str) -> dict[str, str]:
    made = plan(*settings.load(path, overrides), Path("out"))
    runs = {name: str(it.place.folder) for name, it in made.runs.items()}
    points = {it.name: str(it.place.folder) for it in made.points}
    return runs | points | {"preferences": str(made.preferences.folder), "samples": str(made.samples.folder)}


def changed(path: Path, *overrides: str) -> set[str]:
    before, after = places(path), places(path, *overrides)
    return {name for name in before if before[name] != after.get(name)}


def test_a_changed_setting_moves_what_depends_on_it_and_nothing_else(tmp_path: Path):
    path = write_sweep(tmp_path)
    everything = set(places(path))
    points = {name for name in everything if "-seed" in name}
    assert changed(path) == set()
    assert changed(path, "base.training.num_steps=3") == everything
    assert changed(path, "labels.annotators.scale=2") == everything - {"base", "sft"}
    reading_pairs = {"dpo-beta=0.1-seed0", "preferred_sft-seed0"}
    assert changed(path, "reward_model.training.num_steps=3") == {"reward_model", "samples", *points} - reading_pairs
    assert changed(path, "measuring.num_samples=5") == {"samples"}
    assert changed(path, "methods.ppo.run.training.num_steps=3") == {name for name in points if "ppo" in name}
    assert changed(path, "methods.ppo.values=[0.5, 0.3]") == {"ppo-kl_weight=0.1-seed0"}
    assert changed(path, "num_threads=2") == set()


def test_paths_of_earlier_parts_are_filled_in(tmp_path: Path):
    made = plan(*settings.load(write_sweep(tmp_path)), Path("out"))
    sft, reward_model = (str(made.runs[name].place.folder / "model") for name in ("sft", "reward_model"))
    ppo, dpo = made.points[0].run, made.points[2].run
    assert ppo.model.path == ppo.reference == sft
    assert ppo.rewards[0].choice.settings.model_dump()["model"] == reward_model
    assert dpo.data.train.settings.model_dump(mode="json")["path"] == str(made.preferences.folder / "train.jsonl")
    assert (ppo.seed, ppo.num_threads, ppo.out) == (0, 1, str(made.points[0].place.folder))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("model: {path: base/model}", "model: {path: judge/model}", "sft.model.path: judge/model: there is no judge"),
        ("kind: reviews_sentiment", "kind: sequence_model, model: reward_model/model",
         "there is no reward_model in this sweep by then; made before it: base, sft"),
    ],
)  # fmt: skip
def test_a_part_cannot_name_a_later_one(old: str, new: str, message: str, tmp_path: Path):
    path = write_sweep(tmp_path, (old, new))
    with pytest.raises(InputError, match=message):
        plan(*settings.load(path), Path("out"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
@pytest.mark.parametrize("is_quick", [False, True])
def test_a_committed_sweep_is_sound(path: Path, is_quick: bool):
    config, points = settings.load(path, (), is_quick)
    assert len(plan(config, points, Path("out")).points) == len(points) > 3
