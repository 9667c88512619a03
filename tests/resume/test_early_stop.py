"""A run that the algorithm ends early ends the same way when it is killed between that decision and its end."""

from pathlib import Path

import pytest

from tests.resume.small_runs import Command, bits, config_of, status_of, trained_steps, write_config

NUM_STEPS, SAVE_EVERY = 12, 3


@pytest.fixture(scope="module")
def stopped(material: Path, tmp_path_factory) -> Path:
    """The folder of an undisturbed run that stops early, and of its run.yaml."""
    folder = tmp_path_factory.mktemp("stopped")
    config = config_of(material, "ppo", NUM_STEPS)
    config["algorithm"]["reference_kl_limit"] = 0.15
    config["training"]["learning_rate"] = 0.001
    config["data"]["evaluation"] = dict(config["data"]["train"])
    config["evaluation"] = {"generate": True, "num_examples": 8}
    config["checkpoint"]["every"] = SAVE_EVERY
    file = write_config(folder / "run.yaml", config)
    code, errors = Command(folder / "errors", "train", file, "--out", folder / "run").finish()
    assert code == 0, errors
    assert "early: KL to the reference is" in errors
    return folder


@pytest.mark.parametrize("moment", ["before its checkpoint", "before the model is written", "before it is done"])
def test_killed_after_an_early_stop(stopped: Path, tmp_path: Path, moment: str) -> None:
    undisturbed = status_of(stopped / "run")
    last = undisturbed["step"]
    assert SAVE_EVERY < last < NUM_STEPS
    assert last % SAVE_EVERY != 0, "so that it is the stop that asks for the last checkpoint"
    num_saves = last // SAVE_EVERY + 1
    die_at = {
        "before its checkpoint": ("posttrain.training.trainer.Trainer.state_dict", num_saves),
        "before the model is written": ("posttrain.assembly.exporting.export", 1),
        "before it is done": ("posttrain.training.run_folder.RunFolder.record", num_saves + 2),  # 2: start and end
    }[moment]
    run, errors_file = tmp_path / "run", tmp_path / "errors"
    assert Command(errors_file, "train", stopped / "run.yaml", "--out", run, die_at=die_at).finish()[0] == -9
    assert trained_steps(run) == list(range(1, last + 1)), "it was killed after the step that made it stop"
    assert status_of(run)["state"] == "running"

    code, errors = Command(errors_file, "resume", run).finish()
    assert code == 0, errors
    assert f"early: {undisturbed['stop_reason']}; peak memory" in errors
    assert undisturbed["stop_reason"].startswith("KL to the reference is ")
    assert {name: status_of(run)[name] for name in ("state", "step", "stop_reason")} == {
        name: undisturbed[name] for name in ("state", "step", "stop_reason")
    }
    assert bits(run) == bits(stopped / "run")
