"""Pairs that wait because others were chosen, and arms that were drawn and stay."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    for table, name in (("items", "is_drawn"), ("tasks", "is_waiting")):
        op.add_column(table, sa.Column(name, sa.Boolean(), nullable=False, server_default=sa.false()))
    op.drop_index("ix_tasks_next", table_name="tasks")
    columns = ["is_gold", "arm", "is_complete", "is_set_aside", "is_waiting", "priority", "position"]
    op.create_index("ix_tasks_next", "tasks", columns, unique=False)
