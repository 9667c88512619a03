"""The composition root: a configuration becomes objects, which train. The one file that knows every part."""

import logging
import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import torch

from posttrain import plugins, randomness
from posttrain.assembly.best import Best, check_best
from posttrain.assembly.evaluating import CACHE, Evaluations
from posttrain.assembly.exporting import export_whole
from posttrain.assembly.journal import Journal, watch
from posttrain.assembly.parts import RunParts, check_models
from posttrain.assembly.pretraining import pretraining_rows, side_loss
from posttrain.assembly.records import check_pairs, collator, load_records, measures_of, texts_of, tokenized
from posttrain.assembly.sections import REWARD_MODEL_RECORDS, check_sections
from posttrain.assembly.spans import span_data
from posttrain.config import RunConfig, parse, resolved
from posttrain.data.collate import Tokenized
from posttrain.data.loading import DataOrder
from posttrain.data.text_columns import TextColumns
from posttrain.errors import InputError, NumericStop
from posttrain.models.precision import faster_dtype, products_in
from posttrain.training import checkpoint
from posttrain.training.batch_sources import RecordBatches, RolloutBatches
from posttrain.training.distributed import Ranks, start_ranks
from posttrain.training.experience import Act, WeightedReward
from posttrain.training.metrics import Config as TrackerConfig
from posttrain.training.metrics import Metrics, check_trackers, open_sinks
from posttrain.training.optimizer import build_optimizer
from posttrain.training.progress import Progress
from posttrain.training.run_folder import RunFolder, changed_settings, peak_rss_mb, read_config, read_status
from posttrain.training.signals import stop_on_signals
from posttrain.training.trainer import Trainer, steps_of

log = logging.getLogger(__name__)
TOKENIZER = "tokenizer"  # folder of a tokenizer that the run trained, so that a resume has the very same


def set_threads(num_threads: int | None) -> None:
    """Threads are part of a run's identity: sums of other sizes round differently."""
    if num_threads is None:
        num_threads = int(os.environ.get("OMP_NUM_THREADS", 0)) or min(torch.get_num_threads(), os.cpu_count() or 1)
    torch.set_num_threads(num_threads)


