"""A step of reinforcement learning: prompts are answered, scored and trained on. Useful units: responses.

RLOO has 4 samples a prompt, KL to a reference in the reward, one pass. PPO has policy, reference, value and reward
model of one shape, 4 samples a prompt, 4 passes in minibatches of 16 responses. Sampling is from the whole vocabulary
at temperature 0.7, at most 64 tokens.
"""

import argparse
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from benchmarks import by_hand, fine_grained_loop, peers, training
from benchmarks.flops import BACKWARD, forward_gflop
from benchmarks.generation import MAX_NEW_TOKENS
from benchmarks.lengths import PROMPT, Writer
from benchmarks.meter import MODELS, WARMUP, main
from benchmarks.shapes import END, PAD, TEMPERATURE, folder

UNIT = "responses"
KL_WEIGHT = 0.05


def prompts(arguments: argparse.Namespace) -> list[str]:
    writer = Writer(arguments.seed)
    return [writer.text(PROMPT) for _ in range(training.num_rows(arguments))]


def posttrain(
    arguments: argparse.Namespace, algorithm: Mapping[str, Any], reward: Mapping[str, Any], **more: Any
) -> Any:
    rows = [{"prompt": text} for text in prompts(arguments)]
    rollout = {
        "engine": "in_process", "temperature": TEMPERATURE, "samples_per_prompt": arguments.samples,
        "max_new_tokens": MAX_NEW_TOKENS,
    }  # fmt: skip
    units = [float(arguments.samples)] * len(rows)
    with phases() as seconds:
        result = training.posttrain(
            arguments, UNIT, units, algorithm, "prompt_jsonl", rows, rollout=rollout, rewards=[dict(reward)], **more
        )
    acting, generating = (sum(seconds[name][WARMUP:]) for name in ("act", "generate"))
    whole = result["units"] / result["per_second"]
    split = {"rollout": generating, "scoring": acting - generating, "update": whole - acting}
    return result | {
        "split": {name: value / result["steps"] for name, value in split.items()},
        "response_tokens": sum(seconds["tokens"][WARMUP:]),
    }


@contextmanager
def phases() -> Iterator[dict[str, list[float]]]:
    """Seconds of each rollout, and of each rollout with its scoring; and the tokens of responses."""
    from posttrain.rollouts.in_process import InProcess
    from posttrain.training.experience import Act

    seconds: dict[str, list[float]] = {"act": [], "generate": [], "tokens": []}

    def clocked(name: str, function: Any) -> Any:
        def call(*given: Any) -> Any:
            started = time.perf_counter()
            made = function(*given)
            seconds[name].append(time.perf_counter() - started)
            if name == "generate":
                seconds["tokens"].append(float(made.sequences.response_mask.sum()))
            return made

        return call

    before = Act.experience, InProcess.generate
    Act.experience, InProcess.generate = clocked("act", before[0]), clocked("generate", before[1])
    try:
        yield seconds
    finally:
        Act.experience, InProcess.generate = before


def posttrain_rloo(arguments: argparse.Namespace) -> Mapping[str, Any]:
    algorithm = {"name": "reinforce", "baseline": "leave_one_out", "kl_weight": KL_WEIGHT}
    return posttrain(arguments, algorithm, {"kind": "length", "per": MAX_NEW_TOKENS})


def posttrain_ppo(arguments: argparse.Namespace) -> Mapping[str, Any]:
    reward = {"kind": "sequence_model", "model": str(scorer_folder(arguments.shape))}
    more = {
        "passes": fine_grained_loop.PASSES,
        "minibatch_size": fine_grained_loop.MINIBATCH,
        "keeps_prompts_together": True,
    }
    result = posttrain(arguments, {"name": "ppo", "kl_weight": KL_WEIGHT}, reward, **more)
    counted = prompts(arguments)[WARMUP * arguments.batch :]
    tokens = sum(len(text.split()) for text in counted), result["response_tokens"]
    # Policy and value model, whose head is too small to count.
    both = sum(forward_gflop(arguments.shape, *tokens, is_with_head) for is_with_head in (True, False))
    useful = fine_grained_loop.PASSES * BACKWARD * both
    return result | {"useful_gflop": useful, "useful_seconds": result["split"]["update"] * result["steps"]}


