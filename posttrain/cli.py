"""The command line. Nothing heavy is imported before a command is chosen, so that `posttrain --help` answers at once.

Exit codes: 0 done, 2 bad input or state, 3 the environment (disk, lock), 4 a loss that is not a number,
130 and 143 stopped by a signal.
"""

import argparse
import logging
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from posttrain.commands import annotate, sample_options
from posttrain.commands.memory import keep_freed_memory
from posttrain.commands.sample_options import whole_number
from posttrain.errors import EnvironmentFault, InputError, NumericStop
from posttrain.training.signals import Interrupted

INTERRUPTED = 130  # 128 + SIGINT, as shells report it
PIPE_CLOSED = 141  # 128 + SIGPIPE


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code. What a user can mend is one line per fault, without a traceback."""
    arguments = _parsed(sys.argv[1:] if argv is None else argv)
    _show_messages()
    keep_freed_memory()
    try:
        arguments.run(arguments)
        sys.stdout.flush()
    except (InputError, EnvironmentFault, NumericStop, Interrupted) as error:
        if arguments.debug:
            raise
        for line in str(error).splitlines():
            print(f"posttrain: {line}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        if arguments.debug:
            raise
        print("posttrain: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # the reader has gone (`| head`): what is left in the buffer goes nowhere, and Python's own flush stays silent
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return PIPE_CLOSED
    return 0


class _Message(logging.Handler):
    """One line on what is standard error at that moment, which a progress bar may have put itself before."""

    def emit(self, record: logging.LogRecord) -> None:
        label = "" if record.levelno < logging.WARNING else f"{record.levelname.lower()}: "
        print(f"{label}{self.format(record)}", file=sys.stderr)


def _show_messages() -> None:
    """Show what posttrain logs; libraries keep their own settings."""
    logger = logging.getLogger("posttrain")
    logger.handlers = [_Message()]
    logger.setLevel(logging.INFO)
    logger.propagate = False  # libraries put handlers on the root, which would say everything twice


def _parsed(argv: Sequence[str]) -> argparse.Namespace:
    parser = _parser()
    arguments, rest = parser.parse_known_args(argv)
    # argparse takes positionals in one piece: overrides that follow an option are left over
    late_overrides = [word for word in rest if "=" in word and not word.startswith("-")]
    if rest != late_overrides or (
        rest and arguments.run not in (_train, _evaluate, _frontier, _iterate, sample_options.run)
    ):
        parser.error(f"not understood: {' '.join(word for word in rest)} (see posttrain {arguments.command} --help)")
    if late_overrides:
        arguments.overrides += late_overrides
    return arguments


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="posttrain", description="Post-train language models, end to end.")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    def command(name: str, run: Callable[[argparse.Namespace], None], summary: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=summary, description=summary)
        added.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
        added.set_defaults(run=run)
        return added

    _describe_training(command)
    _describe_use(command)
    annotate.describe(command("annotate", _annotate, "Collect preferences from people, in the browser."))
    return parser


AddCommand = Callable[[str, Callable[[argparse.Namespace], None], str], argparse.ArgumentParser]


def _describe_training(command: AddCommand) -> None:
    quickstart = command(
        "quickstart", _quickstart, "Run the whole loop on a built-in task: SFT, labels, reward model, PPO and DPO."
    )
    quickstart.add_argument("--out", type=Path, default=Path("runs/quickstart"), help="run folder (%(default)s)")
    families = ("encoder_decoder", "decoder_only")
    quickstart.add_argument("--family", choices=families, default=families[0], help="shape of the base (%(default)s)")
    quickstart.add_argument("--seed", type=whole_number, default=0, help="seed of everything random (%(default)s)")

    train = command("train", _train, "Train what a YAML file describes.")
    train.add_argument("config", type=Path, metavar="CONFIG.yaml", help="a whole run")
    train.add_argument("overrides", nargs="*", metavar="a.b=value", help="settings in place of the file's")
    train.add_argument("--out", help="run folder (runs/NAME for NAME.yaml)")

    resume = command("resume", _resume, "Continue a run from its newest sound checkpoint, to the same bits.")
    resume.add_argument("run_dir", type=Path, metavar="RUN_DIR", help="folder of the run")
    resume.add_argument(
        "--allow-inexact",
        action="store_true",
        help="go on under other versions, thread counts or settings, not to the same bits",
    )

    frontier = command(
        "frontier", _frontier, "Sweep KL weights of several methods and draw what each gains for how far it moves."
    )
    _add_study_file(frontier, "a whole sweep", "frontier")
    frontier.add_argument("--quick", action="store_true", help="the small grid that the file names")

    iterate = command(
        "iterate", _iterate, "Round after round: sample, have the samples judged, learn from all judgements."
    )
    _add_study_file(iterate, "the whole loop", "iterate")
    iterate.add_argument("--no-wait", action="store_true", help="end where people have not judged everything yet")

    reproduce = command("reproduce", _reproduce, "Make a published comparison again on a built-in task.")
    reproduce.add_argument("study", choices=("fine_grained",), help="fine_grained: rewards of spans against one reward")
    reproduce.add_argument("--out", type=Path, help="folder, which may hold a part of it (runs/reproduce/STUDY)")
    reproduce.add_argument("--family", choices=families, default=families[0], help="shape of the base (%(default)s)")
    reproduce.add_argument("--seeds", type=whole_number, default=5, help="runs of each main arm (%(default)s)")

    report = command("report", _report, "Write report.html of a run: one self-contained file.")
    report.add_argument("run_dir", type=Path, metavar="RUN_DIR", help="folder of the run")


def _add_study_file(parser: argparse.ArgumentParser, what: str, folder: str) -> None:
    """Of many runs that one file describes, and that go on where they were stopped."""
    parser.add_argument("config", type=Path, metavar="CONFIG.yaml", help=what)
    parser.add_argument("overrides", nargs="*", metavar="a.b=value", help="settings in place of the file's")
    parser.add_argument(
        "--out", type=Path, help=f"folder, which may hold a part of it (runs/{folder}/NAME for NAME.yaml)"
    )


def _describe_use(command: AddCommand) -> None:
    sample_options.describe(command("sample", sample_options.run, "Generate responses to a file of prompts."))

    chat = command("chat", _chat, "Talk to a model in the terminal.")
    chat.add_argument("model", metavar="MODEL", help="folder or hub name")

    score = command("score", _score, "Score responses with a reward model.")
    score.add_argument("model", metavar="REWARD_MODEL", help="folder of a trained reward model")
    score.add_argument("--data", type=Path, required=True, help="JSONL with `prompt` and `response` or `responses`")
    score.add_argument("--out", type=Path, required=True, help="JSONL: the same rows with `score` or `scores`")
    score.add_argument("--pairs", type=Path, help="JSONL to write: each prompt's responses compared by their scores")

    evaluate = command("evaluate", _evaluate, "Evaluate a model on the evaluation data of a YAML file.")
    evaluate.add_argument("model", metavar="MODEL", help="folder or hub name")
    evaluate.add_argument("overrides", nargs="*", metavar="a.b=value", help="settings in place of the file's")
    evaluate.add_argument(
        "--config", type=Path, required=True, help="a whole run; its data.evaluation, evaluation, rewards and reference"
    )
    evaluate.add_argument("--out", type=Path, required=True, help="JSON: each measure with its interval")

    data = command("data", _data, "Check the files of a data set: what is there, what is missing, what is wrong.")
    data.add_argument("source", choices=("qa_feedback",), help="the data set")
    data.add_argument("--check", type=Path, required=True, metavar="DIR", help="folder with its original files")


def _quickstart(arguments: argparse.Namespace) -> None:
    from posttrain import quickstart

    quickstart.main(arguments.out, arguments.family, arguments.seed)


def _train(arguments: argparse.Namespace) -> None:
    from posttrain import config

    loaded = config.load(arguments.config, arguments.overrides, arguments.out)

    from posttrain import run  # after the configuration is known to be sound: this import takes seconds

    assert loaded.out is not None, "load gives every run a folder"
    run.train(loaded, Path(loaded.out))


def _resume(arguments: argparse.Namespace) -> None:
    from posttrain import run

    run.resume(arguments.run_dir, arguments.allow_inexact)


def _frontier(arguments: argparse.Namespace) -> None:
    from posttrain.frontier import settings

    config, points = settings.load(arguments.config, arguments.overrides, arguments.quick)

    from posttrain.frontier import sweep  # after the configuration is known to be sound, as above

    sweep.main(config, points, arguments.out or Path("runs/frontier", arguments.config.stem))


def _iterate(arguments: argparse.Namespace) -> None:
    from posttrain.rounds import settings

    config = settings.load(arguments.config, arguments.overrides)

    from posttrain.rounds import loop  # after the configuration is known to be sound, as above

    loop.main(config, arguments.out or Path("runs/iterate", arguments.config.stem), not arguments.no_wait)


def _reproduce(arguments: argparse.Namespace) -> None:
    from posttrain.reproduce import fine_grained

    fine_grained.main(arguments.out or Path("runs/reproduce", arguments.study), arguments.family, arguments.seeds)


def _report(arguments: argparse.Namespace) -> None:
    from posttrain.figures import report

    print(report.write_report(arguments.run_dir))


def _chat(arguments: argparse.Namespace) -> None:
    from posttrain.commands import chat

    chat.main(arguments.model)


def _score(arguments: argparse.Namespace) -> None:
    from posttrain.commands import score

    score.main(arguments.model, arguments.data, arguments.out, arguments.pairs)


def _annotate(arguments: argparse.Namespace) -> None:
    raise AssertionError("argparse asks for an action, and each has a function of its own")


def _evaluate(arguments: argparse.Namespace) -> None:
    from posttrain.commands import evaluate

    evaluate.main(arguments.model, arguments.config, arguments.out, arguments.overrides)


def _data(arguments: argparse.Namespace) -> None:
    from posttrain.commands import check_data

    check_data.main(arguments.check)


if __name__ == "__main__":
    sys.exit(main())
