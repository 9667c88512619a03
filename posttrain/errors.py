"""What a user can be told without a traceback, each with the exit code of the command that meets it.

Anything else that is raised is a bug of ours and keeps its traceback.
"""


class InputError(ValueError):
    """Bad input, configuration or state. The message names the setting or `file:line`, and the remedy."""

    exit_code = 2


class EnvironmentFault(RuntimeError):
    """The machine refused: disk full, folder locked, port taken."""

    exit_code = 3


class NumericStop(RuntimeError):
    """A loss, gradient or weight is not a finite number; nothing was stepped."""

    exit_code = 4
