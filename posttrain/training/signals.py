"""SIGTERM and SIGINT as a wish that the training loop grants between two batches."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Interrupted(Exception):
    """A signal ended the run after its checkpoint was written; the command exits with `exit_code`."""

    def __init__(self, signal_number: int, message: str = "") -> None:
        super().__init__(message or f"stopped by {signal.Signals(signal_number).name}")
        self.exit_code = 128 + signal_number  # the shell's number for a program that a signal ended: 143, 130


class Stop:
    """Whether somebody asked the run to stop, and with which signal."""

    def __init__(self) -> None:
        self.signal_number: int | None = None

    @property
    def requested(self) -> bool:
        return self.signal_number is not None

    def raise_if_requested(self, message: str = "") -> None:
        if self.signal_number is not None:
            raise Interrupted(self.signal_number, message)


@contextmanager
def stop_on_signals() -> Iterator[Stop]:
    """Inside, the first SIGTERM or SIGINT sets the flag of the `Stop` given and the second ends the program at once.

    For the main thread; the handlers found on the way in are put back on the way out.
    """
    stop = Stop()

    def handle(number: int, frame: FrameType | None) -> None:
        if stop.requested:
            os._exit(128 + number)  # no clean-up: a checkpoint half written is ignored by design
        stop.signal_number = number
        # os.write, because print() would fail if the signal came in the middle of another print().
        os.write(2, f"\n{signal.Signals(number).name}: stopping after this batch; once more stops at once.\n".encode())

    previous = {number: signal.signal(number, handle) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in previous.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)  # None: not set by Python
