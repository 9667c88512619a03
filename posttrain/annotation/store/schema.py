"""The form of the tables: migrations shipped in the package bring a database of any earlier version to this one."""

from pathlib import Path

from sqlalchemy import Engine, inspect, text

from posttrain.errors import InputError

VERSION = "0004"
"""The newest file of `migrations/versions`."""

MIGRATIONS = Path(__file__).parent / "migrations"


def upgrade(engine: Engine) -> None:
    """Make the tables, or change them into this version's. InputError if a newer program has been here."""
    found = version(engine)
    if found == VERSION:
        return  # alembic takes half a second to import, which a server that starts again need not wait for
    from alembic import command, config
    from alembic.script import ScriptDirectory

    settings = config.Config()
    settings.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    known = {script.revision for script in ScriptDirectory.from_config(settings).walk_revisions()}
    if found is not None and found not in known:
        raise InputError(
            f"database {engine.url.render_as_string()}: was written by a newer posttrain (its tables are of version "
            f"{found}, this one knows {VERSION}); install that version, or restore a backup into a new project"
        )
    with engine.connect().execution_options(is_writing=True) as connection, connection.begin():
        settings.attributes["connection"] = connection
        command.upgrade(settings, "head")


def version(engine: Engine) -> str | None:
    """Of the tables that are there; None if there are none."""
    if not inspect(engine).has_table("alembic_version"):
        return None
    with engine.connect() as connection, connection.begin():
        return connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()
