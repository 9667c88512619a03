"""The composition root: a configuration becomes objects, which train. The one file that knows every part."""

import logging
import os
import random
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch

from posttrain import plugins, randomness
from posttrain.config import RunConfig, parse, resolved
from posttrain.data.collate import COLLATE, Encoder, Tokenized, preferences, prompt_of, responses_of, tokenize
from posttrain.data.loading import DataOrder
from posttrain.data.records import Comparison, Demonstration, Judgement, Prompt
from posttrain.errors import InputError
from posttrain.evaluation.evaluate import Generated, generate_and_measure, loss_metrics
from posttrain.models.export import export
from posttrain.models.scorer import SequenceScorer, write_statistics
from posttrain.parts import RunParts
from posttrain.training import checkpoint
from posttrain.training.batch_sources import RecordBatches, RolloutBatches
from posttrain.training.distributed import Ranks, start_ranks
from posttrain.training.experience import Act, WeightedReward
from posttrain.training.metrics import Config as TrackerConfig
from posttrain.training.metrics import GENERATIONS, Metrics, check_trackers, open_sinks
from posttrain.training.optimizer import build_optimizer
from posttrain.training.progress import Progress
from posttrain.training.references import reference_logprobs, with_reference
from posttrain.training.run_folder import RunFolder, peak_rss_mb, read_config, read_status
from posttrain.training.signals import stop_on_signals
from posttrain.training.trainer import Trainer, steps_of

log = logging.getLogger(__name__)
RECORD_TYPES = {
    "demonstrations": Demonstration, "judgements": Judgement, "preferences": Comparison,
    "referenced_preferences": Comparison, "rollouts": (Prompt, Demonstration, Comparison),
}  # fmt: skip
EVALUATION_BATCH = 64


def set_threads(num_threads: int | None) -> int:
    """Threads are part of a run's identity: sums of other sizes round differently."""
    if num_threads is None:
        num_threads = int(os.environ.get("OMP_NUM_THREADS", 0)) or min(torch.get_num_threads(), os.cpu_count() or 1)
    torch.set_num_threads(num_threads)
    return num_threads


