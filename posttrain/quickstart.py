"""The whole loop on the built-in task: base → SFT → labelled samples → reward model → PPO and DPO → evaluation.

Each training stage is an ordinary run of an ordinary YAML file, in a folder of its own below `out`; what is special
here is only the annotators, who are simulated, and the true reward, which is known.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console

from posttrain import config, run
from posttrain.data.collate import Encoder, Tokenized, tokenize
from posttrain.data.jsonl import write_rows
from posttrain.data.records import Comparison, Prompt
from posttrain.data.sources import preference_jsonl
from posttrain.errors import InputError
from posttrain.evaluation import results
from posttrain.evaluation.comparing import compare, pair_scores
from posttrain.figures import report
from posttrain.models.loading import locate
from posttrain.training.run_folder import peak_rss_mb
from posttrain.worlds.grounded_qa import Config as World
from posttrain.worlds.grounded_qa import annotators, load
from posttrain.worlds.grounded_qa.truth import judge

CONFIGS = Path(__file__).parent / "quickstart_configs"
SAMPLES_PER_PROMPT = 4
VALIDATION = 1_000_000  # added to the seed of the prompts that SFT is watched on, so that the final ones stay unseen
NUM_LABELLED, NUM_HELD_OUT, NUM_EVALUATED = 500, 100, 200
MAX_PROMPT_TOKENS, MAX_RESPONSE_TOKENS = 224, 96
STAGES = ("sft", "labels", "reward_model", "ppo", "dpo", "evaluation")


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

    def train(self, stage: str, *overrides: str) -> Path:
        """Run one YAML file of this family with paths below `out`; returns the folder of the trained model."""
        path = self.out / stage
        settings = config.load(CONFIGS / self.family / f"{stage}.yaml", [f"seed={self.seed}", *overrides], str(path))
        run.train(settings, path)
        return path / "model"


def main(out: Path, family: str, seed: int) -> None:
    """Everything, into `out`; ends with a table, summary.json and report.html."""
    if out.exists() and any(out.iterdir()):
        raise InputError(f"{out}: is not empty; give another --out, or delete it")
    run.set_threads(None)
    started = time.perf_counter()
    it = Quickstart(out, family, seed)
    base = f"builtin/{family}"
    locate(base)
    with it.stage("sft", "imitate 1,000 demonstrations by imperfect people"):
        sft = it.train("sft", f"data.train.seed={seed}", f"data.evaluation.seed={seed + VALIDATION}")
    with it.stage("labels", f"{SAMPLES_PER_PROMPT} samples a prompt, compared pair by pair by simulated annotators"):
        held_out = label_samples(it, sft)
    train_path, held_out_path = out / "preferences/train.jsonl", out / "preferences/heldout.jsonl"
    data = (f"data.train.path={train_path}", f"data.evaluation.path={held_out_path}")
    with it.stage("reward_model", "learn which of two answers the annotators prefer"):
        reward_model = it.train("reward_model", f"model.path={sft}", *data)
        facts = reward_model_facts(it, reward_model, held_out)
    with it.stage("ppo", "sample, score with the reward model, step; stay near the SFT model"):
        ppo = it.train("ppo", f"model.path={sft}", f"value_model.path={reward_model}", f"rewards.0.model={reward_model}",
                       f"data.train.seed={seed}")  # fmt: skip
    with it.stage("dpo", "learn from the same pairs without a reward model"):
        dpo = it.train("dpo", f"model.path={sft}", *data)
    with it.stage("evaluation", f"{NUM_EVALUATED} unseen prompts, one sampled answer of each model"):
        models = compare(
            {"base": base, "sft": str(sft), "ppo": str(ppo), "dpo": str(dpo)}, "sft", str(reward_model),
            evaluation_rows(it), judge_answer, MAX_RESPONSE_TOKENS, seed,
        )  # fmt: skip
    it.seconds["total"] = round(time.perf_counter() - started, 1)
    finish(it, models, facts)


def finish(it: Quickstart, models: Sequence[results.ModelResult], facts: dict[str, float]) -> None:
    summary = results.summarize(models, it.seconds, facts)
    prompts = [row.record for row in evaluation_rows(it)]
    results.write_evaluation(it.out / "evaluation.jsonl", prompts, models)
    results.write_summary(it.out / "summary.json", summary)
    path = report.write_quickstart(it.out)
    results.print_table(summary, it.console)
    accuracy, ceiling = facts["accuracy"], facts["ceiling"]
    it.console.print(
        f"Reward model: {accuracy:.3f} of {facts['n']:.0f} unseen decided pairs as the annotators labelled them; the true "
        f"reward itself reaches {ceiling:.3f}.\n{it.seconds['total']:.0f} s, peak memory {peak_rss_mb():.0f} MB. "
        f"Report: {path}", highlight=False,
    )  # fmt: skip


def tokenized_prompts(prompts: Sequence[Prompt], model: Path | str) -> list[Tokenized]:
    from posttrain.models.loading import load_tokenizer, read_config

    is_encoder_decoder = bool(read_config(str(model), None).is_encoder_decoder)
    encoder = Encoder(load_tokenizer(str(model)), is_encoder_decoder, MAX_PROMPT_TOKENS, MAX_RESPONSE_TOKENS)
    return tokenize(prompts, encoder, "prompts")


def evaluation_rows(it: Quickstart) -> list[Tokenized]:
    prompts = load(World(split="evaluation", num=NUM_EVALUATED, seed=it.seed))
    return tokenized_prompts([p for p in prompts if isinstance(p, Prompt)], f"builtin/{it.family}")


def label_samples(it: Quickstart, sft: Path) -> list[Comparison]:
    """Sample from the SFT model, label, and write preferences/{train,heldout}.jsonl. Returns the held-out comparisons."""
    from posttrain.evaluation.comparing import sample_texts

    prompts = [
        p
        for p in load(World(split="prompts", num=NUM_LABELLED + NUM_HELD_OUT, seed=it.seed + 1))
        if isinstance(p, Prompt)
    ]
    rows = tokenized_prompts(prompts, sft)
    answers = sample_texts(str(sft), rows, SAMPLES_PER_PROMPT, MAX_RESPONSE_TOKENS, it.seed)
    settings = annotators.Config(seed=it.seed)
    comparisons = [annotators.label(prompt, texts, settings) for prompt, texts in zip(prompts, answers, strict=True)]
    train, held_out = comparisons[:NUM_LABELLED], comparisons[NUM_LABELLED:]
    for name, part in (("train", train), ("heldout", held_out)):
        write_rows(it.out / "preferences" / f"{name}.jsonl", [preference_jsonl.to_row(c) for c in part])
    return held_out


def reward_model_facts(it: Quickstart, reward_model: Path, held_out: Sequence[Comparison]) -> dict[str, float]:
    """Accuracy on unseen decided pairs, beside what the true reward reaches on the same labels."""
    rows = tokenized_prompts([c.prompt for c in held_out], reward_model)
    scores = pair_scores(str(reward_model), held_out, rows, 160)
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
