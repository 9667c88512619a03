"""Reports of finished runs: `report.html` for the quickstart or for one training run, and an overview as PNG."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from posttrain import durable_files
from posttrain.diagnostics.watching import Trip
from posttrain.errors import InputError
from posttrain.evaluation.results import MEASURES, MeasureInfo, Summary, read_evaluation, read_summary
from posttrain.evaluation.reward_spans import spans_of_step
from posttrain.figures.answers import SideBySide, side_by_side, visible
from posttrain.figures.curves import Curve, draw_curves, draw_intervals, draw_trade_off, finite
from posttrain.figures.page import Page, Section, render
from posttrain.figures.pictures import (
    Cells,
    Picture,
    curves_picture,
    intervals_picture,
    score_pictures,
    trade_off_picture,
)
from posttrain.figures.run_folder import (
    Curves,
    flatten,
    read_facts,
    read_last_generations,
    read_metrics,
    read_pair_scores,
    read_trips,
)
from posttrain.figures.stages import STAGES, Chart, Stage
from posttrain.figures.strips import scales_of, strips_of
from posttrain.figures.style import PAPER, chart_style, model_label

NUM_ANSWERS = 8
_MACHINE = ("cpu", "threads", "world_size", "platform", "python", "torch", "transformers", "posttrain", "git_commit")


@dataclass(frozen=True)
class ReportData:
    """What the quickstart's report is made from; `curves` and `trips` by stage: "sft", "reward_model", "ppo", "dpo"."""

    title: str
    machine: str
    summary: Summary
    curves: Mapping[str, Curves]
    answers: Sequence[SideBySide]
    num_prompts: int
    pair_scores: tuple[Sequence[float], Sequence[float]] = ((), ())  # of preferred and of rejected answers
    trips: Mapping[str, Sequence[Trip]] = field(default_factory=dict)


def write_report(run_dir: Path) -> Path:
    """Write run_dir/report.html: the quickstart's where there is a summary.json, else that of one training run."""
    if (run_dir / "summary.json").is_file():
        return write_quickstart(run_dir)
    if (run_dir / "metrics.jsonl").is_file():
        return write_run(run_dir)
    raise InputError(f"{run_dir}: holds neither summary.json nor metrics.jsonl; give the folder of a run")


def write_quickstart(run_dir: Path) -> Path:
    """Write run_dir/report.html from the files that the quickstart left there, and return its path."""
    return _write_page(run_dir, quickstart_page(read_quickstart(run_dir)))


def read_quickstart(run_dir: Path) -> ReportData:
    """Raises InputError that names a missing or malformed file; a stage without metrics.jsonl just has no curves."""
    summary = read_summary(run_dir / "summary.json")
    rows = read_evaluation(run_dir / "evaluation.jsonl")
    logs = {stage.folder: run_dir / stage.folder / "metrics.jsonl" for stage in STAGES}
    scores = run_dir / "reward_model" / "pair_scores.jsonl"
    answers = side_by_side(rows)
    return ReportData(
        title="From a base model to PPO and DPO",
        machine=_versions(run_dir) or _versions(run_dir / STAGES[0].folder),
        summary=summary,
        curves={name: read_metrics(path) for name, path in logs.items() if path.is_file()},
        answers=answers[:NUM_ANSWERS],
        num_prompts=len(answers),
        pair_scores=read_pair_scores(scores) if scores.is_file() else ((), ()),
        trips={name: read_trips(path) for name, path in logs.items() if path.is_file()},
    )


def write_run(run_dir: Path) -> Path:
    """Write run_dir/report.html for one training run: every metric's curve, its config, and its last generations."""
    return _write_page(run_dir, run_page(run_dir))


def run_page(run_dir: Path) -> Page:
    """Raises InputError if the folder has no metrics.jsonl."""
    curves, trips = read_metrics(run_dir / "metrics.jsonl"), read_trips(run_dir / "metrics.jsonl")
    groups: dict[str, list[Picture]] = {}
    for place, name in enumerate(sorted(curves)):
        group, _, rest = name.partition("/") if "/" in name else ("run", "", name)
        chart = Chart(rest, "", ((name, rest),), "")
        picture = curves_picture(chart, curves, f"metric-{place}", trips=trips)
        if picture is not None:
            groups.setdefault(group, []).append(picture)
    step, generations = read_last_generations(run_dir / "generations")
    texts = [(row.texts.get("prompt", ""), row.texts.get("output", "")) for row in generations]
    rewarded = spans_of_step(run_dir, step, texts)[:NUM_ANSWERS]
    scales = scales_of(rewarded)
    config = run_dir / "config.yaml"
    return Page(
        title=f"Training run {visible(run_dir.resolve().name)}",
        machine=_versions(run_dir),
        trips={"": trips},
        sections=[Section(visible(group.capitalize()), pictures=pictures) for group, pictures in groups.items()],
        generations=generations[:NUM_ANSWERS],
        generations_step=step,
        strips=[strips_of(answer, scales) for answer in rewarded],
        scales=scales,
        documents={config.name: _text(config)} if config.is_file() else {},
    )


def quickstart_page(data: ReportData) -> Page:
    """Findings first, then the stages in their order, then the answers themselves."""
    models = data.summary["models"]
    note = f"The first {len(data.answers)} of {data.num_prompts} evaluation prompts; none was chosen for its result."
    return Page(
        title=data.title,
        machine=data.machine,
        findings=findings(data.summary),
        models=models,
        comparison=_comparison_pictures(data.summary),
        trips={stage.title: data.trips.get(stage.folder, ()) for stage in STAGES},
        sections=[_stage_section(stage, data) for stage in STAGES],
        answers=data.answers,
        answers_note=note,
        seconds=data.summary["seconds"],
    )


