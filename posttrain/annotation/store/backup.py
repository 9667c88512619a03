"""Backup and restore: one ZIP file with every table as JSON lines, the settings and the images, and their checksums.

It does not depend on the database: a backup of a SQLite project can be restored into PostgreSQL. Sessions and the
project's secret stay out, so whoever has a backup can neither log in nor forge a form.
"""

import hashlib
import json
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import Connection, func, insert, select, text

from posttrain.annotation import project as projects
from posttrain.annotation.project import IMAGES_FOLDER, SETTINGS_FILE, Project, ProjectSettings
from posttrain.annotation.store import schema
from posttrain.annotation.store.events import note
from posttrain.annotation.store.tables import METADATA, sessions
from posttrain.errors import EnvironmentFault, InputError
from posttrain.reading import strict_yaml

MANIFEST = "manifest.json"
TABLES = [table for table in METADATA.sorted_tables if table is not sessions]
ROWS_AT_ONCE = 1000


def backup(project: Project, path: Path) -> dict[str, int]:
    """Write the file, which must be new; returns the number of rows by table. Annotators may go on meanwhile."""
    temporary = path.with_name(f".tmp-{path.name}")
    if path.exists():
        raise InputError(f"{path}: is there already; a backup is a new file")
    counts: dict[str, int] = {}
    sums: dict[str, str] = {}
    try:
        descriptor = os.open(temporary, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
                for name, content in _contents(project, counts):
                    archive.writestr(name, content)
                    sums[name] = hashlib.sha256(content).hexdigest()
                manifest = {"version": schema.VERSION, "rows": counts, "sha256": sums}
                archive.writestr(MANIFEST, json.dumps(manifest, indent=1))
            file.flush()
            os.fsync(file.fileno())
        os.rename(temporary, path)
    except OSError as error:
        raise EnvironmentFault(f"{error.filename or path}: cannot be written: {error.strerror}") from error
    with project.store.writing() as connection:
        note(connection, None, "backup", {"rows": sum(counts.values())})
    return counts


def restore(path: Path, folder: Path, database: str | None = None) -> dict[str, int]:
    """Make a new project of a backup; returns the number of rows by table. InputError if a checksum is wrong."""
    contents = _read(path)
    manifest = json.loads(contents.pop(MANIFEST))
    if manifest["version"] != schema.VERSION:
        raise InputError(
            f"{path}: was made by a posttrain whose tables are of version {manifest['version']}, this one has "
            f"{schema.VERSION}; restore it with that one, then let this one open the project"
        )
    values = strict_yaml.parse(contents[SETTINGS_FILE].decode(), f"{path}/{SETTINGS_FILE}")
    if database is not None:
        values = {**values, "database": database}
    settings = projects.checked(values, f"{path}/{SETTINGS_FILE}")
    project = _empty_project(folder, settings)
    for name, content in contents.items():
        if name.startswith(f"{IMAGES_FOLDER}/"):
            projects.write_private(project.images / Path(name).name, content)
    with project.store.writing() as connection:
        for table in TABLES:
            rows = [json.loads(line) for line in contents[f"{table.name}.jsonl"].splitlines()]
            for start in range(0, len(rows), ROWS_AT_ONCE):
                connection.execute(insert(table), rows[start : start + ROWS_AT_ONCE])
        _continue_numbers(connection)
        note(connection, None, "restore", {"rows": sum(manifest["rows"].values())})
    project.store.close()
    return manifest["rows"]


def _contents(project: Project, counts: dict[str, int]) -> Iterator[tuple[str, bytes]]:
    yield SETTINGS_FILE, (project.folder / SETTINGS_FILE).read_bytes()
    with project.store.reading() as connection:
        if connection.dialect.name == "postgresql":  # one snapshot for all tables, as SQLite's transactions have
            connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY"))
        for table in TABLES:
            rows = connection.execute(select(table).order_by(*table.primary_key.columns)).mappings().all()
            counts[table.name] = len(rows)
            yield f"{table.name}.jsonl", "".join(f"{json.dumps(dict(row))}\n" for row in rows).encode()
    for image in sorted(project.images.glob("*")):
        if image.is_file() and not image.is_symlink():
            yield f"{IMAGES_FOLDER}/{image.name}", image.read_bytes()


def _read(path: Path) -> dict[str, bytes]:
    """Every file of the archive, in memory only: names in it lead nowhere."""
    try:
        with zipfile.ZipFile(path) as archive:
            contents = {name: archive.read(name) for name in archive.namelist()}
        sums = json.loads(contents[MANIFEST])["sha256"]
    except (OSError, zipfile.BadZipFile, KeyError, ValueError) as error:
        raise InputError(f"{path}: is no backup of an annotation project, or a damaged one ({error})") from error
    expected = {SETTINGS_FILE, *(f"{table.name}.jsonl" for table in TABLES)}
    if not expected <= set(sums) or set(sums) | {MANIFEST} != set(contents):
        raise InputError(f"{path}: files are missing from this backup; use another")
    for name, wanted in sums.items():
        if hashlib.sha256(contents[name]).hexdigest() != wanted:
            raise InputError(f"{path}: {name} is damaged; use another backup")
    return contents


def _empty_project(folder: Path, settings: ProjectSettings) -> Project:
    project = projects.create(folder, settings)
    with project.store.reading() as connection:
        for table in TABLES:
            if connection.execute(select(func.count()).select_from(table)).scalar_one():
                raise InputError(f"the database of {folder} is not empty: it has {table.name}; give another --database")
    return project


def _continue_numbers(connection: Connection) -> None:
    """PostgreSQL counts apart from the rows; SQLite goes on from the largest."""
    if connection.dialect.name != "postgresql":
        return
    for table in TABLES:
        if "id" in table.columns:
            newest = select(func.coalesce(func.max(table.c.id), 0) + 1).scalar_subquery()
            connection.execute(select(func.setval(func.pg_get_serial_sequence(table.name, "id"), newest, False)))
