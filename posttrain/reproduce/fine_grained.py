"""`posttrain reproduce fine_grained`: does a reward for each span teach more than one for the whole answer?

The comparison of Wu et al. 2023 (arXiv:2306.01693) on the controlled task, where every true reward is known: an SFT
model, PPO on one holistic reward model, PPO on three reward models at three densities, with equal samples and equal
updates, and the latter again with other weights. What is made is found again by the same command.
"""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from posttrain import durable_files, quickstart, run
from posttrain.errors import InputError
from posttrain.evaluation.comparing import sample_texts
from posttrain.figures import fine_grained as pictures
from posttrain.machine import describe_machine
from posttrain.models.spans.report import read_span_report
from posttrain.reproduce.fine_grained_labels import held_out_answers, write_labels
from posttrain.reproduce.fine_grained_measures import Bench, reward_model_table, write_answers
from posttrain.reproduce.fine_grained_results import print_tables, summarize
from posttrain.studies.study import Made, Study
from posttrain.training.signals import Interrupted

log = logging.getLogger(__name__)

CONFIGS = Path(__file__).parent / "configs"
NUM_LABELLED, NUM_HELD_OUT, NUM_EVALUATED, SAMPLES_PER_PROMPT = 2000, 200, 300, 4
MIX_SEEDS = 2
RESULTS = "results.json"

Weights = Mapping[str, float]
DEFAULT: Weights = {"completeness": 0.5, "factuality": 0.3, "relevance": 0.3}


@dataclass(frozen=True)
class Arm:
    """A way to train, the seeds that it is tried with, and the weights of its rewards where it has several."""

    name: str
    file: str
    num_seeds: int
    weights: Weights | None = None


def arms(num_seeds: int) -> list[Arm]:
    num_mixes = min(num_seeds, MIX_SEEDS)
    return [
        Arm("holistic", "holistic", num_seeds),
        Arm("fine_grained", "fine_grained", num_seeds, DEFAULT),
        Arm("complete", "fine_grained", num_mixes, {"completeness": 1.0, "factuality": 0.15, "relevance": 0.15}),
        Arm("precise", "fine_grained", num_mixes, {"completeness": 0.2, "factuality": 0.6, "relevance": 0.6}),
    ]


def main(out: Path, family: str, num_seeds: int) -> None:
    """Everything that is missing in `out`; ends with results.json, two pictures, report.html and tables."""
    if num_seeds < 1:
        raise InputError("--seeds: give 1 or more")
    study = Study(out)
    lock = study.lock({"study": "fine_grained", "family": family, "seeds": num_seeds})
    try:
        run.set_threads(None)
        _run(study, family, num_seeds)
    except (Interrupted, KeyboardInterrupt):
        log.info("%s keeps what is done: the same command goes on from there", out)
        raise
    finally:
        lock.release()


def _run(study: Study, family: str, num_seeds: int) -> None:
    sft = study.train("sft", quickstart.CONFIGS / family / "sft.yaml", 0, (),
                      {"data.evaluation.seed": quickstart.VALIDATION})  # fmt: skip
    labels = _labels(study, family, sft)
    models = _reward_models(study, family, sft, labels)
    held_out = [models[name] for name in sorted(models)]
    table = study.part("accuracy", "means over spans", [sft, labels, *held_out], lambda folder: reward_model_table(
        {name: it.model for name, it in models.items()}, held_out_answers(labels.folder)))  # fmt: skip
    bench: list[Bench] = []  # made when the first policy is to be measured

    def measured(name: str, policy: Made) -> Made:
        def measure(folder: Path) -> Mapping[str, Any]:
            if not bench:
                bench.append(Bench(sft.model, quickstart.prompts_of("evaluation", NUM_EVALUATED, 0)))
            return write_answers(bench[0], policy.model, folder)

        return study.part(f"measured-{name}", NUM_EVALUATED, [sft, policy], measure)

    found: dict[str, list[tuple[Made, Made]]] = {"sft": [(sft, measured("sft", sft))]}
    for arm in arms(num_seeds):
        found[arm.name] = []
        for seed in range(arm.num_seeds):
            policy = _ppo(study, family, arm, seed, sft, models)
            found[arm.name].append((policy, measured(f"{arm.name}-{seed}", policy)))
            _finish(study, family, num_seeds, found, models, table, labels)
    results = _finish(study, family, num_seeds, found, models, table, labels)
    pictures.write_learning_curves(results, study.out / "learning_curves.png")
    pictures.write_trade_off(results, study.out / "trade_off.png")
    page = pictures.write_page(results, study.out)
    print_tables(results, study.console)
    study.console.print(
        f"{sum(study.seconds.values()):.0f} s in all, those of earlier calls included. Report: {page}", highlight=False
    )


