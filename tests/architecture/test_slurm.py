"""The batch scripts run what is there: bash reads them, and their commands take the words and settings given."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest

from posttrain import cli, config

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted((ROOT / "slurm").glob("*.sbatch"))


def commands(script: Path) -> list[list[str]]:
    """The words of each `posttrain ...`, with the variables as they stand."""
    text = script.read_text().replace("\\\n", " ")
    return [shlex.split(line)[1:] for line in text.splitlines() if line.startswith("posttrain ")]


def test_there_is_one_for_each_step_on_a_pretrained_model():
    names = {path.stem for path in (ROOT / "configs" / "qa_feedback").glob("*.yaml")}
    assert {path.stem for path in SCRIPTS} == names - {"base"}


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_bash_and_posttrain_understand_it(script: Path):
    subprocess.run(["bash", "-n", str(script)], check=True)
    text = script.read_text()
    assert "\nset -euo pipefail\n" in text
    assert text.index("#SBATCH") < text.index("set -euo"), "Slurm stops reading at the first command"
    found = commands(script)
    assert ["train", f"configs/qa_feedback/{script.stem}.yaml"] in [words[:2] for words in found]
    for words in found:
        arguments = cli._parsed([word for word in words if word != "$@"])
        named = [word for word in words if word.startswith("configs/")]
        assert len(named) == (arguments.command != "data")
        for name in named:
            loaded = config.load(ROOT / name, arguments.overrides)
            assert str(loaded.data.train.settings.path).startswith(("$QA_DATA/", "../shared"))
            assert Path(loaded.out or "").name == script.stem


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_every_variable_is_given_or_asked_for(script: Path):
    text = script.read_text()
    used = set(re.findall(r"\$\{?([A-Z_]+)", text))
    asked = set(re.findall(r"\$\{([A-Z_]+):[?-]", text))
    assert used - asked <= {"SLURM_SUBMIT_DIR", "PATH"}
