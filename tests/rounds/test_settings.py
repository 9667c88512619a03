"""Faults of the file are named before anything is trained."""

from pathlib import Path

import pytest

from posttrain import cli
from posttrain.data.records import Prompt
from posttrain.rounds import settings
from posttrain.rounds.answers import distinct
from tests.rounds.tiny_rounds import write_rounds

FAULTS = [
    (("rounds: [[imitate_best, ppo], [dpo]]", "rounds: [[ppoo]]"), "there is no method ppoo; methods has ppo"),
    (("rounds: [[imitate_best, ppo], [dpo]]", "rounds: [[]]"), "rounds"),
    (("prompts_per_round: 12", "prompts_per_round: 4"), "4 of 4 prompts leave none to learn from"),
    (("samples_per_prompt: 3", "samples_per_prompt: 1"), "samples_per_prompt"),
    (("  simulated: {scale: 100.0}\nreward", "reward"), "give exactly one of simulated, judge and people"),
    (("gold: {kind: reviews_sentiment}\n", ""), "gold is missing: simulated annotators judge by it"),
    (("max_new_tokens: 12\n", "max_new_tokens: 12\nstart: somewhere\n"), "give exactly one of sft and start"),
    (("    checkpoint: {every: 1}", "    seed: 3"), "methods.ppo.seed: belongs to the rounds"),
    (("  ppo:\n", "  Ppo:\n"), "methods"),
    (("measuring:\n", "measurin:\n"), "measurin"),
]


@pytest.mark.parametrize(("replaced", "told"), FAULTS)
def test_a_fault_is_named(replaced: tuple[str, str], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path = write_rounds(tmp_path, replaced)
    assert cli.main(["iterate", str(path), "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert told in said
    assert str(path) in said
    assert not (tmp_path / "out").exists()


def test_too_few_prompts_are_told_with_their_number(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path = write_rounds(tmp_path, ("split: prompts, num: 32", "split: prompts, num: 28"))
    assert cli.main(["iterate", str(path), "--out", str(tmp_path / "out")]) == 2
    assert "the rounds answer 29 prompts, and source reviews gives 28 different ones" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_prompt_that_comes_twice_serves_once():
    prompts = [Prompt("a", "1"), Prompt("b", "2"), Prompt("a", "3"), Prompt("c", "4")]
    assert [prompt.id for prompt in distinct(prompts)] == ["1", "2", "4"]


def test_a_part_that_is_not_made_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    text = write_rounds(tmp_path).read_text()
    own = text[text.index("judge_model:\n") : text.index("base:\n")]
    (tmp_path / "rounds.yaml").write_text(text.replace(own, ""))
    assert cli.main(["iterate", str(tmp_path / "rounds.yaml"), "--out", str(tmp_path / "out")]) == 2
    assert "there is no judge_model in this loop by then" in capsys.readouterr().err


def test_the_file_that_is_shipped_is_sound():
    config = settings.load(Path(__file__).parents[2] / "configs" / "iterate_quick.yaml")
    assert len(config.rounds) == 3
    assert config.labels.simulated is not None
