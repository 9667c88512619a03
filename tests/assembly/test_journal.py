"""One line of metrics goes to the log, the console and the diagnostics, and what they tell of goes to the log too."""

import json
from pathlib import Path
from typing import Any

import pytest

from posttrain.assembly import journal as journal_module
from posttrain.assembly.journal import Journal, watch
from posttrain.config import parse
from posttrain.training.metrics import Metrics
from posttrain.training.progress import Progress
from tests.assembly.test_parts import REWARD, SOURCE

NAME = "rollout/repetition"


class Console:
    """Keeps the warnings."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def warning(self, pattern: str, *arguments: Any) -> None:
        self.lines.append(pattern % arguments)


@pytest.fixture
def console(monkeypatch: pytest.MonkeyPatch) -> Console:
    console = Console()
    monkeypatch.setattr(journal_module, "log", console)
    return console


def journal(folder: Path, **sections: Any) -> Journal:
    values = {
        "model": {"path": "unread"}, "algorithm": {"name": "ppo"},
        "data": {"train": SOURCE, "max_prompt_tokens": 9, "max_response_tokens": 9},
        "training": {"num_steps": 1, "batch_size": 1, "learning_rate": 0.1}, **sections,
    }  # fmt: skip
    folder.mkdir(exist_ok=True)
    return Journal(Metrics(folder), Progress("test", is_shown=False), watch(parse(values, "test")))


def test_a_diagnostic_is_told_of_once_on_the_console_and_after_its_line_in_the_log(tmp_path: Path, console: Console):
    it = journal(tmp_path, diagnostics={"repetition": 0.5})
    for step in range(1, 8):
        it.write(step, {NAME: 0.75})
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5, 5, 6, 7]
    found = {"name": "repetition", "metric": NAME, "value": 0.75, "threshold": 0.5}
    assert lines[5] == {"step": 5, "diagnostic": found}
    (line,) = console.lines
    assert line.startswith("step 5: repetition (")


@pytest.mark.parametrize("num_saved", [3, 5, 6])
def test_a_resumed_journal_has_the_bytes_of_an_undisturbed_one(tmp_path: Path, num_saved: int, console: Console):
    def write(it: Journal, steps: range) -> None:
        for step in steps:
            it.write(step, {NAME: 0.4 + step / 100})

    write(journal(tmp_path / "undisturbed"), range(1, 9))
    killed = journal(tmp_path / "killed")
    write(killed, range(1, num_saved + 1))
    state = json.loads(json.dumps(killed.state_dict()))
    write(killed, range(num_saved + 1, 8))
    console.lines.clear()
    resumed = journal(tmp_path / "killed")
    resumed.load_state_dict(state)
    write(resumed, range(num_saved + 1, 9))
    logs = [(tmp_path / name / "metrics.jsonl").read_bytes() for name in ("undisturbed", "killed")]
    assert logs[0].count(b"diagnostic") == 1
    assert logs[0] == logs[1]
    assert len(console.lines) == (1 if num_saved < 5 else 0), "what the checkpoint knows of is not said again"


def test_a_run_without_a_checkpoint_begins_anew(tmp_path: Path, console: Console):
    journal(tmp_path).write(1, {NAME: 1.0})
    journal(tmp_path).load_state_dict(None)
    assert (tmp_path / "metrics.jsonl").read_bytes() == b""


def test_the_learned_reward_is_the_weighted_sum_of_the_rewards(tmp_path: Path, console: Console):
    rewards = [REWARD | {"name": "a", "weight": 2.0}, REWARD | {"name": "gold", "weight": 0.0}]
    it = journal(tmp_path, rewards=rewards, diagnostics={"judge": "reward/gold", "judge_falls": 1})
    for step, (a, gold) in enumerate([(1.0, 0.5), (2.0, 0.4), (3.0, 0.3)]):
        it.write(step, {"eval/reward/a": a, "eval/reward/gold": gold})
    assert len(console.lines) == 1
    assert console.lines[0].startswith("step 2: judge_falls (")
    without = journal(tmp_path / "dpo", diagnostics={"judge": "rougeL", "judge_falls": 0})
    without.write(0, {"eval/margin": 0.0, "eval/rougeL": 0.5})
    without.write(9, {"eval/margin": 0.1, "eval/rougeL": 0.4})
    assert console.lines[1].startswith("step 9: judge_falls (")
