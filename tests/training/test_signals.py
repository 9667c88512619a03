"""A run that is asked to stop finishes its batch; one that is asked twice is gone."""

import os
import signal
import time
from pathlib import Path

import pytest

from posttrain.training.signals import Interrupted, stop_on_signals
from tests.training import forked

SIGNALS = [(signal.SIGTERM, 143), (signal.SIGINT, 130)]


@pytest.mark.parametrize(("number", "exit_code"), SIGNALS)
def test_the_first_signal_waits_for_the_batch(
    number: signal.Signals, exit_code: int, capfd: pytest.CaptureFixture[str]
):
    done: list[object] = []

    def train() -> None:
        with stop_on_signals() as stop:
            for batch in range(5):
                assert not stop.requested
                stop.raise_if_requested()
                if batch == 2:
                    os.kill(os.getpid(), number)
                done.append(batch)
                if stop.requested:
                    done.append("checkpoint")
                stop.raise_if_requested("stopped after step 3, which is saved")

    with pytest.raises(Interrupted) as interrupted:
        train()
    assert done == [0, 1, 2, "checkpoint"]
    assert interrupted.value.exit_code == exit_code
    assert str(interrupted.value) == "stopped after step 3, which is saved"
    assert f"{number.name}: stopping after this batch" in capfd.readouterr().err


def test_handlers_are_put_back():
    before = [signal.getsignal(number) for number, _ in SIGNALS]
    with stop_on_signals():
        assert [signal.getsignal(number) for number, _ in SIGNALS] != before
    assert [signal.getsignal(number) for number, _ in SIGNALS] == before


@pytest.mark.parametrize("first", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize(("second", "exit_code"), SIGNALS)
def test_the_second_signal_ends_the_process_at_once(
    tmp_path: Path, first: signal.Signals, second: signal.Signals, exit_code: int
):
    ready, asked, finished = tmp_path / "ready", tmp_path / "asked", tmp_path / "finished"

    def work() -> None:
        with stop_on_signals() as stop:
            ready.touch()
            forked.wait_until(lambda: stop.requested)
            asked.touch()
            time.sleep(60)  # a long batch
            finished.touch()

    pid = forked.start(work)
    forked.wait_until(ready.exists)
    os.kill(pid, first)
    forked.wait_until(asked.exists)
    started = time.monotonic()
    os.kill(pid, second)
    assert forked.wait(pid) == exit_code
    assert time.monotonic() - started < 5
    assert not finished.exists()