class Run:
    """One run, assembled but not started. Everything that can be wrong with its input is found here."""

    def __init__(self, config: RunConfig, ranks: Ranks):
        self.config, self.ranks = config, ranks
        randomness.seed_everything(config.seed)
        self.method = plugins.find("algorithms", config.algorithm.name)
        self.consumes: str = self.method.CONSUMES
        self._check_sections()
        check_trackers(self._tracker_config)
        self.train_records = self._records(config.data.train)
        evaluation = config.data.evaluation
        self.evaluation_records = self._records(evaluation)[: config.evaluation.num_examples] if evaluation else []
        self.parts = RunParts(config, self.consumes, ranks, _texts(self.train_records))
        self.train_rows = self._tokenize(self.train_records, "data.train")
        self.evaluation_rows = self._tokenize(self.evaluation_records, "data.evaluation")
        self.algorithm = self.method.build(config.algorithm.settings, self.parts)

    def _check_sections(self) -> None:
        c = self.config
        if self.consumes == "rollouts":
            for name, is_missing in (("rollout", c.rollout is None), ("rewards", not c.rewards), ("model.path", c.model.path is None)):
                if is_missing:
                    raise InputError(f"{name}: missing; algorithm {c.algorithm.name} samples responses and is rewarded for them")
        elif c.rollout is not None or c.rewards:
            raise InputError(f"rollout, rewards: algorithm {c.algorithm.name} learns from records; leave these sections out")
        if self.is_reward_model:
            if c.data.evaluation is None:
                raise InputError("data.evaluation: missing; a reward model needs held-out records for the mean and std of its scores")
            if c.model.path is None:
                raise InputError("model.path: missing; a reward model starts from a language model's folder")

    @property
    def is_reward_model(self) -> bool:
        return self.consumes in ("preferences", "judgements")

    def _records(self, choice: Any) -> list[Any]:
        records = plugins.find(("data.sources", "worlds"), choice.name).load(choice.settings)
        wanted = RECORD_TYPES[self.consumes]
        for record in records:
            if not isinstance(record, wanted):
                raise InputError(f"data: source {choice.name} gives {type(record).__name__} records, and algorithm "
                                 f"{self.config.algorithm.name} learns from {self.consumes}")  # fmt: skip
        if not records:
            raise InputError(f"data: source {choice.name} gave no records")
        return [prompt_of(record) for record in records] if self.consumes == "rollouts" else records

    def _tokenize(self, records: Sequence[Any], where: str) -> list[Tokenized]:
        data = self.config.data
        encoder = Encoder(
            self.parts.start.tokenizer, self.parts.start.is_encoder_decoder, data.max_prompt_tokens, data.max_response_tokens,
            data.prompt_truncation, data.response_truncation,
        )  # fmt: skip
        rows = tokenize(records, encoder, where)
        if encoder.num_cut_prompts or encoder.num_cut_responses:
            log.warning("%s: cut %d prompts and %d responses of %d records to the limits", where,
                        encoder.num_cut_prompts, encoder.num_cut_responses, len(records))  # fmt: skip
        return rows

    @cached_property
    def _tracker_config(self) -> TrackerConfig:
        return TrackerConfig.model_validate(self.config.metrics.model_dump())

    def trainer(self, folder: RunFolder, metrics: Metrics, progress: Progress) -> Trainer:
        settings = self.config.training
        order = DataOrder(len(self.train_rows), settings.batch_size, self.config.seed, rank=self.ranks.rank, world_size=self.ranks.size)

        def save(step: int, state: dict[str, Any]) -> None:
            if self.ranks.is_main:
                metadata = {"metrics_offset": metrics.offset()}
                checkpoint.save(folder.checkpoints, step, state | {"metadata": metadata}, self.config.checkpoint.keep)
                folder.record("running", step)
            self.ranks.wait()

        def write(step: int, values: dict[str, float]) -> None:
            if self.ranks.is_main:
                metrics.log(step, values)
                progress.show(step, values)

        return Trainer(
            self.algorithm, build_optimizer(self.algorithm.module, settings), self._batches(order, folder), settings,
            steps_of(settings, order.num_batches), self.config.seed, self.ranks, write,
            partial(self._evaluate, metrics=metrics, progress=progress), save,
            self.config.evaluation.every, self.config.checkpoint.every,
        )  # fmt: skip

    def _batches(self, order: DataOrder, folder: RunFolder) -> RecordBatches | RolloutBatches:
        if self.consumes == "rollouts":
            return RolloutBatches(order, self.train_rows, Act(self._engine(), self._rewards, self.ranks), self.algorithm, self.ranks.device)
        return RecordBatches(order, self._collate(self.train_rows, folder.path / "cache"), self.ranks.device)

    def _collate(self, rows: Sequence[Tokenized], cache: Path) -> Callable[[Sequence[int]], Any]:
        """Row numbers → the batch that this algorithm consumes."""
        if self.consumes != "referenced_preferences":
            return lambda numbers: COLLATE[self.consumes]([rows[i] for i in numbers])
        logprobs, was_cached = reference_logprobs(self.parts.reference(), rows, EVALUATION_BATCH // 4, cache)
        log.info("reference log-probabilities of %d prompts: %s", len(rows), "from the cache" if was_cached else "computed")
        return lambda numbers: with_reference(preferences([rows[i] for i in numbers]), [logprobs[i] for i in numbers])

    def _engine(self, is_evaluation: bool = False) -> Any:
        """The rollout engine; for evaluation, one greedy sample a prompt."""
        choice = self.config.rollout
        module = plugins.find("rollouts", choice.name if choice else "in_process")
        settings = choice.settings if choice else module.Config(max_new_tokens=self.config.data.max_response_tokens)
        settings = settings.model_copy(update={"seed": self.config.seed})
        if is_evaluation:
            settings = settings.model_copy(update={"samples_per_prompt": 1, "is_greedy": True})
        return module.build(settings, self.parts.language_model, self.parts.start)

    @cached_property
    def _rewards(self) -> list[WeightedReward]:
        return [
            WeightedReward(reward.name, reward.weight, plugins.find("rewards", reward.choice.name).build(
                reward.choice.settings, reward.name, self.parts.start.tokenizer, self.ranks.device))
            for reward in self.config.rewards
        ]  # fmt: skip

    def _evaluate(self, step: int, metrics: Metrics, progress: Progress) -> None:
        if not self.evaluation_rows or not self.ranks.is_main:
            return
        values: dict[str, float] = {}
        if self.consumes != "rollouts":
            batches = [self._evaluation_collate(range(i, min(i + EVALUATION_BATCH, len(self.evaluation_rows))))
                       for i in range(0, len(self.evaluation_rows), EVALUATION_BATCH)]  # fmt: skip
            values |= loss_metrics(self.algorithm, batches, self.ranks.device)
        if self.config.evaluation.generate and not self.is_reward_model:
            generated = self._generate()
            values |= generated.means()
            rows = [[p.text, r, *(generated.scores[n][i] for n in generated.scores)]
                    for i, (p, r) in enumerate(zip(generated.prompts, generated.responses, strict=True))]  # fmt: skip
            metrics.log_table(GENERATIONS, ["prompt", "output", *generated.scores], rows, step)
        named = {f"evaluation/{name}": value for name, value in values.items()}
        if named:
            metrics.log(step, named)
            progress.show(step, named)

    @cached_property
    def _evaluation_collate(self) -> Callable[[Sequence[int]], Any]:
        return self._collate(self.evaluation_rows, Path(self.config.out or ".") / "cache")

    def _generate(self) -> Generated:
        measures = {}
        for name in self.config.evaluation.measures:
            module = plugins.find("evaluation.measures", name)
            measures["rougeL" if name == "rouge" else name] = partial(module.measure, config=module.Config())
        rewards = {reward.name: reward.judge for reward in self._rewards}
        return generate_and_measure(self._engine(is_evaluation=True), self.evaluation_rows, rewards, measures, EVALUATION_BATCH, self.ranks.device)

    def finish(self, folder: RunFolder) -> None:
        """The trained model as a folder; a reward model with the statistics of its held-out scores."""
        if not self.ranks.is_main:
            return
        module = self.algorithm.module
        export(module, self.parts.start.tokenizer, folder.model)
        if isinstance(module, SequenceScorer):
            with torch.no_grad():
                batches = [self._evaluation_collate([i]) for i in range(len(self.evaluation_rows))]
                scores = [module.eval()(batch.sequences.to(self.ranks.device)).cpu() for batch in batches]
            write_statistics(folder.model, torch.cat(scores))


def _texts(records: Sequence[Any]) -> list[str]:
    """Every text of the records, in a fixed random order so that a tokenizer sees all kinds alike."""
    texts = [text for record in records for text in (prompt_of(record).text, *responses_of(record))]
    random.Random(0).shuffle(texts)
    return texts


def train(config: RunConfig, path: Path) -> Path:
    """A new run. Nothing is written before its whole input was read and found good."""
    set_threads(config.num_threads)
    ranks = start_ranks()
    run = Run(config, ranks)
    with RunFolder.create(path, resolved(config), ranks.size) as folder:
        return _train(run, folder, None)


def resume(path: Path, allow_inexact: bool = False) -> Path:
    """Continue the run in `path` from its newest undamaged checkpoint, to the same bits as if it had never stopped."""
    config = parse(read_config(path), str(path / "config.yaml")).model_copy(update={"out": str(path)})
    status = read_status(path)
    if status is not None and status["state"] == "done":
        log.info("%s: already done, at step %d", path, status["step"])
        return path
    set_threads(config.num_threads)
    ranks = start_ranks()
    with RunFolder.open(path, log.warning, ranks.size, allow_inexact) as folder:
        found = checkpoint.load_latest(folder.checkpoints, log.warning)
        return _train(Run(config, ranks), folder, found)


def _train(run: Run, folder: RunFolder, found: tuple[int, dict[str, Any]] | None) -> Path:
    with ExitStack() as stack:
        sinks = open_sinks(run._tracker_config, folder.path, folder.run_id, resolved(run.config)) if run.ranks.is_main else []
        metrics = Metrics(folder.path, sinks)
        stack.callback(metrics.close)
        progress = stack.enter_context(Progress(run.config.algorithm.name, is_shown=run.ranks.is_main))
        trainer = run.trainer(folder, metrics, progress)
        metrics.truncate_to(found[1]["metadata"]["metrics_offset"] if found else 0)
        if found:
            trainer.load_state_dict(found[1])
            log.info("resuming after step %d", trainer.step)
        folder.record("running", trainer.step)
        progress.start(trainer.step, trainer.num_steps)
        stop = stack.enter_context(stop_on_signals())
        try:
            reason = trainer.run(stop)
        except BaseException:
            folder.record("stopped", trainer.step)
            raise
        if reason != "done":
            log.warning("stopped early at step %d: %s", trainer.step, reason)
        run.finish(folder)
        folder.record("done", trainer.step)
    log.info("%s: done after %d steps; peak memory %.0f MB; the model is in %s", folder.path, trainer.step, peak_rss_mb(), folder.model)
    return folder.path
