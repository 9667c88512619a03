"""Wherever a save is cut short, a whole checkpoint is left, and the next save works."""

import errno
import os
import re
import resource
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from posttrain import durable_files, randomness
from posttrain.errors import EnvironmentFault
from posttrain.training import checkpoint
from posttrain.training.metrics import Metrics
from tests.training import forked

# All that `save` does to the disk goes through these.
OPERATIONS = [
    (durable_files, "make_folder"),
    (durable_files, "write_text"),
    (durable_files, "sync"),
    (durable_files, "rename"),
    (durable_files, "remove_tree"),
    (checkpoint, "save_file"),
]


class PowerCut(BaseException):
    """Nothing in the program may handle it, as nothing handles a SIGKILL."""


def state(step: int) -> dict[str, object]:
    return {
        "model": {"weight": torch.full((3,), float(step))},
        "optimizer": {"state": {0: torch.ones(2)}},
        "loop": step,
    }


def save_acted_on(
    monkeypatch: pytest.MonkeyPatch, folder: Path, step: int, point: int | None, act: Callable[[str, tuple], None]
) -> list[str]:
    """Save `step`, with `act` called before operation number `point`; the names of the operations begun."""
    names: list[str] = []

    def watched(original: Callable, name: str) -> Callable:
        def operation(*arguments):
            names.append(name)
            if len(names) - 1 == point:
                act(name, arguments)
            return original(*arguments)

        return operation

    with monkeypatch.context() as patch:
        for module, name in OPERATIONS:
            patch.setattr(module, name, watched(getattr(module, name), name))
        checkpoint.save(folder, step, state(step), keep=2)
    return names


def cut_before(name: str, arguments: tuple) -> None:
    raise PowerCut


def cut_halfway(name: str, arguments: tuple) -> None:
    """Leave what the operation leaves when it is cut in its middle, as far as it has one."""
    if name == "write_text":
        arguments[0].write_text(arguments[1][: len(arguments[1]) // 2])
    elif name == "save_file":
        Path(arguments[1]).write_bytes(b"\x10\x00\x00")
    elif name == "remove_tree":
        next(path for path in arguments[0].iterdir()).unlink()
    elif name == "rename":
        arguments[0].rename(arguments[1])  # but not yet forced to the disk
    raise PowerCut


def prepared(folder: Path, again: bool) -> Path:
    """Checkpoints 1 and 2; saving 3 then deletes 1, and saving 2 again replaces 2."""
    for step in (1, 2):
        checkpoint.save(folder, step, state(step), keep=2)
    if again:
        shutil.rmtree(folder / "step-00000001")
    return folder


def assert_recovers(folder: Path, possible: set[int]) -> None:
    """At the next start there is a whole checkpoint of one of these steps, no trace of the cut, and saving works."""
    checkpoint.remove_leftovers(folder)
    assert not list(folder.glob(".*"))
    damaged: list[str] = []
    for steps in (possible, {4}):
        found = checkpoint.load_latest(folder, damaged.append)
        assert found is not None
        assert found[0] in steps
        assert float(found[1]["model"]["weight"][0]) == found[0]
        checkpoint.save(folder, 4, state(4), keep=2)
    assert damaged == []


@pytest.mark.parametrize("cut", [cut_before, cut_halfway])
@pytest.mark.parametrize("again", [False, True], ids=["next step", "only checkpoint saved again"])
def test_cut_at_every_operation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cut: Callable, again: bool):
    new = 2 if again else 3
    operations = save_acted_on(monkeypatch, prepared(tmp_path / "whole", again), new, None, cut)
    assert operations.count("save_file") == 2
    assert operations.count("rename") == 2
    for point in range(len(operations)):
        folder = prepared(tmp_path / f"cut-at-{point}", again)
        with pytest.raises(PowerCut):
            save_acted_on(monkeypatch, folder, new, point, cut)
        assert_recovers(folder, {2, new})


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_refusal_at_every_operation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int):
    def refuse(name: str, arguments: tuple) -> None:
        raise OSError(code, os.strerror(code), str(arguments[-1] if name == "save_file" else arguments[0]))

    operations = save_acted_on(monkeypatch, prepared(tmp_path / "whole", again=False), 3, None, refuse)
    for point in range(len(operations)):
        folder = prepared(tmp_path / f"refused-at-{point}", again=False)
        with pytest.raises(EnvironmentFault) as fault:
            save_acted_on(monkeypatch, folder, 3, point, refuse)
        assert fault.value.exit_code == 3
        assert str(fault.value).startswith(str(folder))
        assert os.strerror(code) in str(fault.value)
        assert "needs " in str(fault.value)
        assert not list(folder.glob(".tmp-step-00000003"))  # its room is given back at once
        assert_recovers(folder, {2, 3})


