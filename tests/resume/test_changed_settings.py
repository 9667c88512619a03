"""A resume under other settings than the run began with is another run, and says so."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.resume.small_runs import (
    Command,
    bits,
    config_of,
    num_lines,
    status_of,
    trained_steps,
    write_config,
)


@pytest.fixture
def run(material: Path, tmp_path: Path) -> Path:
    """A run of 6 steps, killed after the checkpoint of step 3."""
    config = write_config(tmp_path / "run.yaml", config_of(material, "sft", 6))
    command = Command(tmp_path / "errors", "train", config, "--out", tmp_path / "run")
    command.kill_when(lambda: num_lines(tmp_path / "run" / "metrics.jsonl") >= 4)
    return tmp_path / "run"


def change(run: Path, section: str, **settings: Any) -> None:
    config = yaml.safe_load((run / "config.yaml").read_text())
    config[section] |= settings
    (run / "config.yaml").write_text(yaml.safe_dump(config))


def resume(run: Path, *options: str) -> tuple[int, str]:
    return Command(run.parent / "errors", "resume", run, *options).finish()


def test_a_changed_setting_is_named_and_the_run_goes_on_only_if_allowed(run: Path) -> None:
    change(run, "training", learning_rate=0.02, num_steps=7)
    code, errors = resume(run)
    assert code == 2
    assert "training.num_steps 6 -> 7, training.learning_rate 0.01 -> 0.02. Restore these" in errors
    assert errors.count("\n") == 1
    code, errors = resume(run, "--allow-inexact")
    assert code == 0, errors
    assert "warning: resuming inexactly: training.num_steps 6 -> 7" in errors
    assert trained_steps(run) == list(range(1, 8))
    note = json.loads((run / "notes.jsonl").read_text())
    assert note == {"inexact_resume": ["training.num_steps 6 -> 7", "training.learning_rate 0.01 -> 0.02"]}


def test_settings_that_the_checkpoint_does_not_fit_are_an_error_of_the_user(run: Path, material: Path) -> None:
    change(run, "model", path=str(material / "gpt2"))
    code, errors = resume(run, "--allow-inexact")
    assert code == 2
    assert "the checkpoint does not fit the model and optimiser of config.yaml" in errors


def test_a_finished_run_is_taken_up_again_only_for_changed_settings(run: Path) -> None:
    assert resume(run)[0] == 0
    before = bits(run)
    assert resume(run, "--allow-inexact")[0] == 0
    assert bits(run) == before
    change(run, "training", num_steps=8)
    code, errors = resume(run)
    assert code == 2
    assert "training.num_steps 6 -> 8" in errors
    assert bits(run) == before
    code, errors = resume(run, "--allow-inexact")
    assert code == 0, errors
    assert trained_steps(run) == list(range(1, 9))
    assert (status_of(run)["state"], status_of(run)["step"]) == ("done", 8)