class Run:
    """One run, assembled but not started. Everything that can be wrong with its input is found here."""

    def __init__(self, config: RunConfig, ranks: Ranks, tokenizer: Path | None = None):
        """`tokenizer` is the folder of the one that this run trained when it began."""
        self.config, self.ranks = config, ranks
        randomness.seed_everything(config.seed)
        method = plugins.find("algorithms", config.algorithm.name)
        self.consumes: str = method.CONSUMES
        check_sections(config, self.consumes)
        self.trackers = TrackerConfig.model_validate(config.metrics.model_dump())
        check_trackers(self.trackers)
        check_models(config)
        train_records = load_records(config.data.train, "data.train", self.consumes)
        evaluation_records = (
            load_records(config.data.evaluation, "data.evaluation", self.consumes) if config.data.evaluation else []
        )[: config.evaluation.num_examples]
        check_pairs(train_records, config.algorithm.settings, "data.train")
        check_pairs(evaluation_records, config.algorithm.settings, "data.evaluation")
        self.parts = RunParts(config, self.consumes, ranks, texts_of(train_records), tokenizer)
        self.config = self._with_compute_dtype()
        self.train_rows = tokenized(train_records, self.parts.start, config.data, "data.train")
        evaluation_rows = tokenized(evaluation_records, self.parts.start, config.data, "data.evaluation")
        self.pretraining_rows = pretraining_rows(config, self.parts.start)
        self.spans = None
        if self.consumes == "span_judgements":
            self.spans = span_data(config, self.train_rows, evaluation_rows)
        self.algorithm = method.build(config.algorithm.settings, self.parts)
        if self.spans is not None:
            self.algorithm.module.log_weights.copy_(torch.tensor(self.spans.class_weights).log())
        self.rewards = self._rewards()
        self.evaluations = self._evaluations(evaluation_rows)
        if config.checkpoint.best_metric is not None:
            check_best(config.checkpoint.best_metric, self.evaluations.names())

    def _with_compute_dtype(self) -> RunConfig:
        """A choice that is left to a measurement is made once, so that a resumed run keeps it."""
        if self.config.model.compute_dtype != "auto":
            return self.config
        start, device = self.parts.start, self.ranks.device
        dtype = faster_dtype(self.parts.trial_module().to(device), start.model.config, device)
        log.info("model.compute_dtype=auto: %s is faster here", dtype)
        model = self.config.model.model_copy(update={"compute_dtype": str(dtype).removeprefix("torch.")})
        return self.config.model_copy(update={"model": model})

    def trainer(self, folder: RunFolder, journal: Journal, best: Best) -> Trainer:
        settings, ranks = self.config.training, self.ranks
        order = DataOrder(
            len(self.train_rows),
            settings.batch_size,
            self.config.seed,
            rank=ranks.rank,
            world_size=ranks.size,
            should_shuffle=self.config.data.should_shuffle,
        )

        def save(step: int, state: dict[str, Any]) -> None:
            state |= {"journal": journal.state_dict(), "best": best.state_dict()}
            checkpoint.save(folder.checkpoints, step, state, self.config.checkpoint.keep)
            folder.record("running", step)

        def evaluate(step: int) -> None:
            best.see(step, self.evaluations.evaluate(step, journal, folder.path))

        return Trainer(
            algorithm=self.algorithm,
            optimizer=build_optimizer(self.algorithm.module, settings),
            batches=self._batches(order, folder),
            settings=settings,
            num_steps=steps_of(settings, order.num_batches),
            seed=self.config.seed,
            ranks=ranks,
            log=journal.write,
            evaluate=evaluate,
            save=save,
            evaluate_every=self.config.evaluation.every,
            save_every=self.config.checkpoint.every,
            side=side_loss(self.config, self.pretraining_rows, self.parts, ranks),
        )

    def _batches(self, order: DataOrder, folder: RunFolder) -> RecordBatches | RolloutBatches:
        device = self.ranks.device
        if self.consumes == "rollouts":
            act = Act(self._engine(), self.rewards, self.ranks)
            return RolloutBatches(order, self.train_rows, act, self.algorithm, device)
        if self.spans is not None:
            return RecordBatches(order, self.spans.collator(is_evaluation=False), device)
        collate = collator(self.consumes, self.train_rows, self.parts.reference, folder.path / CACHE)
        return RecordBatches(order, collate, device)

    def _engine(self, is_evaluation: bool = False) -> Any:
        """The rollout engine; for evaluation, with one response a prompt."""
        choice = self.config.rollout
        engine = choice.plugin if choice else plugins.find("rollouts", "in_process")
        settings = choice.settings if choice else engine.Config(max_new_tokens=self.config.data.max_response_tokens)
        changed: dict[str, Any] = {"seed": self.config.seed}
        if is_evaluation:
            changed |= {"samples_per_prompt": 1, "is_greedy": self.config.evaluation.decoding == "greedy"}
        return engine.build(settings.model_copy(update=changed), self.parts.language_model, self.parts.start)

    def _evaluations(self, rows: Sequence[Tokenized]) -> Evaluations:
        return Evaluations(
            settings=self.config.evaluation,
            consumes=self.consumes,
            has_text=self.consumes not in REWARD_MODEL_RECORDS,
            rows=rows,
            spans=self.spans,
            algorithm=self.algorithm,
            reference=self.parts.reference,
            engine=partial(self._engine, is_evaluation=True),
            rewards={reward.name: reward.judge for reward in self.rewards},
            measures=measures_of(self.config.evaluation.measures),
            columns=TextColumns(self.parts.start.tokenizer),
            device=self.ranks.device,
        )

    def _rewards(self) -> list[WeightedReward]:
        tokenizer, device = self.parts.start.tokenizer, self.ranks.device
        return [
            WeightedReward(
                reward.name,
                reward.weight,
                reward.choice.plugin.build(reward.choice.settings, reward.name, tokenizer, device),
            )
            for reward in self.config.rewards
        ]

    def export(self, folder: RunFolder, target: Path, files: Mapping[str, str] | None = None) -> None:
        dtype = getattr(torch, self.config.model.saved_dtype)
        held_out = partial(self.evaluations.batches, folder.path / CACHE)
        start, device = self.parts.start, self.ranks.device
        export_whole(self.algorithm.module, start.tokenizer, target, dtype, held_out, device, files)


