"""The command line answers at once, passes on what it was told, and turns each fault into a line and an exit code."""

import logging
import os
import re
import subprocess
import sys
import time
import types
from pathlib import Path
from typing import Any

import pytest

from posttrain import cli
from posttrain.errors import EnvironmentFault, InputError, NumericStop
from posttrain.training.signals import Interrupted

COMMANDS = ("quickstart", "frontier", "train", "resume", "sample", "chat", "score", "evaluate", "report")


def run_cli(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "posttrain.cli", *arguments], capture_output=True, text=True, check=False
    )


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """Stands in for `posttrain.run` and `posttrain.quickstart`, and lists what they were asked."""
    made: list[tuple[Any, ...]] = []
    import posttrain

    for name, functions in {"run": ("train", "resume"), "quickstart": ("main",)}.items():
        module = types.ModuleType(f"posttrain.{name}")
        for function in functions:
            setattr(module, function, lambda *given, label=f"{name}.{function}": made.append((label, *given)))
        monkeypatch.setitem(sys.modules, f"posttrain.{name}", module)
        monkeypatch.setattr(posttrain, name, module, raising=False)
    return made


def failing(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def fail(_arguments: Any) -> None:
        raise error

    monkeypatch.setattr(cli, "_chat", fail)


def test_help_starts_in_half_a_second():
    def seconds() -> float:
        started = time.perf_counter()
        assert run_cli("--help").returncode == 0
        return time.perf_counter() - started

    assert min(seconds() for _ in range(3)) < 0.5


def test_help_names_every_command():
    shown = run_cli("--help").stdout
    assert [command for command in COMMANDS if not re.search(rf"^ +{command}\b", shown, re.MULTILINE)] == []


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str):
    with pytest.raises(SystemExit) as stopped:
        cli.main([command, "--help"])
    assert stopped.value.code == 0


def test_quickstart(calls: list[tuple[Any, ...]]):
    assert cli.main(["quickstart"]) == 0
    assert cli.main(["quickstart", "--out", "a", "--family", "decoder_only", "--seed", "2"]) == 0
    assert calls == [
        ("quickstart.main", Path("runs/quickstart"), "encoder_decoder", 0),
        ("quickstart.main", Path("a"), "decoder_only", 2),
    ]


def test_resume(calls: list[tuple[Any, ...]]):
    assert cli.main(["resume", "runs/a"]) == 0
    assert cli.main(["resume", "runs/a", "--allow-inexact"]) == 0
    assert calls == [("run.resume", Path("runs/a"), False), ("run.resume", Path("runs/a"), True)]


@pytest.mark.parametrize(
    "words",
    [["a.b=1", "c=2", "--out", "d"], ["--out", "d", "a.b=1", "c=2"], ["a.b=1", "--out", "d", "c=2"]],
    ids=["before", "after", "around"],
)
def test_overrides_may_stand_before_or_after_options(words: list[str]):
    arguments = cli._parsed(["train", "x.yaml", *words])
    assert (arguments.config, arguments.overrides, arguments.out) == (Path("x.yaml"), ["a.b=1", "c=2"], "d")


@pytest.mark.parametrize(
    "words",
    [[], ["trane"], ["train"], ["train", "x.yaml", "--oot=d"], ["resume", "x", "a=1"], ["quickstart", "--seed", "-1"]],
    ids=" ".join,
)
def test_words_that_are_not_understood_exit_with_2(words: list[str], capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as stopped:
        cli.main(words)
    assert stopped.value.code == 2
    assert "posttrain" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code"),
    [(InputError("a\nb"), 2), (EnvironmentFault("a\nb"), 3), (NumericStop("a\nb"), 4), (Interrupted(15, "a\nb"), 143)],
    ids=lambda value: type(value).__name__,
)
def test_a_fault_is_lines_and_an_exit_code(
    error: Exception, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    failing(monkeypatch, error)
    assert cli.main(["chat", "x"]) == code
    assert capsys.readouterr() == ("", "posttrain: a\nposttrain: b\n")


def test_an_interruption_has_the_shells_code(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    failing(monkeypatch, KeyboardInterrupt())
    assert cli.main(["chat", "x"]) == 130
    assert capsys.readouterr().err == "posttrain: interrupted\n"


@pytest.mark.parametrize("words", [["--debug", "chat", "x"], ["chat", "x", "--debug"]], ids=" ".join)
def test_debug_shows_the_traceback(words: list[str], monkeypatch: pytest.MonkeyPatch):
    failing(monkeypatch, InputError("a"))
    with pytest.raises(InputError):
        cli.main(words)


def test_a_fault_of_ours_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch):
    failing(monkeypatch, ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        cli.main(["chat", "x"])


@pytest.mark.parametrize("lines", [1, 10_000], ids=["in the buffer", "beyond the buffer"])
def test_a_reader_that_leaves_is_no_noise(lines: int):
    script = (
        "import sys; from posttrain import cli; "
        f"cli._chat = lambda arguments: [sys.stdin.readline(), *(print('x' * 1000) for _ in range({lines}))]; "
        "sys.exit(cli.main(['chat', 'm']))"
    )
    pipe, buffered = subprocess.PIPE, os.environ | {"PYTHONUNBUFFERED": ""}
    talk = subprocess.Popen(
        [sys.executable, "-c", script], stdin=pipe, stdout=pipe, stderr=pipe, text=True, env=buffered
    )
    assert talk.stdout is not None
    talk.stdout.close()
    talk.stdout = None
    assert talk.communicate("go\n", timeout=30)[1] == ""
    assert talk.returncode == 141


def test_a_bad_config_is_refused_before_anything_is_made(tmp_path: Path):
    path = tmp_path / "x.yaml"
    path.write_text("sed: 1\n")
    result = run_cli("train", str(path), "--out", str(tmp_path / "out"))
    assert result.returncode == 2
    assert f"posttrain: {path}: sed is not a setting; did you mean seed?" in result.stderr
    assert all(line.startswith("posttrain: ") for line in result.stderr.splitlines())
    assert not (tmp_path / "out").exists()


def test_a_report_of_no_run_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert cli.main(["report", str(tmp_path / "no")]) == 2
    assert str(tmp_path / "no") in capsys.readouterr().err


def test_messages_are_shown_and_warnings_say_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    def speak(_arguments: Any) -> None:
        logging.getLogger("posttrain.anything").info("a %d", 1)
        logging.getLogger("posttrain.anything").warning("b")
        logging.getLogger("elsewhere").info("c")

    monkeypatch.setattr(cli, "_chat", speak)
    assert cli.main(["chat", "x"]) == 0
    assert capsys.readouterr().err == "a 1\nwarning: b\n"
