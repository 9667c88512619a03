"""The migrations make what the code expects."""

import pytest
from alembic import command, config
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, select, text

from posttrain.annotation.store import schema
from posttrain.annotation.store.engine import connect
from posttrain.annotation.store.tables import METADATA, items, tasks
from posttrain.errors import InputError


def test_migrated_tables_are_those_of_the_code(make_project, database):
    project = make_project(database=database)
    with project.store.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        differences = compare_metadata(context, METADATA)
    assert differences == []
    assert schema.version(project.store.engine) == schema.VERSION


def test_a_database_of_the_first_version_is_brought_to_this_one(tmp_path):
    path = tmp_path / "annotation.db"
    engine = create_engine(f"sqlite:///{path}")
    settings = config.Config()
    settings.set_main_option("script_location", str(schema.MIGRATIONS))
    with engine.connect() as connection, connection.begin():
        settings.attributes["connection"] = connection
        command.upgrade(settings, "0001")
        connection.execute(text("INSERT INTO items VALUES (1, 'i', '{}', '[]', 'random', '[]', 0)"))
        connection.execute(text("INSERT INTO tasks VALUES (1, 1, '[0, 1]', 'pair:0,1', 'random', 0, 0, 0, 0, 0)"))
    engine.dispose()
    store = connect(f"sqlite:///{path}")
    with store.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection, opts={"compare_type": True}), METADATA) == []
    with store.reading() as connection:
        assert not connection.execute(select(tasks.c.is_waiting)).scalar_one()
        assert not connection.execute(select(items.c.is_drawn)).scalar_one()
    assert schema.version(store.engine) == schema.VERSION
    store.close()


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
