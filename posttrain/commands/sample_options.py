"""The options of `posttrain sample`. What it needs is imported when it runs."""

import argparse
from pathlib import Path


def whole_number(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 up")
    return int(text)


def describe(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="folder or hub name")
    parser.add_argument("overrides", nargs="*", metavar="a.b=value", help="settings in place of the YAML file's")
    parser.add_argument(
        "--prompts", type=Path, required=True,
        help="JSONL with `prompt`, text with one prompt a line, or a run's YAML file: the prompts of data.train",
    )  # fmt: skip
    parser.add_argument("--num-prompts", type=whole_number, help="the first so many (all)")
    parser.add_argument("--out", type=Path, required=True, help="JSONL; generated_predictions.txt is written beside it")
    parser.add_argument("--decoding", choices=("greedy", "beam", "sampling"), default="greedy", help="(%(default)s)")
    parser.add_argument("--temperature", type=float, help="with sampling (1.0)")
    parser.add_argument("--top-k", type=whole_number, help="with sampling: keep the k likeliest tokens (all)")
    parser.add_argument(
        "--top-p", type=float, help="with sampling: keep the likeliest tokens of this total share (1.0)"
    )
    parser.add_argument(
        "--min-p", type=float, help="with sampling: keep tokens of at least this share of the likeliest one's (0.0)"
    )
    parser.add_argument("--num-beams", type=whole_number, help="with beam (4)")
    parser.add_argument("--num-samples", type=whole_number, help="responses to each prompt, with beam or sampling (1)")
    parser.add_argument("--best-by", metavar="REWARD_MODEL", help="keep the best of each prompt's samples by this one")
    parser.add_argument("--max-new-tokens", type=whole_number, default=128, help="longest response (%(default)s)")
    parser.add_argument("--seed", type=whole_number, default=0, help="with sampling (%(default)s)")


def run(arguments: argparse.Namespace) -> None:
    from posttrain.commands import sample

    sample.main(
        arguments.model,
        arguments.prompts,
        arguments.out,
        sample.decoding_of(
            arguments.decoding,
            temperature=arguments.temperature,
            top_k=arguments.top_k,
            top_p=arguments.top_p,
            min_p=arguments.min_p,
            num_beams=arguments.num_beams,
            num_samples=arguments.num_samples,
            max_new_tokens=arguments.max_new_tokens,
            seed=arguments.seed,
        ),
        arguments.num_prompts,
        arguments.best_by,
        arguments.overrides,
    )
