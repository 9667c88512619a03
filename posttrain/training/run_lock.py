"""One writer for each run folder: a lock that the operating system lets go when the process ends, however it ends."""

import fcntl
import os
import time
from pathlib import Path
from typing import ClassVar, Self

from posttrain.errors import InputError

NAME = ".lock"
PID_WAIT = 0.5  # seconds that a winner may take between having the lock and having written its number


class RunLock:
    _held: ClassVar[set[int]] = set()  # open descriptors, which forked children must not keep

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        RunLock._held.add(descriptor)

    @classmethod
    def acquire(cls, folder: Path) -> Self:
        """Take the lock of `folder`. Raises InputError, naming the other process, where it is taken."""
        descriptor = os.open(folder / NAME, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as fault:
            pid = _read_pid(descriptor)
            os.close(descriptor)
            raise InputError(f"{folder}: process {pid} writes this run; wait for its end, or stop it") from fault
        except OSError:
            os.close(descriptor)
            raise
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        return cls(descriptor)

    def release(self) -> None:
        if self._descriptor in RunLock._held:
            RunLock._held.remove(self._descriptor)
            os.ftruncate(self._descriptor, 0)
            os.close(self._descriptor)


def _read_pid(descriptor: int) -> int | str:
    """The number of the process that holds the lock; a dead one's is the number that the holder is about to replace."""
    deadline = time.monotonic() + PID_WAIT
    while time.monotonic() < deadline:
        text = os.pread(descriptor, 20, 0)
        if text.isdigit() and _is_alive(int(text)):
            return int(text)
        time.sleep(0.01)
    return "unknown"


def writer_of(folder: Path) -> int | None:
    """The number of another process that writes the run in `folder`, as its lock file has it; None where none does."""
    try:
        text = (folder / NAME).read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    return int(text) if text.isdigit() and int(text) != os.getpid() and _is_alive(int(text)) else None


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's, so it exists
        return True
    return True


def _close_in_child() -> None:
    """A forked worker that outlives the run must not hold the run's lock."""
    for descriptor in RunLock._held:
        os.close(descriptor)
    RunLock._held.clear()


os.register_at_fork(after_in_child=_close_in_child)
