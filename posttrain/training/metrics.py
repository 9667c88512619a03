"""What a run measures: always into files of the run folder, and on request to a tracker as well.

    metrics.jsonl              {"step": 3, "loss": 0.52, ...}, and for a diagnostic that tripped a line of its own:
                               {"step": 3, "diagnostic": {"name": ..., "metric": ..., "value": ..., "threshold": ...}}
    timings.jsonl              {"step": 3, "seconds": 1.9}: seconds of training at each line of metrics.jsonl
    generations/step_3.jsonl   one object a row of the table of that evaluation

metrics.jsonl holds no clock time, so that a run that was killed and resumed leaves the bytes of an undisturbed one.
"""

import importlib.util
import json
import math
import os
import time
from collections.abc import Mapping, Sequence
from io import FileIO
from pathlib import Path
from typing import Any, Literal, Protocol

from posttrain import durable_files
from posttrain.diagnostics.watching import Trip
from posttrain.errors import InputError
from posttrain.settings import Settings

GENERATIONS = "eval_generation"
MAKE_ROOM = "make room or restore the permission to write, then resume"
Cell = str | int | float | bool | None


class WandbSettings(Settings):
    project: str = "posttrain"
    entity: str | None = None
    name: str | None = None
    mode: Literal["online", "offline"] | None = None  # None leaves it to WANDB_MODE and to wandb's own login


class Config(Settings):
    wandb: WandbSettings | None = None
    tensorboard: bool = False


class Sink(Protocol):
    """A tracker that hears the same numbers as the files."""

    def log(self, step: int, values: Mapping[str, float]) -> None: ...

    def log_table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Cell]], step: int) -> None: ...

    def close(self) -> None: ...


