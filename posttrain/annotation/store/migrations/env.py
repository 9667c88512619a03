"""What alembic runs for each migration: on the connection that `schema.upgrade` gives it, in its transaction."""

from alembic import context

from posttrain.annotation.store.tables import METADATA

context.configure(connection=context.config.attributes["connection"], target_metadata=METADATA)
with context.begin_transaction():
    context.run_migrations()
