"""Parts of a study: made once, found again, made anew where what they stand on has changed."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from posttrain.errors import EnvironmentFault, InputError
from posttrain.studies.study import Made, Study


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return Study(tmp_path / "out")


def maker(calls: list[str], name: str) -> Callable[[Path], Mapping[str, Any]]:
    def make(folder: Path) -> Mapping[str, Any]:
        calls.append(name)
        (folder / "text").write_text(name)
        return {"length": len(name)}

    return make


def test_a_part_is_made_once_with_its_facts(study: Study):
    calls: list[str] = []
    first = study.part("words", {"n": 1}, (), maker(calls, "words"))
    again = Study(study.out).part("words", {"n": 1}, (), maker(calls, "words"))
    assert calls == ["words"]
    assert first.facts == again.facts == {"length": 5}
    assert (again.folder / "text").read_text() == "words"


def test_other_settings_or_inputs_are_another_part(study: Study):
    calls: list[str] = []
    one = study.part("one", 1, (), maker(calls, "one"))
    other = study.part("one", 2, (), maker(calls, "one"))
    of_one, of_other = (study.part("both", 0, [it], maker(calls, "both")) for it in (one, other))
    assert calls == ["one", "one", "both", "both"]
    assert len({it.folder for it in (one, other, of_one, of_other)}) == 4


def test_a_part_that_was_stopped_is_made_again(study: Study):
    def stopped(folder: Path) -> Mapping[str, Any]:
        (folder / "half").write_text("half")
        raise KeyboardInterrupt

    calls: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        study.part("words", 1, (), stopped)
    study.part("words", 1, (), maker(calls, "words"))
    assert calls == ["words"]


def test_two_processes_do_not_share_a_folder(study: Study):
    lock = study.lock({"study": "x"})
    with pytest.raises((InputError, EnvironmentFault), match=str(study.out)):
        Study(study.out).lock({"study": "x"})
    lock.release()
    Study(study.out).lock({"study": "x"}).release()


def test_a_folder_that_holds_something_else_is_refused(tmp_path: Path):
    (tmp_path / "thesis.tex").write_text("do not touch")
    with pytest.raises(InputError, match="holds no study"):
        Study(tmp_path).lock({})
    with pytest.raises(InputError, match="is a file"):
        Study(tmp_path / "thesis.tex").lock({})


def test_a_study_that_was_copied_without_its_lock_goes_on(study: Study):
    study.lock({"study": "x"}).release()
    (study.out / ".lock").unlink()
    Study(study.out).lock({"study": "x"}).release()


def tiny_run(folder: Path, study: Study, model: str, inputs: list[Made]) -> Made:
    file = folder / "run.yaml"
    file.write_text(
        """
model: {path: none}
algorithm: {name: sft}
data:
  train: {source: grounded_qa, split: demonstrations, num: 8}
  max_prompt_tokens: 224
  max_response_tokens: 96
training: {num_steps: 1, batch_size: 4, learning_rate: 0.001}
"""
    )
    return study.train("sft", file, 0, inputs, {"model.path": model})


def test_a_trained_part_is_found_again_and_moves_with_its_folder(study: Study, tmp_path: Path):
    first = tiny_run(tmp_path, study, "builtin/encoder_decoder", [])
    assert (first.model / "config.json").exists()
    written = (first.folder / "metrics.jsonl").stat().st_mtime_ns
    assert tiny_run(tmp_path, Study(study.out), "builtin/encoder_decoder", []).folder == first.folder
    assert (first.folder / "metrics.jsonl").stat().st_mtime_ns == written
    moved = study.out.rename(tmp_path / "moved")
    again = tiny_run(tmp_path, Study(moved), "builtin/encoder_decoder", [])
    assert again.place.mark == first.place.mark
    assert json.loads((again.folder / "part.json").read_text())["mark"] == first.place.mark


def test_a_run_on_a_changed_input_is_another(study: Study, tmp_path: Path):
    first = tiny_run(tmp_path, study, "builtin/encoder_decoder", [])
    second = study.train("sft", tmp_path / "run.yaml", 0, [first], {"model.path": first.model})
    assert second.folder != first.folder