class Metrics:
    """Writer of the files above; to be used by one process of a run. Raises EnvironmentFault where the disk refuses."""

    def __init__(self, folder: Path, sinks: Sequence[Sink] = ()) -> None:
        self._folder = folder
        self._sinks = sinks
        with durable_files.faults_named(folder, MAKE_ROOM):
            self._lines = (folder / "metrics.jsonl").open("ab", buffering=0)
            self._timings = (folder / "timings.jsonl").open("ab", buffering=0)
        self._started = time.monotonic()

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Append one line, whose keys are "step" and the names of `values`; integers stay integers.

        What is not finite is written as null, and its name is listed under "nonfinite".
        """
        assert not {"step", "nonfinite"} & values.keys()
        numbers = {name: value if isinstance(value, int) else float(value) for name, value in values.items()}
        nonfinite = [name for name, value in numbers.items() if not math.isfinite(value)]
        line: dict[str, Any] = {"step": step, **numbers, **dict.fromkeys(nonfinite)}
        self._write({**line, "nonfinite": nonfinite} if nonfinite else line)
        for sink in self._sinks:
            sink.log(step, numbers)

    def log_trip(self, trip: Trip) -> None:
        """Append the line of a diagnostic; a tracker gets the value as `diagnostics/NAME`."""
        found = {name: getattr(trip, name) for name in ("name", "metric", "value", "threshold")}
        self._write({"step": trip.step, "diagnostic": found})
        for sink in self._sinks:
            sink.log(trip.step, {f"diagnostics/{trip.name}": trip.value})

    def _write(self, line: Mapping[str, Any]) -> None:
        seconds = round(time.monotonic() - self._started, 3)
        _append(self._timings, {"step": line["step"], "seconds": seconds})
        _append(self._lines, line)

    def log_table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Cell]], step: int) -> Path:
        """Write a table of one evaluation: prompts, answers and rewards, usually under the name `GENERATIONS`."""
        assert all(len(row) == len(columns) for row in rows)
        folder = self._folder / "generations" / ("" if name == GENERATIONS else name)
        path = folder / f"step_{step}.jsonl"
        text = "".join(json.dumps(dict(zip(columns, row, strict=True)), ensure_ascii=False) + "\n" for row in rows)
        with durable_files.faults_named(path, MAKE_ROOM):
            folder.mkdir(parents=True, exist_ok=True)
            durable_files.replace_text(path, text)
        for sink in self._sinks:
            sink.log_table(name, columns, rows, step)
        return path

    def offset(self) -> int:
        """Bytes of metrics.jsonl, all of them on the disk by now: what a checkpoint of this moment has to store."""
        with durable_files.faults_named(self._folder / "metrics.jsonl", MAKE_ROOM):
            os.fsync(self._timings.fileno())
            os.fsync(self._lines.fileno())
        return self._lines.tell()

    def truncate_to(self, offset: int) -> None:
        """Drop what was logged after the checkpoint that stored `offset`. The seconds count on from that moment."""
        kept = Path(self._lines.name).read_bytes()[:offset]
        if len(kept) < offset or not (kept.endswith(b"\n") or not kept):
            raise InputError(
                f"{self._lines.name}: not the log that the checkpoint continues (it had {offset} bytes then, ending a "
                "line); put the file back as it was, or start the run again in another folder."
            )
        timings = Path(self._timings.name).read_bytes().splitlines(keepends=True)[: kept.count(b"\n")]
        seconds = json.loads(timings[-1])["seconds"] if timings else 0.0
        _cut(self._lines, offset)
        _cut(self._timings, sum(map(len, timings)))
        self._started = time.monotonic() - seconds

    def close(self) -> None:
        self._lines.close()
        self._timings.close()
        for sink in self._sinks:
            sink.close()


class WandbSink:
    """Weights & Biases. A table becomes `NAME/step_N`, one for each evaluation, since a logged table cannot change."""

    def __init__(self, settings: WandbSettings, folder: Path, run_id: str, config: Mapping[str, Any]) -> None:
        import wandb  # pyright: ignore[reportMissingImports]

        self._table = wandb.Table
        self._run = wandb.init(
            project=settings.project,
            entity=settings.entity,
            name=settings.name or folder.name,
            mode=settings.mode,
            dir=folder,
            id=run_id,
            resume="allow",
            config=dict(config),
            settings=wandb.Settings(silent=True, console="off"),
        )
        # wandb drops what is logged for an earlier step than its last; as a metric, the step may go back on a resume.
        self._run.define_metric("*", step_metric="step")

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self._run.log({**values, "step": step})

    def log_table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Cell]], step: int) -> None:
        table = self._table(columns=list(columns), data=[list(row) for row in rows], allow_mixed_types=True)
        self._run.log({f"{name}/step_{step}": table, "step": step})

    def close(self) -> None:
        self._run.finish()


class TensorboardSink:
    """TensorBoard event files in `<run>/tensorboard`; a table becomes JSON text, one row a line."""

    def __init__(self, folder: Path) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder / "tensorboard"))

    def log(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def log_table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Cell]], step: int) -> None:
        # Four blanks make Markdown, which TensorBoard renders, show the text as it is.
        lines = ["    " + json.dumps(dict(zip(columns, row, strict=True)), ensure_ascii=False) for row in rows]
        self._writer.add_text(f"{name}/step_{step}", "\n".join(lines), step)

    def close(self) -> None:
        self._writer.close()


def check_trackers(config: Config) -> None:
    """Raise InputError where a tracker that `config` asks for is not installed. For before anything is written."""
    asked = {"wandb": config.wandb is not None, "tensorboard": config.tensorboard}
    for name, is_asked in asked.items():
        if is_asked and importlib.util.find_spec(name) is None:
            raise InputError(f"metrics.{name}: the package is not installed; run: pip install 'posttrain[{name}]'")


def open_sinks(config: Config, folder: Path, run_id: str, run_config: Mapping[str, Any]) -> list[Sink]:
    """The trackers that `config` asks for. `run_id` is the same again on a resume (`RunFolder.run_id`)."""
    check_trackers(config)
    sinks: list[Sink] = []
    if config.wandb is not None:
        sinks.append(WandbSink(config.wandb, folder, run_id, run_config))
    if config.tensorboard:
        sinks.append(TensorboardSink(folder))
    return sinks


def _append(file: FileIO, line: Mapping[str, Any]) -> None:
    rest = (json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n").encode()
    with durable_files.faults_named(Path(file.name), MAKE_ROOM):
        while rest:  # a disk that is nearly full takes a part first
            rest = rest[file.write(rest) :]


def _cut(file: FileIO, size: int) -> None:
    file.truncate(size)
    file.seek(size)