def train(config: RunConfig, path: Path) -> Path:
    """A new run. Nothing is written before its whole input was read and found good."""
    set_threads(config.num_threads)
    ranks = start_ranks()
    run = Run(config, ranks)
    with RunFolder.create(path, resolved(run.config), ranks.size) as folder:
        if config.model.path is None:
            run.parts.start.tokenizer.save_pretrained(path / TOKENIZER)
        return _train(run, folder, None)


def resume(path: Path, allow_inexact: bool = False) -> Path:
    """Continue the run in `path` from its newest undamaged checkpoint, to the same bits as if it had never stopped.

    `allow_inexact` goes on under other versions and with changed settings; a finished run is then taken up again.
    """
    config = parse(read_config(path), str(path / "config.yaml")).model_copy(update={"out": str(path)})
    status = read_status(path)
    if status is not None and status["state"] == "done" and not changed_settings(path):
        log.info("%s: already done, at step %d", path, status["step"])
        return path
    set_threads(config.num_threads)
    ranks = start_ranks()
    with RunFolder.open(path, log.warning, ranks.size, allow_inexact) as folder:
        found = checkpoint.load_latest(folder.checkpoints, log.warning)
        tokenizer = path / TOKENIZER if (path / TOKENIZER).exists() else None
        return _train(Run(config, ranks, tokenizer), folder, found)


def _train(run: Run, folder: RunFolder, found: tuple[int, dict[str, Any]] | None) -> Path:
    with ExitStack() as stack:
        stack.enter_context(products_in(getattr(torch, run.config.model.compute_dtype)))
        metrics = Metrics(folder.path, open_sinks(run.trackers, folder.path, folder.run_id, resolved(run.config)))
        stack.callback(metrics.close)
        progress = stack.enter_context(Progress(run.config.algorithm.name))
        journal = Journal(metrics, progress, watch(run.config))
        best = Best(run.config.checkpoint, folder.path / "best", partial(run.export, folder))
        trainer = run.trainer(folder, journal, best)
        journal.load_state_dict(found[1]["journal"] if found else None)
        if found:
            best.load_state_dict(found[1].get("best", best.state_dict()))  # absent in checkpoints of earlier versions
            _restore(trainer, found[1], folder.path)
            log.info("resuming after step %d", trainer.step)
        folder.record("running", trainer.step)
        progress.start(trainer.step, trainer.num_steps)
        stop = stack.enter_context(stop_on_signals())
        try:
            trainer.run(stop)
        except NumericStop as fault:
            folder.record("stopped", trainer.step)
            file = folder.record_numeric_stop(trainer.step + 1, fault)
            raise NumericStop(f"step {trainer.step + 1}: {fault}; its prompts are in {file}", fault.prompts) from fault
        except BaseException:
            folder.record("stopped", trainer.step)
            raise
        run.export(folder, folder.model)
        folder.record("done", trainer.step, trainer.stop_reason)
    early = f", early: {trainer.stop_reason}" if trainer.stop_reason else ""
    log.info("%s: done after %d steps%s; peak memory %.0f MB", folder.path, trainer.step, early, peak_rss_mb())
    return folder.path


def _restore(trainer: Trainer, state: dict[str, Any], path: Path) -> None:
    try:
        trainer.load_state_dict(state)
    except InputError:
        raise
    except (RuntimeError, ValueError, KeyError) as fault:  # what torch raises for tensors of other names or shapes
        reason = " ".join(str(fault).split())[:300]
        raise InputError(
            f"{path}: the checkpoint does not fit the model and optimiser of config.yaml ({reason}); put the settings "
            "and the model folder back as they were when the run began"
        ) from fault
