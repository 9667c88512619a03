"""`posttrain annotate`: preferences from people, in the browser. What it needs is imported when an action is chosen."""

import argparse
import logging
import sys
from collections.abc import Callable
from pathlib import Path

from posttrain.errors import InputError

log = logging.getLogger(__name__)

MODES = ("pair", "rank", "spans", "image_pair")
FORMATS = (
    *("comparisons", "majority", "trl", "trl_conversational", "qa_feedback"),
    *("reward_bench", "arena", "spans", "table", "responses"),
)  # of formats.catalogue, which takes a second to import

AddAction = Callable[[str, Callable[[argparse.Namespace], None], str], argparse.ArgumentParser]


def describe(parser: argparse.ArgumentParser) -> None:
    """Add the actions to the parser of the command."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)

    def action(name: str, run: Callable[[argparse.Namespace], None], summary: str) -> argparse.ArgumentParser:
        added = actions.add_parser(name, help=summary, description=summary)
        added.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
        added.set_defaults(run=run)
        return added

    _describe_projects(action)
    _describe_serving(action)
    _describe_files(action)


def _describe_projects(action: AddAction) -> None:
    init = action("init", _init, "Make a project and an invitation for its administrator.")
    init.add_argument("folder", type=Path, metavar="FOLDER", help="a new folder")
    init.add_argument("--name", help="shown on every page (the folder's name)")
    init.add_argument("--mode", choices=MODES, default="pair", help="what annotators do (%(default)s)")
    init.add_argument("--question", help="what they are asked (Which response is better?)")
    init.add_argument("--overlap", type=int, default=2, help="annotators of each task (%(default)s)")
    init.add_argument("--strength", action="store_true", help="of a pair, also ask how much better")
    init.add_argument("--axis", action="append", default=[], help="of a pair, also ask this; may be given again")
    init.add_argument("--database", default="", help="postgresql://USER@HOST/NAME (a SQLite file in the folder)")

    invite = action("invite", _invite, "Print the link with which one person makes an account.")
    invite.add_argument("folder", type=Path, metavar="FOLDER", help="a project")
    invite.add_argument("--role", choices=("admin", "annotator", "viewer"), default="annotator", help="(%(default)s)")
    invite.add_argument("--url", default="http://127.0.0.1:8000", help="where the project is served (%(default)s)")


def _describe_serving(action: AddAction) -> None:
    serve = action("serve", _serve, "Serve a project, on this machine only unless told otherwise.")
    serve.add_argument("folder", type=Path, metavar="FOLDER", help="a project")
    _add_address(serve)

    demo = action("demo", _demo, "Open a ready project on the built-in task.")
    demo.add_argument("--folder", type=Path, default=Path("runs/annotation_demo"), help="(%(default)s)")
    demo.add_argument("--mode", choices=MODES[:3], default="pair", help="(%(default)s)")
    demo.add_argument("--items", type=int, default=24, help="prompts, with four responses each (%(default)s)")
    demo.add_argument("--seed", type=int, default=0, help="(%(default)s)")
    demo.add_argument("--alone", action="store_true", help="without the simulated annotators who begin")
    _add_address(demo)

    simulate = action("simulate", _simulate, "Let simulated annotators work on a project, over HTTP.")
    simulate.add_argument("folder", type=Path, metavar="FOLDER", help="a project")
    simulate.add_argument("--url", help="where it is served (it is served for them)")
    simulate.add_argument("--annotators", type=int, default=8, help="how many at the same time (%(default)s)")
    simulate.add_argument("--answers", type=int, help="of each (until nothing is left)")
    simulate.add_argument("--pause", type=float, default=0.0, help="seconds that each looks at a task (%(default)s)")
    simulate.add_argument("--scores", type=Path, help="what `posttrain score` wrote: their true reward (the world's)")
    simulate.add_argument("--seed", type=int, default=0, help="(%(default)s)")


def _add_address(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--host", default="127.0.0.1", help="another address only with --public-url (%(default)s)")
    parser.add_argument("--port", type=int, default=8000, help="0 takes a free one (%(default)s)")
    parser.add_argument("--public-url", help="https://HOST of the proxy that annotators reach it by")
    parser.add_argument("--requests-per-second", type=float, default=20.0, help="of one session (%(default)s)")


def _describe_files(action: AddAction) -> None:
    read = action("import", _import, "Add items to a project.")
    read.add_argument("folder", type=Path, metavar="FOLDER", help="a project")
    read.add_argument(
        "files",
        type=Path,
        nargs="+",
        metavar="FILE",
        help="prompts with 2 to 8 responses each; or several files, of what a model each answered to the same prompts",
    )
    read.add_argument(
        "--model-name",
        action="append",
        default=[],
        metavar="NAME",
        help="of the model that wrote a file's responses, once for each file (of several: the files' own names)",
    )
    read.add_argument("--format", choices=FORMATS, default="responses", help="(%(default)s)")
    read.add_argument("--votes", action="store_true", help="keep the votes of the file too, as of annotators elsewhere")

    choose = action("choose", _choose, "Choose which pairs are asked next: by chance, or where reward models disagree.")
    choose.add_argument("folder", type=Path, metavar="FOLDER", help="a project of pairs")
    choose.add_argument(
        "--scores",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="what `posttrain score` wrote of `export --format responses`; give 2 or more reward models",
    )
    choose.add_argument("--num", type=int, help="ask so many and let the others wait (all, in the order chosen)")
    choose.add_argument("--seed", type=int, default=0, help="(%(default)s)")

    write = action("export", _export, "Write the answers of a project to a file.")
    write.add_argument("folder", type=Path, metavar="FOLDER", help="a project")
    write.add_argument("--format", choices=FORMATS, default="comparisons", help="(%(default)s)")
    write.add_argument("--out", type=Path, required=True, metavar="FILE", help="a file of the format's ending")
    write.add_argument("--arm", choices=("random", "active"), help="only items of this arm (both)")
    write.add_argument("--gold", action="store_true", help="also items with known answers")

    backup = action("backup", _backup, "Copy a project to one file, also while it is served.")
    backup.add_argument("folder", type=Path, metavar="FOLDER", help="a project")
    backup.add_argument("--out", type=Path, required=True, metavar="FILE.zip", help="a new file")

    restore = action("restore", _restore, "Make a project of a backup.")
    restore.add_argument("file", type=Path, metavar="FILE.zip", help="what `backup` wrote")
    restore.add_argument("folder", type=Path, metavar="FOLDER", help="a new folder")
    restore.add_argument("--database", help="another than the project had; empty for a SQLite file")


def _init(arguments: argparse.Namespace) -> None:
    from posttrain.annotation import demo, project

    values = {
        "name": arguments.name or arguments.folder.resolve().name,
        "mode": arguments.mode,
        "question": arguments.question or demo.QUESTIONS.get(arguments.mode, demo.QUESTIONS["pair"]),
        "overlap": arguments.overlap,
        "asks_strength": arguments.strength,
        "axes": arguments.axis,
        "database": arguments.database,
    }
    made = project.create(arguments.folder, project.checked(values, "posttrain annotate init"))
    log.info("Import items with `posttrain annotate import %s FILE`, then serve it.", arguments.folder)
    log.info("More settings are in %s. The administrator makes an account with this link:", project.SETTINGS_FILE)
    _print_invite(made.folder, "admin", "http://127.0.0.1:8000")


def _invite(arguments: argparse.Namespace) -> None:
    _print_invite(arguments.folder, arguments.role, arguments.url)


def _print_invite(folder: Path, role: str, url: str) -> None:
    import time

    from posttrain.annotation.project import open_project
    from posttrain.annotation.store.accounts import ROLES, invite

    with open_project(folder).store.writing() as connection:
        code = invite(connection, next(known for known in ROLES if known == role), time.time())
    print(f"{url.rstrip('/')}/join#{code}")


def _serve(arguments: argparse.Namespace) -> None:
    from posttrain.annotation.project import open_project
    from posttrain.annotation.web.server import serve

    serve(open_project(arguments.folder), _address(arguments), arguments.requests_per_second)


def _demo(arguments: argparse.Namespace) -> None:
    from posttrain.annotation import serving

    serving.demo(
        arguments.folder,
        arguments.mode,
        (arguments.items, arguments.seed),
        _address(arguments),
        arguments.requests_per_second,
        is_alone=arguments.alone,
    )


def _simulate(arguments: argparse.Namespace) -> None:
    from posttrain.annotation import serving
    from posttrain.annotation.project import open_project

    worked = serving.simulate(
        open_project(arguments.folder),
        arguments.url,
        (arguments.annotators, arguments.answers, arguments.seed),
        arguments.scores,
        max(0.0, arguments.pause),
    )
    for name, num in sorted(worked.answers.items()):
        print(f"{name}: {num} answers")
    half, most = (1000 * worked.percentile(share) for share in (0.5, 0.95))
    print(f"{len(worked.seconds)} answers, half of them within {half:.0f} ms and 95 % within {most:.0f} ms")


def _import(arguments: argparse.Namespace) -> None:
    from posttrain.annotation.exchange import import_file, import_samples
    from posttrain.annotation.project import open_project

    project, files = open_project(arguments.folder), arguments.files
    if len(files) == 1 and not arguments.model_name:
        print(import_file(project, files[0], arguments.format, should_keep_votes=arguments.votes))
    elif arguments.format != "responses" or arguments.votes:
        raise InputError("--format, --votes: files of these are imported one by one, and without --model-name")
    else:
        print(import_samples(project, files, arguments.model_name))


def _choose(arguments: argparse.Namespace) -> None:
    from posttrain.annotation.administration.choosing import choose
    from posttrain.annotation.project import open_project

    print(choose(open_project(arguments.folder), arguments.scores, arguments.num, arguments.seed))


def _export(arguments: argparse.Namespace) -> None:
    from posttrain.annotation.exchange import exported
    from posttrain.annotation.project import open_project

    found = exported(open_project(arguments.folder), arguments.format, arguments.arm, arguments.gold)
    found.write(arguments.out)
    print(f"{arguments.out}: {found.num_rows} rows")
    for reason, num in found.left_out.items():
        print(f"left out: {num} {reason}", file=sys.stderr)
    for remark in found.notes:
        print(remark, file=sys.stderr)


def _backup(arguments: argparse.Namespace) -> None:
    from posttrain.annotation.project import open_project
    from posttrain.annotation.store.backup import backup

    counts = backup(open_project(arguments.folder), arguments.out)
    print(f"{arguments.out}: {counts['items']} items, {counts['votes']} votes, {counts['users']} people")


def _restore(arguments: argparse.Namespace) -> None:
    from posttrain.annotation.store.backup import restore

    counts = restore(arguments.file, arguments.folder, arguments.database)
    print(f"{arguments.folder}: {counts['items']} items, {counts['votes']} votes, {counts['users']} people")


def _address(arguments: argparse.Namespace) -> tuple[str, int, str | None]:
    return arguments.host, arguments.port, arguments.public_url
