"""The folder of one run: all that is known about it, all that resuming it needs, and one writer at a time.

config.yaml           the resolved settings; written last, so that a folder with it is a run
config_at_start.yaml  its copy, which shows on a resume whether the settings are still the same
versions.json         software, machine and threads; what the bits of the result depend on is compared on a resume
status.json           running, done or stopped; the last step; why it ended early; peak memory
numeric_stop.json     the step, message and prompts of a stop because of numbers that are not finite
notes.jsonl           resumes under other versions or settings, which the user allowed
checkpoints/  generations/  reward_spans/  model/  best/  metrics.jsonl  timings.jsonl  (written by others)
.lock           held by the process that writes, whose number is in it
"""

import fcntl
import json
import os
import resource
import secrets
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Literal, Self

from posttrain import durable_files
from posttrain.errors import InputError, NumericStop
from posttrain.machine import describe_machine
from posttrain.reading import strict_yaml
from posttrain.training import checkpoint

# Another value of one of these gives other bits, so it is no resume but another run.
IDENTITY = ("torch", "transformers", "threads", "world_size")
LOCK = ".lock"
PID_WAIT = 0.5  # seconds that a winner may take between having the lock and having written its number
# What a `create` that was killed can leave behind; folders among these are then empty.
LEFTOVERS = {LOCK, "checkpoints", "generations", ".tmp-config.yaml"} | {
    prefix + name for prefix in ("", ".tmp-") for name in ("versions.json", "config_at_start.yaml")
}


class RunLock:
    """One writer for each folder: the operating system lets go when the process ends, however it ends."""

    _held: ClassVar[set[int]] = set()  # open descriptors, which forked children must not keep

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        RunLock._held.add(descriptor)

    @classmethod
    def acquire(cls, folder: Path) -> Self:
        """Take the lock of `folder`. Raises InputError, naming the other process, where it is taken."""
        descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
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


class RunFolder:
    """Paths of a run, and the lock on it until `close`, the end of a `with` block or the end of the process."""

    def __init__(self, path: Path, config: dict[str, Any], lock: RunLock) -> None:
        self.path = path
        self.config = config
        self._lock = lock
        self.checkpoints = path / "checkpoints"
        self.generations = path / "generations"
        self.model = path / "model"
        self.metrics = path / "metrics.jsonl"
        self._numeric_stop = path / "numeric_stop.json"

    @classmethod
    def create(cls, path: Path, resolved_config: dict[str, Any], world_size: int = 1) -> Self:
        """A new run in `path`, which does not exist or is empty. Raises InputError before anything is written."""
        _refuse_occupied(path)
        with durable_files.faults_named(path, "give another --out"), ExitStack() as on_failure:
            path.mkdir(parents=True, exist_ok=True)
            lock = RunLock.acquire(path)
            on_failure.callback(lock.release)
            _refuse_occupied(path)  # once more: before we had the lock, another process may have made its run here
            for name in ("checkpoints", "generations"):
                (path / name).mkdir(exist_ok=True)
            _write_json(path / "versions.json", {"run_id": secrets.token_hex(4), **describe_machine(world_size)})
            for name in ("config_at_start.yaml", "config.yaml"):
                durable_files.replace_text(path / name, strict_yaml.write(resolved_config))
            on_failure.pop_all()
        return cls(path, resolved_config, lock)

    @classmethod
    def open(cls, path: Path, warn: Callable[[str], None], world_size: int = 1, allow_inexact: bool = False) -> Self:
        """The run in `path`, to go on writing; leftovers of an unfinished save are removed.

        Raises InputError where there is none, where another process writes it, and, unless `allow_inexact`, where
        settings, versions, threads or the number of processes differ from the first start; allowed, this goes to
        `warn` and notes.jsonl, and the run goes on with what is there now.
        """
        config = read_config(path)
        with durable_files.faults_named(path, "make the folder writable"), ExitStack() as on_failure:
            lock = RunLock.acquire(path)
            on_failure.callback(lock.release)
            _check_identity(path, describe_machine(world_size), warn, allow_inexact)
            checkpoint.remove_leftovers(path / "checkpoints")
            run = cls(path, config, lock)
            run._numeric_stop.unlink(missing_ok=True)  # that of an earlier attempt
            on_failure.pop_all()
        return run

    @property
    def run_id(self) -> str:
        """Eight hexadecimal digits, the same at each resume; trackers know the run by it."""
        return json.loads((self.path / "versions.json").read_text(encoding="utf-8"))["run_id"]

    def record(self, state: Literal["running", "done", "stopped"], step: int, stop_reason: str | None = None) -> None:
        """Write status.json: how far the run is, why it ended early, and the most memory that this process has used."""
        status = {"state": state, "step": step, "peak_rss_mb": peak_rss_mb(), "pid": os.getpid()}
        status |= {"stop_reason": stop_reason} if stop_reason is not None else {}
        with durable_files.faults_named(self.path, "make room, then resume"):
            _write_json(self.path / "status.json", status)

    def record_numeric_stop(self, step: int, fault: NumericStop) -> Path:
        """Write numeric_stop.json: the prompts of the rows whose numbers are not finite; the data may be to blame."""
        prompts = [{"id": prompt.id, "prompt": prompt.text} for prompt in fault.prompts]
        with durable_files.faults_named(self.path, "make room, then resume"):
            _write_json(self._numeric_stop, {"step": step, "message": str(fault), "prompts": prompts})
        return self._numeric_stop

    def close(self) -> None:
        self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def read_config(path: Path) -> dict[str, Any]:
    """The resolved settings of the run in `path`, without locking it."""
    config = _read_settings(path / "config.yaml")
    if config is None:
        raise InputError(f"{path}: holds no run (there is no config.yaml)")
    return config


