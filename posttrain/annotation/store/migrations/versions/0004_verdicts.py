"""Final answers to disputed pairs."""

import sqlalchemy as sa
from alembic import op

from posttrain.annotation.store.migrations.kept import keep

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.create_table(
        "verdicts",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("item", sa.Integer(), nullable=False),
        sa.Column("first", sa.Integer(), nullable=False),
        sa.Column("second", sa.Integer(), nullable=False),
        sa.Column("choice", sa.String(length=16), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("user", sa.Integer(), nullable=True),
        sa.Column("at", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(["item"], ["items.id"], name=op.f("fk_verdicts_item")),
        sa.ForeignKeyConstraint(["user"], ["users.id"], name=op.f("fk_verdicts_user")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_verdicts")),
    )
    op.create_index(op.f("ix_verdicts_item"), "verdicts", ["item"], unique=False)
    keep("verdicts")
