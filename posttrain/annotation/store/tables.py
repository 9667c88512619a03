"""The tables of an annotation project. Names of people are unique; everything that was said is only ever added to.

A claim is the right of one annotator to answer one task: `slot` is one of the task's `overlap` places, and two
UNIQUE constraints make the overlap exact whatever runs at the same time; only files of votes may bring more. A claim
whose lease ran out and whose place was taken keeps its row with no slot. A vote counts if a claim that points to it has
a slot, or is of a gold or repeated task; undone and late votes stay in `votes` and no counted claim points to them.
"""

from sqlalchemy import (
    JSON,
    Boolean,
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

METADATA = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
    }
)


def _id() -> Column[int]:
    return Column("id", Integer, primary_key=True)


def _user(name: str = "user", is_nullable: bool = False, is_indexed: bool = False) -> Column[int]:
    return Column(name, ForeignKey("users.id"), nullable=is_nullable, index=is_indexed)


def _time(name: str, is_nullable: bool = False) -> Column[float]:
    return Column(name, Float, nullable=is_nullable)  # seconds since 1970, UTC


users = Table(
    "users",
    METADATA,
    _id(),
    Column("name", String(64), nullable=False, unique=True),
    Column("password", String(255), nullable=False),  # argon2 with its parameters and salt
    Column("role", String(16), nullable=False),
    Column("is_active", Boolean, nullable=False, default=True),
    Column("is_imported", Boolean, nullable=False, default=False),  # named in a file of votes; nobody can log in as it
    _time("created"),
)
invites = Table(
    "invites",
    METADATA,
    _id(),
    Column("code_hash", String(64), nullable=False, unique=True),
    Column("role", String(16), nullable=False),
    _time("created"),
    _time("expires"),
    _user("used_by", is_nullable=True),
    _time("revoked", is_nullable=True),
)
sessions = Table(
    "sessions",
    METADATA,
    Column("token_hash", String(64), primary_key=True),
    _user(is_indexed=True),
    _time("created"),
    _time("expires"),
    _time("revoked", is_nullable=True),
)
login_failures = Table(
    "login_failures",
    METADATA,
    Column("name_hash", String(64), primary_key=True),
    Column("num", Integer, nullable=False),
    _time("last"),
)
guidelines = Table(
    "guidelines",
    METADATA,
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("text", Text, nullable=False),
    _user("author", is_nullable=True),
    _time("at"),
)
readings = Table(
    "readings",
    METADATA,
    Column("user", ForeignKey("users.id"), primary_key=True),
    Column("version", ForeignKey("guidelines.version"), primary_key=True),
    _time("at"),
)
items = Table(
    "items",
    METADATA,
    _id(),
    Column("name", String(255), nullable=False, unique=True),
    Column("prompt", JSON, nullable=False),
    Column("responses", JSON, nullable=False),
    Column("arm", String(16), nullable=False),
    Column("is_drawn", Boolean, nullable=False, default=False),  # `annotate choose` has drawn the arm, which stays
    Column("gold", JSON, nullable=False),  # [[first, second, choice], ...]
    _time("at"),
)
images = Table(
    "images",
    METADATA,
    _id(),
    Column("item", ForeignKey("items.id"), nullable=False, index=True),
    Column("name", String(255), nullable=False),  # of a file in the project's folder of images
    Column("media_type", String(32), nullable=False),
    UniqueConstraint("item", "name"),
)
tasks = Table(
    "tasks",
    METADATA,
    _id(),
    Column("item", ForeignKey("items.id"), nullable=False),
    Column("responses", JSON, nullable=False),  # positions in the item: two of a pair, one of spans, all of a ranking
    Column("key", String(64), nullable=False),  # the same positions as text, for the constraint
    Column("arm", String(16), nullable=False),
    Column("is_gold", Boolean, nullable=False),
    Column("priority", Float, nullable=False),
    Column("position", Integer, nullable=False),  # where it stands among tasks of the same priority
    Column("is_complete", Boolean, nullable=False, default=False),
    Column("is_set_aside", Boolean, nullable=False, default=False),
    Column("is_waiting", Boolean, nullable=False, default=False),  # not among those that `annotate choose` chose
    UniqueConstraint("item", "key"),
    Index("ix_tasks_next", "is_gold", "arm", "is_complete", "is_set_aside", "is_waiting", "priority", "position"),
)
votes = Table(
    "votes",
    METADATA,
    _id(),
    Column("key", String(64), nullable=False, unique=True),  # of the form: sent twice, it is one vote
    Column("task", ForeignKey("tasks.id"), nullable=False, index=True),
    _user(is_indexed=True),
    Column("is_repeat", Boolean, nullable=False),
    Column("shown", JSON, nullable=False),  # positions in the item, in the order on the screen
    Column("answer", JSON, nullable=False),
    Column("seconds", Float, nullable=False),
    _time("at"),
    Column("guidelines", ForeignKey("guidelines.version"), nullable=True),
)
claims = Table(
    "claims",
    METADATA,
    _id(),
    Column("task", ForeignKey("tasks.id"), nullable=False),
    Column("slot", Integer, nullable=True),
    _user(),
    Column("is_repeat", Boolean, nullable=False),
    Column("is_ordinary", Boolean, nullable=False),  # neither gold nor a repeat: it needs a slot to count
    Column("turn", Integer, nullable=False),  # how many ordinary claims the annotator had before
    Column("shown", JSON, nullable=False),
    Column("key", String(64), nullable=False, unique=True),
    _time("opened"),
    _time("until"),
    Column("vote", ForeignKey("votes.id"), nullable=True, unique=True),
    Column("is_passed", Boolean, nullable=False, default=False),
    UniqueConstraint("task", "slot"),
    UniqueConstraint("task", "user", "is_repeat"),
    CheckConstraint("vote IS NULL OR NOT is_passed", name="answered_or_passed"),
    Index("ix_claims_user", "user", "is_repeat", "is_ordinary"),
    Index("ix_claims_open", "until", sqlite_where=text("vote IS NULL"), postgresql_where=text("vote IS NULL")),
)
passes = Table(
    "passes",
    METADATA,
    _id(),
    Column("key", String(64), nullable=False, unique=True),
    Column("task", ForeignKey("tasks.id"), nullable=False, index=True),
    _user(is_indexed=True),
    Column("kind", String(8), nullable=False),
    Column("reason", Text, nullable=False),
    _time("at"),
)
verdicts = Table(
    "verdicts",
    METADATA,
    _id(),
    Column("item", ForeignKey("items.id"), nullable=False, index=True),
    Column("first", Integer, nullable=False),  # positions in the item, first < second
    Column("second", Integer, nullable=False),
    Column("choice", String(16), nullable=True),  # NULL: the final answer was taken back
    Column("reason", Text, nullable=False),
    _user(is_nullable=True),  # NULL: it came in a file
    _time("at"),
)
events = Table(
    "events",
    METADATA,
    _id(),
    _time("at"),
    _user(is_nullable=True),
    Column("kind", String(32), nullable=False),
    Column("detail", JSON, nullable=False),
)
