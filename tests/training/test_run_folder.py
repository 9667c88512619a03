"""One run, one folder, one writer; and no resume under other conditions that passes for an exact one."""

import json
import mmap
import os
import signal
import time
from pathlib import Path

import pytest
import torch

from posttrain.errors import EnvironmentFault, InputError
from posttrain.reading import strict_yaml
from posttrain.training import checkpoint
from posttrain.training.run_folder import RunFolder, RunLock, peak_rss_mb, read_config, read_status
from tests.training import forked

CONFIG = {"seed": 3, "algorithm": {"name": "ppo", "clip": 0.2}, "title": "größer"}


def refuse(message: str) -> None:
    raise AssertionError(f"unexpected warning: {message}")


def everything_in(path: Path) -> dict[str, bytes | None]:
    return {str(file.relative_to(path)): file.read_bytes() if file.is_file() else None for file in path.rglob("*")}


def test_what_a_new_run_holds(tmp_path: Path):
    with RunFolder.create(tmp_path / "deep" / "run", CONFIG, world_size=2) as run:
        assert list(read_config(run.path).items()) == list(CONFIG.items())
        assert "größer" in (run.path / "config.yaml").read_text(encoding="utf-8")
        versions = json.loads((run.path / "versions.json").read_text())
        assert versions["torch"] == torch.__version__
        assert versions["threads"] == torch.get_num_threads()
        assert versions["world_size"] == 2
        assert versions.keys() >= {"posttrain", "python", "transformers", "platform", "cpu", "git_commit"}
        assert run.checkpoints.is_dir()
        assert run.generations.is_dir()
        assert (run.path / ".lock").read_text() == str(os.getpid())


def test_a_run_is_not_overwritten(tmp_path: Path):
    RunFolder.create(tmp_path, CONFIG).close()
    before = everything_in(tmp_path)
    with pytest.raises(InputError, match=r"already holds a run; resume it with `posttrain resume .*--out"):
        RunFolder.create(tmp_path, CONFIG)
    assert everything_in(tmp_path) == before


def test_a_run_made_just_before_we_had_the_lock_is_not_overwritten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    acquire = RunLock.acquire

    def acquire_late(folder: Path) -> RunLock:
        monkeypatch.undo()
        RunFolder.create(folder, {"seed": 4}).close()
        return acquire(folder)

    monkeypatch.setattr(RunLock, "acquire", acquire_late)
    with pytest.raises(InputError, match="already holds a run"):
        RunFolder.create(tmp_path, CONFIG)
    assert read_config(tmp_path) == {"seed": 4}
    assert (tmp_path / ".lock").read_text() == ""  # nobody writes here
    RunFolder.open(tmp_path, refuse).close()


@pytest.mark.parametrize("foreign", ["notes.txt", "model/weights", "checkpoints/step-00000001/state.json"])
def test_a_folder_with_other_things_is_refused_untouched(tmp_path: Path, foreign: str):
    (tmp_path / foreign).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / foreign).write_text("mine")
    before = everything_in(tmp_path)
    with pytest.raises(InputError, match=rf"is not empty \(it has {foreign.split('/')[0]}\)"):
        RunFolder.create(tmp_path, CONFIG)
    assert everything_in(tmp_path) == before


@pytest.mark.parametrize("inside", ["", "run", "deep/run"])
def test_a_file_is_no_folder(tmp_path: Path, inside: str):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match="file: is a file"):
        RunFolder.create(tmp_path / "file" / inside, CONFIG)


def test_a_creation_that_was_killed_is_begun_again(tmp_path: Path):
    RunFolder.create(tmp_path, CONFIG).close()
    (tmp_path / "config.yaml").rename(tmp_path / ".tmp-config.yaml")  # killed just before the last rename
    with RunFolder.create(tmp_path, CONFIG) as run:
        assert read_config(run.path) == CONFIG


def test_opening_removes_what_an_unfinished_save_left(tmp_path: Path):
    with RunFolder.create(tmp_path, CONFIG) as run:
        checkpoint.save(run.checkpoints, 1, {"loop": 1}, keep=1)
        (run.checkpoints / ".tmp-step-00000002").mkdir()
        (run.checkpoints / ".tmp-step-00000002" / "model.safetensors").write_text("part")
        run_id = run.run_id
    with RunFolder.open(tmp_path, refuse) as run:
        assert [path.name for path in run.checkpoints.iterdir()] == ["step-00000001"]
        assert run.config == CONFIG
        assert run.run_id == run_id