def test_a_file_too_large_for_the_limit(tmp_path: Path):
    """The operating system's own refusal, in a process of its own because the limit cannot be raised again."""
    folder, message = tmp_path / "checkpoints", tmp_path / "message"

    def save_under_a_limit() -> None:
        checkpoint.save(folder, 1, {"model": torch.ones(10)}, keep=2)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
        try:
            checkpoint.save(folder, 2, {"model": torch.ones(10_000)}, keep=2)
        except EnvironmentFault as fault:
            message.write_text(str(fault))

    assert forked.wait(forked.start(save_under_a_limit)) == 0
    assert re.search(r"model\.safetensors: .*File too large.* needs 40,0\d\d bytes", message.read_text())
    assert [path.name for path in folder.iterdir()] == ["step-00000001"]
    assert checkpoint.verify(folder / "step-00000001") is None


def test_a_folder_that_is_read_only(tmp_path: Path):
    folder = tmp_path / "file"
    folder.write_text("where the folder should be")  # refused for root too, who may write into a read-only folder
    with pytest.raises(EnvironmentFault, match=str(folder)):
        checkpoint.save(folder, 1, state(1), keep=1)


STEPS = 60


def train(run: Path) -> None:
    """A training loop with dropout and drawn data, which resumes from what it finds in `run`."""
    checkpoint.remove_leftovers(run / "checkpoints")
    randomness.seed_everything(0)
    model = torch.nn.Sequential(torch.nn.Linear(32, 64), torch.nn.Dropout(0.5), torch.nn.Linear(64, 1))
    optimizer = torch.optim.AdamW(model.parameters())
    metrics = Metrics(run)
    step, state = checkpoint.load_latest(run / "checkpoints", print) or (0, None)
    metrics.truncate_to(state["loop"]["metrics_offset"] if state else 0)
    if state:
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        randomness.restore(state["randomness"])
    for now in range(step + 1, STEPS + 1):
        optimizer.zero_grad()
        loss = model(torch.randn(4, 32)).square().mean()
        loss.backward()
        optimizer.step()
        metrics.log(now, {"loss": loss.item()})
        if now % 3 == 0:
            weights = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
            loop = {"metrics_offset": metrics.offset()}
            checkpoint.save(
                run / "checkpoints", now, {**weights, "loop": loop, "randomness": randomness.capture()}, keep=2
            )


def test_killed_in_the_middle_of_saves_it_ends_with_the_same_bytes(tmp_path: Path):
    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    undisturbed.mkdir()
    killed.mkdir()
    assert forked.wait(forked.start(lambda: train(undisturbed))) == 0
    checkpoints = killed / "checkpoints"
    for after in (6, 30):
        pid = forked.start(lambda: train(killed))
        # At or after: older ones are removed, and a busy machine may not let this process see each of them.
        forked.wait_until(lambda after=after: any(int(path.name[5:]) >= after for path in checkpoints.glob("step-*")))
        forked.wait_until(lambda: any(checkpoints.glob(".tmp-*")))
        os.kill(pid, signal.SIGKILL)
        assert forked.wait(pid) == -signal.SIGKILL
        assert not (checkpoints / f"step-{STEPS:08d}").exists()
    assert forked.wait(forked.start(lambda: train(killed))) == 0
    assert (killed / "metrics.jsonl").read_bytes() == (undisturbed / "metrics.jsonl").read_bytes()
    last = f"checkpoints/step-{STEPS:08d}/manifest.json"  # which has the SHA-256 of everything else
    assert (killed / last).read_bytes() == (undisturbed / last).read_bytes()
    assert len((killed / "timings.jsonl").read_text().splitlines()) == STEPS