def scorer_folder(shape: str) -> Path:
    """A reward model of the shape, with a random head."""
    from posttrain.models.loading import load_tokenizer, new_scorer
    from posttrain.models.scorer import write_statistics

    start, path = folder(shape, MODELS), MODELS / f"{shape}-scorer"
    if not (path / "score_statistics.json").exists():
        path.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(0)
        new_scorer(str(start), 0.0).save(path)
        load_tokenizer(str(start)).save_pretrained(path)
        write_statistics(path, torch.tensor([-1.0, 1.0]))
    return path


def trl_rloo(arguments: argparse.Namespace, kind: str = "RLOO", **more: Any) -> Mapping[str, Any]:
    import trl
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer

    def reward(completion_ids: list[list[int]], **_: Any) -> list[float]:
        return [len(ids) / MAX_NEW_TOKENS for ids in completion_ids]

    def make(scratch: str) -> Any:
        path = folder(arguments.shape, MODELS)
        own = {
            "per_device_train_batch_size": arguments.batch * arguments.samples, "num_generations": arguments.samples,
            "max_completion_length": MAX_NEW_TOKENS, "temperature": TEMPERATURE, "beta": KL_WEIGHT,
            "shuffle_dataset": False, **more,
        }  # fmt: skip
        return getattr(trl, f"{kind}Trainer")(
            model=AutoModelForCausalLM.from_pretrained(path),
            reward_funcs=reward,
            args=getattr(trl, f"{kind}Config")(**peers.arguments_of(arguments, scratch, **own)),
            train_dataset=Dataset.from_list([{"prompt": text} for text in prompts(arguments)]),
            processing_class=AutoTokenizer.from_pretrained(path),
        )

    return peers.run(make, UNIT, lambda _: float(arguments.batch * arguments.samples))


def trl_rloo_no_checkpointing(arguments: argparse.Namespace) -> Mapping[str, Any]:
    return trl_rloo(arguments, gradient_checkpointing=False)


def trl_grpo(arguments: argparse.Namespace) -> Mapping[str, Any]:
    return trl_rloo(arguments, "GRPO", gradient_checkpointing=False)


def by_hand_rloo(arguments: argparse.Namespace) -> Mapping[str, Any]:
    """Transformers at its best: `generate`, the sampler's and the reference's sums, one pass."""
    model, reference = by_hand.load(arguments), by_hand.load(arguments).requires_grad_(False)
    tokenizer = fine_grained_loop.tokenizer(arguments)
    k = arguments.samples

    def loss(texts: list[str]) -> torch.Tensor:
        batch = tokenizer(texts, return_tensors="pt", padding=True)
        with torch.no_grad():
            made = model.generate(
                **batch, do_sample=True, top_k=0, top_p=1.0, temperature=TEMPERATURE, max_new_tokens=MAX_NEW_TOKENS,
                num_return_sequences=k, eos_token_id=END, pad_token_id=PAD,
            )  # fmt: skip
        ids = [row[mask.bool()].tolist() for row, mask in zip(batch.input_ids, batch.attention_mask, strict=True)]
        responses = fine_grained_loop.up_to_end(made[:, batch.input_ids.shape[1] :])
        rows = [(ids[number // k], response) for number, response in enumerate(responses)]
        with torch.no_grad():
            of_reference = by_hand.sums(by_hand.token_logprobs(reference, rows, TEMPERATURE), rows)
        logprobs = by_hand.sums(by_hand.token_logprobs(model, rows, TEMPERATURE), rows)
        reward = torch.tensor([len(response) / MAX_NEW_TOKENS for response in responses])
        reward = (reward - KL_WEIGHT * (logprobs.detach() - of_reference)).view(-1, k)
        advantages = (reward - (reward.sum(1, keepdim=True) - reward) / (k - 1)).flatten()
        return -(advantages * logprobs).mean()

    batches = by_hand.in_batches(prompts(arguments), arguments.batch)
    return by_hand.train(arguments, model, batches, loss, UNIT, [float(arguments.batch * k)] * len(batches))


def fine_grained(arguments: argparse.Namespace) -> Mapping[str, Any]:
    batches = by_hand.in_batches(prompts(arguments), arguments.batch)
    return fine_grained_loop.run(arguments, batches, UNIT, KL_WEIGHT)


CONTENDERS = {
    "posttrain rloo": posttrain_rloo, "trl rloo": trl_rloo,
    "trl rloo without checkpointing": trl_rloo_no_checkpointing, "trl grpo without checkpointing": trl_grpo,
    "transformers rloo by hand": by_hand_rloo, "posttrain ppo": posttrain_ppo, "fine-grained loop": fine_grained,
}  # fmt: skip

if __name__ == "__main__":
    main(CONTENDERS, samples=4)
