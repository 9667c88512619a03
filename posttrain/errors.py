"""What a user can be told without a traceback, each with the exit code of the command that meets it.

Anything else that is raised is a bug of ours and keeps its traceback.
"""

from collections.abc import Sequence
from typing import Any


class InputError(ValueError):
    """Bad input, configuration or state. The message names the setting or `file:line`, and the remedy."""

    exit_code = 2


class EnvironmentFault(RuntimeError):
    """The machine refused: disk full, folder locked, port taken."""

    exit_code = 3


class NumericStop(RuntimeError):
    """A reward, loss, gradient or metric is not a finite number; nothing was stepped.

    `prompts` are those (`data.records.Prompt`) of the rows in which it happened, as far as they are known.
    """

    exit_code = 4

    def __init__(self, message: str, prompts: Sequence[Any] = ()) -> None:
        super().__init__(message)
        self.prompts = tuple(prompts)