def test_opening_what_is_no_run(tmp_path: Path):
    for path in (tmp_path, tmp_path / "absent"):
        with pytest.raises(InputError, match="holds no run"):
            RunFolder.open(path, refuse)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["- a list", "a: [", "a: \x00", "!!python/object/apply:os.getcwd []"])
def test_a_config_that_is_not_ours_is_named(tmp_path: Path, text: str):
    RunFolder.create(tmp_path, CONFIG).close()
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(InputError, match=r"config\.yaml(:1)?: "):
        RunFolder.open(tmp_path, refuse)


@pytest.mark.parametrize(("key", "value"), [("torch", "2.0.0"), ("transformers", "4.0"), ("threads", 77)])
def test_other_conditions_are_no_resume(tmp_path: Path, key: str, value: object):
    RunFolder.create(tmp_path, CONFIG).close()
    file = tmp_path / "versions.json"
    versions = json.loads(file.read_text())
    file.write_text(json.dumps({**versions, key: value, "platform": "another, which is allowed"}))
    with pytest.raises(InputError, match=rf"{key} {value} -> .*--allow-inexact"):
        RunFolder.open(tmp_path, refuse)
    warnings: list[str] = []
    RunFolder.open(tmp_path, warnings.append, allow_inexact=True).close()
    assert len(warnings) == 1
    assert f"{key} {value} -> {versions[key]}" in warnings[0]
    assert json.loads((tmp_path / "notes.jsonl").read_text()) == {
        "inexact_resume": [f"{key} {value} -> {versions[key]}"]
    }


def test_other_settings_are_no_resume(tmp_path: Path):
    RunFolder.create(tmp_path, CONFIG).close()
    changed = {"seed": 3, "algorithm": {"name": "ppo", "clip": 0.3}, "title": "größer", "extra": [1]}
    (tmp_path / "config.yaml").write_text(strict_yaml.write(changed), encoding="utf-8")
    before = everything_in(tmp_path)
    with pytest.raises(InputError, match=r": algorithm\.clip 0\.2 -> 0\.3, extra None -> \[1\]\. .*--allow-inexact"):
        RunFolder.open(tmp_path, refuse)
    assert everything_in(tmp_path) == before
    warnings: list[str] = []
    with RunFolder.open(tmp_path, warnings.append, allow_inexact=True) as run:
        assert run.config == changed
    assert warnings == ["resuming inexactly: algorithm.clip 0.2 -> 0.3, extra None -> [1]"]
    assert json.loads((tmp_path / "notes.jsonl").read_text()) == {
        "inexact_resume": ["algorithm.clip 0.2 -> 0.3", "extra None -> [1]"]
    }
    (tmp_path / "config.yaml").write_text(strict_yaml.write(CONFIG), encoding="utf-8")
    RunFolder.open(tmp_path, refuse).close()  # as it was when the run began


def test_settings_whose_copy_is_gone_are_not_taken_for_unchanged(tmp_path: Path):
    RunFolder.create(tmp_path, CONFIG).close()
    (tmp_path / "config_at_start.yaml").unlink()
    with pytest.raises(InputError, match=r"config_at_start\.yaml: missing, .*copy config\.yaml to it"):
        RunFolder.open(tmp_path, refuse)


def test_another_number_of_processes_is_no_resume(tmp_path: Path):
    RunFolder.create(tmp_path, CONFIG, world_size=2).close()
    with pytest.raises(InputError, match="world_size 2 -> 1"):
        RunFolder.open(tmp_path, refuse)
    RunFolder.open(tmp_path, refuse, world_size=2).close()


@pytest.mark.parametrize("text", [None, "", "[]", "{}"])
def test_versions_that_are_not_ours_are_named(tmp_path: Path, text: str | None):
    RunFolder.create(tmp_path, CONFIG).close()
    file = tmp_path / "versions.json"
    file.unlink() if text is None else file.write_text(text)
    with pytest.raises(InputError, match=r"versions\.json: "):
        RunFolder.open(tmp_path, refuse)


