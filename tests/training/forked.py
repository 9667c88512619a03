"""Run a function in a process of its own, at the price of a fork instead of another import of torch."""

import os
import sys
import time
import traceback
from collections.abc import Callable

import torch


def start(function: Callable[[], object]) -> int:
    """Begin `function` in a forked process, which exits with 0, or with 1 where it raises; the process's number."""
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        torch.set_num_threads(1)  # the threads of the parent are not there
        function()
        code = 0
    finally:
        if code:
            traceback.print_exc()
        os._exit(code)


def wait(pid: int) -> int:
    """The exit code of a process that `start` began: 1 or more, or minus the signal that ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def wait_until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.0005)
