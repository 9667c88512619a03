"""A whole sweep in seconds: its numbers, its pictures, and that a second call makes only what is missing."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from posttrain import cli
from posttrain.frontier import sweep
from posttrain.training.run_folder import RunLock
from posttrain.worlds.reviews.lexicon import sentiment
from tests.frontier.tiny_sweep import write_sweep
from tests.tiny_studies import count_runs


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("frontier")
    assert cli.main(["frontier", str(write_sweep(folder)), "--out", str(folder / "out")]) == 0
    return folder / "out"


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    return count_runs(monkeypatch)


def again(out: Path, *more: str) -> dict[str, Any]:
    assert cli.main(["frontier", str(out.parent / "sweep.yaml"), "--out", str(out), *more]) == 0
    return results(out)


def results(out: Path) -> dict[str, Any]:
    return json.loads((out / "results.json").read_text())


def by_name(found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {point["name"]: point for point in found["points"]}


def test_every_point_has_its_numbers_within_their_intervals(done: Path):
    points = by_name(results(done))
    assert list(points) == [
        "sft", "best_of_n-n=2", "best_of_n-n=4", "ppo-kl_weight=0.5-seed0", "ppo-kl_weight=0.1-seed0",
        "dpo-beta=0.1-seed0", "preferred_sft-seed0",
    ]  # fmt: skip
    for point in points.values():
        for name in ("gold", "learned", "kl", "length", "repetition", "cut_share"):
            cell = point["measures"][name]
            assert cell["low"] - 1e-9 <= cell["mean"] <= cell["high"] + 1e-9
            assert cell["n"] == 6
    kl = {name: point["measures"]["kl"]["mean"] for name, point in points.items()}
    assert kl["sft"] == 0
    assert kl["best_of_n-n=4"] == pytest.approx(math.log(4) - 3 / 4)
    assert all(kl[name] > 1e-4 for name in kl if "-seed" in name)
    learned = [points[name]["measures"]["learned"]["mean"] for name in ("sft", "best_of_n-n=2", "best_of_n-n=4")]
    assert learned == sorted(learned)


def test_the_gold_reward_is_that_of_the_recorded_responses(done: Path):
    for name, point in by_name(results(done)).items():
        if "-seed" in name:
            rows = [json.loads(line) for line in (done / point["folder"] / "responses.jsonl").read_text().splitlines()]
            assert [row["gold"] for row in rows] == pytest.approx(
                [sentiment(row["response"]) for row in rows], abs=1e-6
            )
            assert point["measures"]["gold"]["mean"] == pytest.approx(sum(row["gold"] for row in rows) / 6)


def test_what_is_watched_has_a_row_for_each_evaluation(done: Path):
    points = by_name(results(done))
    assert [row["step"] for row in points["ppo-kl_weight=0.1-seed0"]["along"]] == [0, 1, 2]
    assert "along" not in points["dpo-beta=0.1-seed0"]


def test_the_pictures_and_the_page(done: Path):
    for name in ("frontier.png", "over_optimisation.png"):
        assert (done / name).read_bytes().startswith(b"\x89PNG")
    page = (done / "report.html").read_text()
    assert page.count("<svg") == 3
    assert "best-of-n" in page


def test_a_second_call_trains_nothing_and_a_missing_point_alone_is_made_again(done: Path, trained: list[str]):
    before = results(done)
    assert again(done)["points"] == before["points"]
    assert trained == []
    folder = done / by_name(before)["ppo-kl_weight=0.1-seed0"]["folder"]
    (folder / "part.json").unlink()  # as if it had been killed between training and measuring
    found = again(done)
    assert trained == ["resume ppo-kl_weight=0.1-seed0"]
    assert without_seconds(found["points"]) == without_seconds(before["points"])


def without_seconds(points: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: value for key, value in point.items() if key != "seconds"} for point in points]


def test_a_stopped_run_goes_on_to_the_same_numbers(
    done: Path, tmp_path: Path, trained: list[str], monkeypatch: pytest.MonkeyPatch
):
    """Killed between two steps of the third run: what is done stays, the third run goes on, the rest is made."""
    out = tmp_path / "out"
    path = write_sweep(tmp_path)
    from posttrain.training.trainer import Trainer

    one_step, steps = Trainer._one_step, []

    def dying(self: Trainer) -> str | None:
        if "ppo" in trained[-1] and len(steps) == 1:
            raise KeyboardInterrupt
        steps.extend([1] if "ppo" in trained[-1] else [])
        return one_step(self)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_one_step", dying)
        assert cli.main(["frontier", str(path), "--out", str(out)]) == 130
    assert trained[-1] == "train ppo-kl_weight=0.5-seed0"
    trained.clear()
    found = again(out)
    assert trained[0] == "resume ppo-kl_weight=0.5-seed0"
    assert len(trained) == 4
    assert without_seconds(found["points"]) == without_seconds(results(done)["points"])


def test_another_grid_in_the_same_folder_shares_what_it_can(done: Path, trained: list[str]):
    found = again(done, "methods.dpo.values=[0.1, 0.2]", "methods.ppo.values=[0.5]")
    assert trained == ["train dpo-beta=0.2-seed0"]
    assert len(found["points"]) == 7


def test_two_sweeps_in_one_folder_and_other_contents_are_refused(
    done: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    lock = RunLock.acquire(done)
    command = ["frontier", str(done.parent / "sweep.yaml"), "--out"]
    assert cli.main([*command, str(done)]) == 2
    lock.release()
    (tmp_path / "notes.txt").write_text("mine")
    assert cli.main([*command, str(tmp_path)]) == 2
    (first, second) = capsys.readouterr().err.splitlines()
    assert "wait for its end" in first
    assert "is not empty and holds no sweep" in second


def test_the_settings_are_kept(done: Path):
    assert "max_new_tokens: 12" in (done / sweep.SETTINGS).read_text()
