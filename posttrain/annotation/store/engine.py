"""The database of a project: SQLite in its folder, or PostgreSQL by URL. A committed transaction is on the disk."""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, Generic, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event, func, make_url, select
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, OperationalError

from posttrain.annotation.store import schema
from posttrain.errors import EnvironmentFault, InputError

BUSY_SECONDS = 10
"""How long a transaction waits for another process's before it is refused."""

SYNCHRONOUS = "FULL"  # a commit waits for the disk, so that a power cut takes nothing back

MAX_CONNECTIONS = 40  # as many as the web server has threads


TURN_LOCK = 0x706F7374  # any number, the same in every process


Result = TypeVar("Result")


class _Request(Generic[Result]):
    """An action that waits for its turn, and what became of it."""

    def __init__(self, action: Callable[[Connection], Result]) -> None:
        self.action = action
        self.is_done = False
        self.fault: Exception | None = None
        self.result: Any = None

    def run(self, connection: Connection) -> None:
        try:
            with connection.begin_nested():  # others of the same batch are not undone with it
                self.result = self.action(connection)
        except DBAPIError:
            raise  # the transaction itself may be broken
        except Exception as fault:  # noqa: BLE001, raised again by the one who waits
            self.fault = fault


class Store:
    """Reading and writing transactions of one database."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        # SQLite writes one at a time. Threads that wait in a queue of ours go on at once, whereas SQLite's own waiting
        # sleeps up to 100 ms between looks.
        self._turn = threading.Lock() if engine.dialect.name == "sqlite" else nullcontext()
        self._gate = threading.Lock()
        self._waiting: list[_Request[Any]] = []

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A snapshot: nothing that others write meanwhile is seen."""
        with _faults_named(self.engine), self.engine.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """Committed, to the disk, when the block ends; rolled back if it raises."""
        with _faults_named(self.engine), self._turn, self._transaction() as connection:
            yield connection

    def together(self, action: Callable[[Connection], Result]) -> Result:
        """What `action` returns, once it is on the disk; its changes are undone if it raises.

        Whatever comes while the disk is busy goes there in one piece afterwards, so that eight annotators wait for one
        or two of its turns and not for eight. PostgreSQL does so by itself.
        """
        if self.engine.dialect.name != "sqlite":
            with self.writing() as connection:
                return action(connection)
        request = _Request(action)
        with self._gate:
            self._waiting.append(request)
        with self._turn:
            if not request.is_done:  # else the one before took it along
                self._commit_waiting()
        if request.fault is not None:
            raise request.fault
        return request.result

    def _commit_waiting(self) -> None:
        with self._gate:
            batch, self._waiting = self._waiting, []
        try:
            with _faults_named(self.engine), self._transaction() as connection:
                for request in batch:
                    request.run(connection)
        except Exception as fault:  # noqa: BLE001, it is raised again by each who waits
            for request in batch:
                request.fault = fault
        for request in batch:
            request.is_done = True

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        with self.engine.connect().execution_options(is_writing=True) as connection, connection.begin():
            yield connection

    def close(self) -> None:
        self.engine.dispose()


def connect(url: str) -> Store:
    """The store at a database URL, its tables made or brought to this version's form.

    Raises InputError for a URL that means nothing, EnvironmentFault if the database cannot be reached or opened.
    """
    try:
        parsed = make_url(url)
        if parsed.get_backend_name() == "postgresql":
            parsed = parsed.set(drivername="postgresql+psycopg")
        elif parsed.get_backend_name() != "sqlite":
            raise InputError(f"database {_shown(url)}: should begin with sqlite:/// or postgresql://")
        is_sqlite = parsed.get_backend_name() == "sqlite"
        if is_sqlite:
            _make_private(Path(parsed.database or ""))
        engine = create_engine(
            parsed,
            pool_size=MAX_CONNECTIONS,
            pool_use_lifo=True,  # SQLite keeps pages by connection: the one that was used last has them
            pool_pre_ping=not is_sqlite,
            connect_args={"timeout": BUSY_SECONDS, "check_same_thread": False} if is_sqlite else {},
        )
    except ArgumentError as error:
        raise InputError(
            f"database {_shown(url)}: should read sqlite:///FILE or postgresql://USER@HOST/NAME"
        ) from error
    except (NoSuchModuleError, ModuleNotFoundError) as error:
        raise InputError(f"database {_shown(url)}: its driver is not installed ({error})") from error
    if is_sqlite:
        _prepare_sqlite(engine)
    store = Store(engine)
    with _faults_named(engine):
        schema.upgrade(engine)
    return store


def take_turn(connection: Connection) -> None:
    """Wait until no other transaction gives or takes places; what reads, decides and writes begins so.

    SQLite has one writer anyway. On PostgreSQL, row locks taken in the order in which tasks turn out to be free
    deadlock, and without locks two writers see the same free place.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_advisory_xact_lock(TURN_LOCK)))


def _make_private(path: Path) -> None:
    """SQLite gives its log files the mode of the database file, so that one is made first, for its owner only."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW, 0o600))
        os.chmod(path, 0o600)
    except OSError as error:
        raise EnvironmentFault(f"{path}: cannot be opened: {error.strerror}") from error


def _prepare_sqlite(engine: Engine) -> None:
    @event.listens_for(engine, "connect")
    def _settings(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # transactions begin where `_begin` says, not where the driver guesses
        for pragma in ("journal_mode=WAL", f"synchronous={SYNCHRONOUS}", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        # a writer takes the lock before it reads, so that what it read still holds when it writes
        is_writing = connection.get_execution_options().get("is_writing", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if is_writing else "BEGIN")


@contextmanager
def _faults_named(engine: Engine) -> Iterator[None]:
    """The machine's refusals (disk full, no server, file locked) as an EnvironmentFault without the password."""
    try:
        yield
    except OperationalError as error:
        raise EnvironmentFault(
            f"{engine.url.render_as_string(hide_password=True)}: {str(error.orig).strip()}; "
            "free the disk or start the database server, then try again"
        ) from error
    except DBAPIError as error:
        if not error.connection_invalidated:
            raise
        raise EnvironmentFault(f"{engine.url.render_as_string()}: the connection to the database broke") from error


def _shown(url: str) -> str:
    """Without what stands between `//` and `@`: it may be a password."""
    scheme, separator, rest = url.partition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2]}" if separator else repr(url)
