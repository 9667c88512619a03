"""A quickstart's run folder with invented but plausible numbers, for tests and for looking at the pictures."""

import json
import math
from pathlib import Path

import numpy as np

from posttrain.data.records import Prompt
from posttrain.evaluation.results import Fault, ModelResult, summarize, write_evaluation, write_summary

NUM_PROMPTS = 40
MEANS = {  # gold, learned, KL, ROUGE-L, length
    "base": (0.21, -1.6, 41.0, 0.17, 62),
    "sft": (0.52, 0.1, 0.0, 0.43, 38),
    "ppo": (0.74, 2.1, 9.4, 0.45, 44),
    "dpo": (0.70, 1.7, 11.8, 0.44, 47),
}
NASTY = '<script>alert("x")</script> & 1 < 2 \u202e\x1b[31m $x^2$'


def write_folder(folder: Path, has_gold: bool = True, seed: int = 0) -> Path:
    generator = np.random.default_rng(seed)
    prompts, models = evaluation(generator, has_gold)
    write_evaluation(folder / "evaluation.jsonl", prompts, models)
    seconds = {
        "total": 287.4,
        "sft": 61.2,
        "labels": 12.0,
        "reward_model": 40.1,
        "ppo": 118.7,
        "dpo": 31.5,
        "evaluation": 22.3,
    }
    facts = {"accuracy": 0.764, "n": 600, "ceiling": 0.821, "held_out_mean": 0.03, "held_out_std": 1.12}
    write_summary(folder / "summary.json", summarize(models, seconds, facts))
    (folder / "versions.json").write_text(
        json.dumps({"python": "3.11.9", "torch": "2.13.0", "cpu": "Example CPU", "threads": 2, "git_commit": None})
    )
    for stage, log in logs(generator).items():
        (folder / stage).mkdir(parents=True, exist_ok=True)
        (folder / stage / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in log))
    gaps = generator.normal(1.2, 1.4, 600)
    worse = generator.normal(-0.6, 1.0, 600)
    rows = [{"better": one + gap, "worse": one} for one, gap in zip(worse.tolist(), gaps.tolist(), strict=True)]
    (folder / "reward_model" / "pair_scores.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def evaluation(generator: np.random.Generator, has_gold: bool) -> tuple[list[Prompt], list[ModelResult]]:
    prompts = [
        Prompt(
            text=f"question: when was the Aldora bridge number {place} opened?\npassages: The Aldora bridge of Kest "
            "was opened in 1931. It crosses the Mirn. The Aldora bridge of Lund was opened in 1954 by Ines Varga.",
            id=f"p{place}",
            references=("The bridge of Kest was opened in 1931, and the bridge of Lund in 1954.",),
        )
        for place in range(NUM_PROMPTS)
    ]
    answer = "The bridge of Kest was opened in 1931. The bridge of Kest was opened in 1931. It crosses the Lund."
    faults = [Fault(start=39, end=77, kind="repetition"), Fault(start=78, end=98, kind="wrong_fact")]
    sft_gold = np.clip(generator.normal(MEANS["sft"][0], 0.18, NUM_PROMPTS), 0, 1)
    models = []
    for name, (gold, learned, kl, rouge, length) in MEANS.items():
        golds = sft_gold if name == "sft" else np.clip(generator.normal(gold, 0.18, NUM_PROMPTS), 0, 1)
        models.append(
            ModelResult(
                name=name,
                responses=[NASTY if name == "base" else answer] + [answer] * (NUM_PROMPTS - 2) + [""],
                gold_reward=golds.tolist() if has_gold else None,
                learned_reward=generator.normal(learned, 0.9, NUM_PROMPTS).tolist(),
                kl_to_sft=(generator.gamma(9, kl / 9, NUM_PROMPTS) if kl else np.zeros(NUM_PROMPTS)).tolist(),
                rougeL=np.clip(generator.normal(rouge, 0.1, NUM_PROMPTS), 0, 1).tolist(),
                length=generator.normal(length, 6, NUM_PROMPTS).round().tolist(),
                win_rate_vs_sft=(0.5 + 0.5 * np.sign(golds - sft_gold)).tolist(),
                faults=[[] if name == "base" or place == NUM_PROMPTS - 1 else faults for place in range(NUM_PROMPTS)],
            )
        )
    return prompts, models


def logs(generator: np.random.Generator) -> dict[str, list[dict[str, float]]]:
    def noise(scale: float) -> float:
        return float(generator.normal(0, scale))

    sft, reward_model, ppo, dpo = [], [], [], []
    for step in range(1, 251):
        done = step / 250
        sft.append({"step": step, "train/loss": 0.4 + 2.6 * math.exp(-4 * done) + noise(0.06)})
        if step == 1 or step % 25 == 0:
            loss, rouge = 0.55 + 2.3 * math.exp(-3.5 * done), 0.43 - 0.27 * math.exp(-4 * done)
            sft.append({"step": step, "eval/loss": loss, "eval/rougeL": rouge + noise(0.006)})
    for step in range(1, 121):
        reward_model.append({"step": step, "train/loss": 0.48 + 0.22 * math.exp(-step / 30) + noise(0.03)})
        if step % 15 == 0:
            accuracy = 0.77 - 0.26 * math.exp(-step / 30)
            reward_model.append({"step": step, "eval/loss": 0.69 - accuracy / 5, "eval/accuracy": accuracy})
    for step in range(1, 81):
        done = step / 80
        ppo.append(
            {
                "step": step,
                "rollout/reward": 2.1 - 2.0 * math.exp(-3 * done) + noise(0.12),
                "rollout/kl": 9.4 * done**0.7 + noise(0.3),
                "rollout/length": 54 + 9 * done + noise(1),
                "rollout/cut_share": max(0.0, 0.04 + noise(0.01)),
                "train/value_loss": 0.1 + 0.9 * math.exp(-5 * done) + abs(noise(0.03)),
                "train/clip_fraction": max(0.0, 0.12 * math.exp(-done) + noise(0.015)),
                "rollout/explained_variance": 0.7 - 0.9 * math.exp(-5 * done) + noise(0.04),
            }
        )
    for step in range(1, 101):
        done = step / 100
        margin = 1.4 * (1 - math.exp(-3 * done))
        dpo.append(
            {
                "step": step,
                "train/loss": 0.693 - 0.25 * margin / 1.4 + noise(0.02),
                "train/accuracy": 0.5 + 0.27 * margin / 1.4 + noise(0.03),
                "train/margin": margin + noise(0.08),
                "train/chosen_log_ratio": -2.0 * done + noise(0.2),
                "train/rejected_log_ratio": -2.0 * done - 10 * margin + noise(0.4),
            }
        )
    for step in (0, 50, 100):
        dpo.append({"step": step, "eval/loss": 0.693 - step / 500, "eval/accuracy": 0.5 + step / 450})
    return {"sft": sft, "reward_model": reward_model, "ppo": ppo, "dpo": dpo}
