"""The migrations make what the code expects."""

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import text

from posttrain.annotation.store import schema
from posttrain.annotation.store.engine import connect
from posttrain.annotation.store.tables import METADATA
from posttrain.errors import InputError


def test_migrated_tables_are_those_of_the_code(make_project, database):
    project = make_project(database=database)
    with project.store.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        differences = compare_metadata(context, METADATA)
    assert differences == []
    assert schema.version(project.store.engine) == schema.VERSION


def test_opening_again_changes_nothing(make_project, tmp_path):
    project = make_project()
    project.store.close()
    path = project.folder / "annotation.db"
    before = path.read_bytes()
    connect(f"sqlite:///{path}").close()
    assert path.read_bytes() == before


def test_a_database_of_a_newer_program_is_refused(make_project):
    project = make_project()
    with project.store.writing() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(InputError, match="newer posttrain"):
        connect(f"sqlite:///{project.folder / 'annotation.db'}")
