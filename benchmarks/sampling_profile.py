"""Where the time of sampling goes: python -m benchmarks.sampling_profile [SHAPE] [--samples K].

Of the workload of `benchmarks.generation` on one thread: the share of processor time that reads prompts, and of the
rest what torch's profiler calls the operations.
"""

import argparse
import time
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.generation import MAX_NEW_TOKENS, texts
from benchmarks.meter import MODELS
from benchmarks.shapes import SHAPES, TEMPERATURE, TOP_K, folder
from posttrain.commands.memory import keep_freed_memory
from posttrain.data.collate import Encoder, prompts, tokenize
from posttrain.data.records import Prompt
from posttrain.models.language_model import LanguageModel
from posttrain.models.loading import freeze, load_language_model
from posttrain.rollouts import in_process

NUM_OPERATIONS = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shape", nargs="?", choices=list(SHAPES), default="llama-15m")
    parser.add_argument("--samples", type=int, default=1)
    arguments = parser.parse_args(namespace=argparse.Namespace(seed=0, batch=16, steps=2))
    torch.set_num_threads(1)
    keep_freed_memory()
    start = load_language_model(str(folder(arguments.shape, MODELS)), 0.0)
    config = in_process.Config(
        temperature=TEMPERATURE, top_k=TOP_K, max_new_tokens=MAX_NEW_TOKENS, samples_per_prompt=arguments.samples
    )
    engine = in_process.build(config, freeze(LanguageModel(start.model)), start)
    encoder = Encoder(start.tokenizer, start.is_encoder_decoder, 512, MAX_NEW_TOKENS)
    warm, timed, profiled = (
        prompts(tokenize([Prompt(text) for text in some], encoder, "prompts")) for some in texts(arguments)
    )
    engine.generate(warm, 0)
    seconds, reading = _seconds(engine, timed)
    print(
        f"{seconds:.2f} s of processor time a batch, {reading / seconds:.0%} of it reads {int(timed.mask.sum())} tokens"
    )
    with profile(activities=[ProfilerActivity.CPU]) as found:
        engine.generate(profiled, 2)
    events = found.key_averages()
    total = sum(event.self_cpu_time_total for event in events)
    for event in sorted(events, key=lambda event: -event.self_cpu_time_total)[:NUM_OPERATIONS]:
        print(f"{event.self_cpu_time_total / total:6.1%}  {event.key}")


def _seconds(engine: in_process.InProcess, batch: Any) -> tuple[float, float]:
    """Of one batch: all, and those until the prompts are read."""
    original, reading = in_process.start_decoding, 0.0

    def timed(*arguments: Any, **named: Any) -> Any:
        nonlocal reading
        begin = time.process_time()
        started = original(*arguments, **named)
        reading += time.process_time() - begin
        return started

    in_process.start_decoding = timed
    begin = time.process_time()
    engine.generate(batch, 1)
    seconds = time.process_time() - begin
    in_process.start_decoding = original
    return seconds, reading


if __name__ == "__main__":
    main()