def _labels(study: Study, family: str, sft: Made) -> Made:
    """Four samples a prompt of the SFT model, judged both ways by the same annotators."""
    num = NUM_LABELLED + NUM_HELD_OUT

    def make(folder: Path) -> Mapping[str, Any]:
        it = quickstart.Quickstart(study.out, family, 0)
        prompts = quickstart.prompts_of("prompts", num, quickstart.VALIDATION)
        rows = it.tokenized(prompts)
        answers = sample_texts(str(sft.model), rows, SAMPLES_PER_PROMPT, quickstart.MAX_NEW_TOKENS, 0)
        return write_labels(folder, prompts, answers, NUM_HELD_OUT, 0)

    return study.part("labels", [num, NUM_HELD_OUT, SAMPLES_PER_PROMPT], [sft], make)


def _reward_models(study: Study, family: str, sft: Made, labels: Made) -> dict[str, Made]:
    found = {}
    for name, file, data in (
        ("overall", "preferences", "overall"),
        ("completeness", "preferences", "completeness"),
        ("factuality", "factuality", "spans"),
        ("relevance", "relevance", "spans"),
    ):
        paths = {f"data.{use}.path": labels.folder / f"{data}_{use}.jsonl" for use in ("train", "evaluation")}
        file_path = CONFIGS / family / f"{file}.yaml"
        found[name] = study.train(name, file_path, 0, [sft, labels], {"model.path": sft.model, **paths})
    return found


def _ppo(study: Study, family: str, arm: Arm, seed: int, sft: Made, models: Mapping[str, Made]) -> Made:
    """The value model starts from the arm's reward model of whole answers, as in the quickstart."""
    used = ["overall"] if arm.weights is None else list(DEFAULT)
    overrides: dict[str, Any] = {
        "model.path": sft.model, "reference": sft.model, "value_model.path": models[used[0]].model,
        "data.train.seed": seed,
    }  # fmt: skip
    for place, name in enumerate(used):
        overrides[f"rewards.{place}.model"] = models[name].model
        if arm.weights is not None:
            overrides[f"rewards.{place}.weight"] = arm.weights[name]
    file = CONFIGS / family / f"{arm.file}.yaml"
    return study.train(f"{arm.name}-{seed}", file, seed, [sft, *(models[name] for name in used)], overrides)


def _finish(
    study: Study, family: str, num_seeds: int, found: Mapping[str, list[tuple[Made, Made]]],
    models: Mapping[str, Made], table: Made, labels: Made,
) -> dict[str, Any]:  # fmt: skip
    """Writes results.json with what is there by now."""
    results = summarize(
        {name: [(policy.folder, measured.folder) for policy, measured in some] for name, some in found.items()},
        {arm.name: dict(arm.weights) for arm in arms(num_seeds) if arm.weights is not None},
    )
    results |= {
        "family": family,
        "labels": dict(labels.facts),
        "reward_models": dict(table.facts)
        | {"spans": {name: read_span_report(models[name].model).model_dump() for name in ("factuality", "relevance")}},
        "seconds": dict(study.seconds),
        "machine": describe_machine(1),
    }
    durable_files.replace_text(study.out / RESULTS, json.dumps(results, indent=1, allow_nan=False) + "\n")
    return results
