"""The whole loop on the built-in task: base → SFT → labelled samples → reward model → PPO and DPO → evaluation.

Each training stage is an ordinary run of an ordinary YAML file, in a folder of its own below `out`; what is special
here is only the annotators, who are simulated, and the true reward, which is known.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console

from posttrain import config, run
from posttrain.data.collate import Encoder, Tokenized, prompt_of, tokenize
from posttrain.data.jsonl import write_rows
from posttrain.data.records import Comparison, Prompt
from posttrain.data.sources import preference_jsonl
from posttrain.errors import InputError
from posttrain.evaluation import results
from posttrain.evaluation.comparing import compare, pair_scores, sample_texts
from posttrain.figures import report
from posttrain.models.loading import load_tokenizer, locate, read_config
from posttrain.training.run_folder import peak_rss_mb
from posttrain.worlds.grounded_qa import Config as World
from posttrain.worlds.grounded_qa import annotators, load
from posttrain.worlds.grounded_qa.truth import judge

CONFIGS = Path(__file__).parent / "quickstart_configs"
STAGES = ("sft", "labels", "reward_model", "ppo", "dpo", "evaluation")
NUM_LABELLED, NUM_HELD_OUT, NUM_EVALUATED = 2000, 150, 200
SAMPLES_PER_PROMPT = 4
MAX_PROMPT_TOKENS, MAX_NEW_TOKENS = 224, 96
MAX_RECORDED_TOKENS = 160  # a sampled text can take more tokens when it is read than when it was written
VALIDATION = 1_000_000  # added to the seed of the prompts that SFT is watched on, so that the final ones stay unseen


@dataclass
class Quickstart:
    out: Path
    family: str
    seed: int
    console: Console = field(default_factory=Console)
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str, what: str) -> Iterator[None]:
        self.console.print(f"[bold]{STAGES.index(name) + 1}/{len(STAGES)} {name}[/bold]: {what}", highlight=False)
        started = time.perf_counter()
        yield
        self.seconds[name] = round(time.perf_counter() - started, 1)

    def train(self, stage: str, **paths_and_seeds: Path | int) -> Path:
        """Run one YAML file of this family in a folder below `out`; returns the folder of the trained model."""
        overrides = [f"{name.replace('__', '.')}={value}" for name, value in paths_and_seeds.items()]
        path = self.out / stage
        settings = config.load(CONFIGS / self.family / f"{stage}.yaml", [f"seed={self.seed}", *overrides], str(path))
        run.train(settings, path)
        return path / "model"

    def tokenized(self, prompts: Sequence[Prompt]) -> list[Tokenized]:
        """Prompts in the tokens of the base, which all models of the run share."""
        base = f"builtin/{self.family}"
        is_encoder_decoder = bool(read_config(base, None).is_encoder_decoder)
        return tokenize(
            prompts, Encoder(load_tokenizer(base), is_encoder_decoder, MAX_PROMPT_TOKENS, MAX_NEW_TOKENS), "prompts"
        )


def main(out: Path, family: str, seed: int) -> None:
    """Everything, into `out`; ends with a table, summary.json and report.html."""
    if out.exists() and any(out.iterdir()):
        raise InputError(f"{out}: is not empty; give another --out, or delete it")
    run.set_threads(None)
    started = time.perf_counter()
    it = Quickstart(out, family, seed)
    locate(f"builtin/{family}")
    with it.stage("sft", "imitate 1,000 demonstrations by imperfect people"):
        sft = it.train("sft", data__train__seed=seed, data__evaluation__seed=seed + VALIDATION)
    with it.stage("labels", f"{SAMPLES_PER_PROMPT} samples a prompt, compared pair by pair by simulated annotators"):
        held_out = label_samples(it, sft)
    pairs = {f"data__{use}__path": out / "preferences" / f"{use}.jsonl" for use in ("train", "evaluation")}
    with it.stage("reward_model", "learn which of two answers the annotators prefer"):
        reward_model = it.train("reward_model", model__path=sft, **pairs)
        facts = reward_model_facts(it, reward_model, held_out)
    with it.stage("ppo", "sample, score with the reward model, step; stay near the SFT model"):
        scored_by = {"value_model__path": reward_model, "rewards__0__model": reward_model}
        ppo = it.train("ppo", model__path=sft, data__train__seed=seed, **scored_by)
    with it.stage("dpo", "learn from the same pairs without a reward model"):
        dpo = it.train("dpo", model__path=sft, **pairs)
    with it.stage("evaluation", f"{NUM_EVALUATED} unseen prompts, one sampled answer of each model"):
        rows = it.tokenized(prompts_of("evaluation", NUM_EVALUATED, seed))
        models = {"base": f"builtin/{family}", "sft": str(sft), "ppo": str(ppo), "dpo": str(dpo)}
        compared = compare(models, "sft", str(reward_model), rows, judge_answer, MAX_NEW_TOKENS, seed)
    it.seconds["total"] = round(time.perf_counter() - started, 1)
    finish(it, [prompt_of(row.record) for row in rows], compared, facts)


def prompts_of(split: str, num: int, seed: int) -> list[Prompt]:
    return [prompt_of(record) for record in load(World.model_validate({"split": split, "num": num, "seed": seed}))]


def label_samples(it: Quickstart, sft: Path) -> list[Comparison]:
    """Sample from the SFT model, label, write preferences/{train,evaluation}.jsonl. Returns the held-out part."""
    prompts = prompts_of("prompts", NUM_LABELLED + NUM_HELD_OUT, it.seed + VALIDATION)
    answers = sample_texts(str(sft), it.tokenized(prompts), SAMPLES_PER_PROMPT, MAX_NEW_TOKENS, it.seed)
    settings = annotators.Config(seed=it.seed)
    labelled = [annotators.label(prompt, texts, settings) for prompt, texts in zip(prompts, answers, strict=True)]
    train, held_out = labelled[:NUM_LABELLED], labelled[NUM_LABELLED:]
    (it.out / "preferences").mkdir()
    for name, part in (("train", train), ("evaluation", held_out)):
        write_rows(it.out / "preferences" / f"{name}.jsonl", [preference_jsonl.to_row(c) for c in part])
    return held_out


def reward_model_facts(it: Quickstart, reward_model: Path, held_out: Sequence[Comparison]) -> dict[str, float]:
    """Accuracy on unseen decided pairs, beside what the true reward reaches on the same labels."""
    rows = it.tokenized([comparison.prompt for comparison in held_out])
    scores = pair_scores(str(reward_model), held_out, rows, MAX_RECORDED_TOKENS)
    write_rows(it.out / "reward_model" / "pair_scores.jsonl", [{"better": b, "worse": w} for b, w in scores])
    correct = [1.0 if better > worse else 0.5 if better == worse else 0.0 for better, worse in scores]
    ceiling, _ = annotators.ceiling(held_out)
    return {"accuracy": sum(correct) / len(correct), "n": len(correct), "ceiling": ceiling}


def judge_answer(prompt: Prompt, answer: str) -> tuple[float, list[results.Fault]]:
    """The true reward and the faulty spans of one answer."""
    truth = judge(prompt, answer)
    spans = (*truth.factuality, *truth.relevance)
    faults = [results.Fault(start=s.start, end=s.end, kind=s.error) for s in spans if s.error is not None]
    return truth.reward, faults


def finish(
    it: Quickstart, prompts: Sequence[Prompt], models: Sequence[results.ModelResult], facts: Mapping[str, float]
) -> None:
    """Write the numbers and the report, and show the table."""
    summary = results.summarize(models, it.seconds, facts)
    results.write_evaluation(it.out / "evaluation.jsonl", prompts, models)
    results.write_summary(it.out / "summary.json", summary)
    path = report.write_quickstart(it.out)
    results.print_table(summary, it.console)
    it.console.print(
        f"The reward model orders {facts['accuracy']:.3f} of {facts['n']:.0f} unseen decided pairs as the annotators "
        f"did; the true reward itself orders {facts['ceiling']:.3f}.\n"
        f"{it.seconds['total']:.0f} s, peak memory {peak_rss_mb():.0f} MB. Report: {path}",
        highlight=False,
    )