def findings(summary: Summary) -> list[str]:
    """What each method bought, in one sentence each, by gold reward or, where that is unknown, by the learned one."""
    measure, cells = _reward(summary)
    if "sft" not in cells:
        return []
    sft = cells["sft"]
    sentences = []
    for name in (name for name in cells if name not in ("base", "sft")):
        cell = cells[name]
        verdict = "not told apart from SFT: the intervals overlap"
        if cell["low"] > sft["high"]:
            verdict = "better than SFT: the intervals do not overlap"
        elif cell["high"] < sft["low"]:
            verdict = "worse than SFT: the intervals do not overlap"
        wins = summary["models"][name].get("win_rate_vs_sft")
        won = f" Win rate {_shown(wins, MEASURES[-1])}." if wins else ""
        sentences.append(
            f"{model_label(name)}: {measure.label.lower()} {_shown(cell, measure)} against {_shown(sft, measure)}, "
            f"{verdict}.{won}"
        )
    return sentences


def write_png(run_dir: Path, path: Path) -> None:
    """An overview of a quickstart for a README: SFT's ROUGE-L, PPO's reward and KL, and the models compared."""
    summary = read_summary(run_dir / "summary.json")
    measure, reward = _reward(summary)
    sft, ppo = (read_metrics(run_dir / stage / "metrics.jsonl") for stage in ("sft", "ppo"))
    with chart_style():
        layout = ConstrainedLayoutEngine(w_pad=0.14, h_pad=0.12)  # inches
        figure = Figure(figsize=(10, 6.8), layout=layout, facecolor=PAPER.light)
        upper, lower = figure.add_gridspec(2, 1, hspace=0.08)
        left, right = (cell for cell in upper.subgridspec(1, 2, wspace=0.06))
        ax = figure.add_subplot(left)
        ax.set_title("SFT: ROUGE-L on held-out prompts")
        draw_curves(ax, [Curve("ROUGE-L", finite(sft.get("eval/rougeL", [])))], "F1")
        above, below = (figure.add_subplot(cell) for cell in right.subgridspec(2, 1))
        above.set_title("PPO: reward, and what it costs in KL")
        draw_curves(above, [Curve("reward", finite(ppo.get("rollout/reward", [])))], "reward")
        above.set_xlabel("")
        above.tick_params(labelbottom=False)
        draw_curves(below, [Curve("KL", finite(ppo.get("rollout/kl", [])))], "KL, nats", is_from_zero=True)
        left, right = (figure.add_subplot(cell) for cell in lower.subgridspec(1, 2, wspace=0.06))
        left.set_title(f"{measure.label} of each model")
        draw_intervals(left, reward, measure.label.lower())
        right.set_title(f"{measure.label} against KL")
        draw_trade_off(right, reward, _cells(summary, "kl_to_sft"), measure.label.lower())
        figure.savefig(path, format="png", dpi=160, metadata={"Software": None})


def _write_page(run_dir: Path, page: Page) -> Path:
    path = run_dir / "report.html"
    with durable_files.faults_named(path, "make room, or make the folder writable"):
        durable_files.replace_text(path, render(page))
    return path


def _comparison_pictures(summary: Summary) -> list[Picture]:
    measure, reward = _reward(summary)
    kl = _cells(summary, "kl_to_sft")
    if not reward:
        return []
    pictures = [intervals_picture(measure.label, reward, "models-reward")]
    if reward.keys() & kl.keys():
        pictures.append(trade_off_picture(measure.label, reward, kl, "models-trade-off"))
    return pictures


def _stage_section(stage: Stage, data: ReportData) -> Section:
    curves, trips = data.curves.get(stage.folder, {}), data.trips.get(stage.folder, ())
    facts = data.summary["reward_model"] if stage.folder == "reward_model" else {}
    pictures, absent = [], []
    for place, chart in enumerate(stage.charts):
        level = facts.get(chart.level[0]) if chart.level else None
        marked = (chart.level[1], float(level)) if chart.level and isinstance(level, int | float) else None
        picture = curves_picture(chart, curves, f"{stage.folder.replace('_', '-')}-{place}", marked, trips)
        if picture is not None:
            pictures.append(picture)
        if not chart.is_optional:
            absent.extend(name for name, _ in chart.metrics if not finite(curves.get(name, [])))
    if stage.folder == "reward_model" and data.pair_scores[0]:
        pictures.extend(score_pictures(*data.pair_scores))
    return Section(stage.title, stage.lead, pictures, flatten(facts), absent)


def _reward(summary: Summary) -> tuple[MeasureInfo, Cells]:
    """The gold reward of every model that has one, else the learned reward."""
    gold, learned = MEASURES[:2]
    cells = _cells(summary, gold.key)
    return (gold, cells) if cells else (learned, _cells(summary, learned.key))


def _cells(summary: Summary, key: str) -> Cells:
    return {name: cells[key] for name, cells in summary["models"].items() if cells.get(key) is not None}


def _shown(cell: Mapping[str, float], measure: MeasureInfo) -> str:
    mean, low, high = (f"{cell[end]:.{measure.decimals}f}" for end in ("mean", "low", "high"))
    return f"{mean} [{low}, {high}]"


def _versions(run_dir: Path) -> str:
    path = run_dir / "versions.json"
    facts = read_facts(path) if path.is_file() else {}
    known = [name for name in _MACHINE if facts.get(name, "None") != "None"]
    return " · ".join(f"{name.replace('_', ' ')} {facts[name]}" for name in known)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8: {error}") from error