def test_status(tmp_path: Path):
    with RunFolder.create(tmp_path, CONFIG) as run:
        assert read_status(tmp_path) is None
        run.record("running", 0)
        run.record("done", 12)
    status = read_status(tmp_path)
    assert status is not None
    assert (status["state"], status["step"]) == ("done", 12)
    assert status["peak_rss_mb"] > 50  # torch alone


def test_peak_memory_grows_by_what_is_used():
    def use_memory() -> None:
        before = peak_rss_mb()
        block = mmap.mmap(-1, 200 * 2**20)  # not from the heap, which may hold as much that was freed
        for page in range(0, len(block), mmap.PAGESIZE):
            block[page] = 1
        assert 195 < peak_rss_mb() - before < 215
        block.close()
        assert peak_rss_mb() - before > 195

    assert forked.wait(forked.start(use_memory)) == 0  # a forked process begins with what is in use, not with a peak


def try_to_create(path: Path, report: Path, until: Path) -> None:
    """Write how it ended to `report`; a winner keeps its lock until `until` exists."""
    started = time.monotonic()
    try:
        run = RunFolder.create(path, CONFIG)
    except InputError as refusal:
        report.with_suffix(".part").write_text(f"{time.monotonic() - started:.3f} {refusal}")
        report.with_suffix(".part").rename(report)
        return
    report.with_suffix(".part").write_text("won")
    report.with_suffix(".part").rename(report)
    forked.wait_until(until.exists)
    run.close()


def test_of_racing_starts_exactly_one_wins(tmp_path: Path):
    for race in range(4):
        path, until = tmp_path / f"run-{race}", tmp_path / f"until-{race}"
        reports = [tmp_path / f"{race}-{number}" for number in range(5)]
        pids = [forked.start(lambda report=report, p=path, u=until: try_to_create(p, report, u)) for report in reports]
        forked.wait_until(lambda reports=reports: all(report.exists() for report in reports))
        until.touch()
        assert [forked.wait(pid) for pid in pids] == [0] * 5
        texts = [report.read_text() for report in reports]
        assert texts.count("won") == 1
        winner = pids[texts.index("won")]
        for text in texts:
            if text != "won":
                seconds, _, message = text.partition(" ")
                assert float(seconds) < 1
                assert f"process {winner} " in message
        assert read_config(path) == CONFIG


def test_a_second_writer_is_told_the_first(tmp_path: Path):
    with RunFolder.create(tmp_path, CONFIG):
        report = tmp_path.parent / f"{tmp_path.name}-report"

        def resume() -> None:
            with pytest.raises(InputError) as error:
                RunFolder.open(tmp_path, refuse)
            report.write_text(f"{error.value.exit_code} {error.value}")

        assert forked.wait(forked.start(resume)) == 0
        assert f"process {os.getpid()} writes this run" in report.read_text()
        assert report.read_text().startswith("2 ")


def test_the_lock_dies_with_its_process_though_a_worker_lives_on(tmp_path: Path):
    worker = tmp_path / "worker"

    def hold() -> None:
        run = RunFolder.create(tmp_path / "run", CONFIG)
        pid = forked.start(lambda: time.sleep(60))
        worker.with_suffix(".part").write_text(str(pid))
        worker.with_suffix(".part").rename(worker)
        time.sleep(60)
        run.close()

    holder = forked.start(hold)
    forked.wait_until(worker.exists)
    with pytest.raises(InputError, match=f"process {holder}"):
        RunFolder.open(tmp_path / "run", refuse)
    os.kill(holder, signal.SIGKILL)
    assert forked.wait(holder) == -signal.SIGKILL
    os.kill(int(worker.read_text()), 0)  # still alive
    RunFolder.open(tmp_path / "run", refuse).close()
    os.kill(int(worker.read_text()), signal.SIGKILL)


def test_a_disk_that_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse_to_write(path: Path, text: str) -> None:
        raise OSError(28, "No space left on device", str(path))

    with monkeypatch.context() as patch:
        patch.setattr("posttrain.durable_files.write_text", refuse_to_write)
        with pytest.raises(EnvironmentFault, match=r"\.tmp-versions\.json: No space left.*--out"):
            RunFolder.create(tmp_path, CONFIG)
    RunFolder.create(tmp_path, CONFIG).close()