def _read_settings(file: Path) -> dict[str, Any] | None:
    """The settings in `file`, or None where there is no such file."""
    try:
        config = strict_yaml.parse(file.read_text(encoding="utf-8"), str(file))
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as fault:
        raise InputError(f"{file}: cannot be read: {fault}") from fault
    if not isinstance(config, dict):
        raise InputError(f"{file}: not a mapping of settings; put the file back as the run wrote it")
    return config


def changed_settings(path: Path) -> list[str]:
    """`key then -> now` for each setting of config.yaml that is not as it was when the run began."""
    now, then = read_config(path), _read_settings(path / "config_at_start.yaml")
    if then is None:
        raise InputError(
            f"{path / 'config_at_start.yaml'}: missing, so that a change of config.yaml could not be noticed; "
            "put it back, or copy config.yaml to it if you know that nothing was changed"
        )
    return _differences(then, now)


def _differences(then: Any, now: Any, key: str = "") -> list[str]:
    if isinstance(then, dict) and isinstance(now, dict):
        names = [*then, *(name for name in now if name not in then)]
        prefix = f"{key}." if key else ""
        return [change for name in names for change in _differences(then.get(name), now.get(name), f"{prefix}{name}")]
    return [] if then == now else [f"{key} {then} -> {now}"]


def read_status(path: Path) -> dict[str, Any] | None:
    """The last `record` of the run in `path`, or None where there was none yet."""
    file = path / "status.json"
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else None


def peak_rss_mb() -> float:
    """The most memory, in units of 10**6 bytes, that this process has had resident so far."""
    unit = 1 if sys.platform == "darwin" else 1024  # bytes on macOS, kibibytes on Linux
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6, 1)


def _refuse_occupied(path: Path) -> None:
    existing = next(place for place in (path, *path.parents) if place.exists())
    if not existing.is_dir():
        raise InputError(f"{existing}: is a file; give another --out")
    if existing != path:
        return
    names = {entry.name for entry in path.iterdir()}
    if "config.yaml" in names:
        writer = writer_of(path)
        state = f"process {writer} is writing a run here" if writer else "already holds a run"
        raise InputError(f"{path}: {state}; resume it with `posttrain resume {path}` or give another --out")
    filled = {name for name in names & LEFTOVERS if (path / name).is_dir() and any((path / name).iterdir())}
    if names - LEFTOVERS or filled:
        example = min((names - LEFTOVERS) | filled)
        raise InputError(f"{path}: is not empty (it has {example}); give another --out")


def _check_identity(path: Path, now: Mapping[str, Any], warn: Callable[[str], None], allow_inexact: bool) -> None:
    file = path / "versions.json"
    try:
        then = json.loads(file.read_text(encoding="utf-8"))
        changes = [f"{key} {then[key]} -> {now[key]}" for key in IDENTITY if then[key] != now[key]]
    except (OSError, ValueError, KeyError, TypeError) as fault:
        raise InputError(f"{file}: not as the run wrote it; put it back: {fault!r}") from fault
    changes += changed_settings(path)
    if not changes:
        return
    if not allow_inexact:
        raise InputError(
            f"{path}: resuming would not give the bits of an uninterrupted run, because of: {', '.join(changes)}. "
            "Restore these (settings are in config.yaml, OMP_NUM_THREADS sets the threads), or accept it with "
            "--allow-inexact."
        )
    warn(f"resuming inexactly: {', '.join(changes)}")
    with (path / "notes.jsonl").open("a", encoding="utf-8") as notes:
        notes.write(json.dumps({"inexact_resume": changes}) + "\n")


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    durable_files.replace_text(path, json.dumps(value, indent=1) + "\n")


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
        text = (folder / LOCK).read_text(encoding="utf-8")
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
