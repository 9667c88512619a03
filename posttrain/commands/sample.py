"""`posttrain sample`: responses to a file of prompts, greedy, by beam search or sampled."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from posttrain import config, durable_files
from posttrain.assembly.parts import load_frozen
from posttrain.batches import Prompts
from posttrain.commands.answering import ANY_LENGTH, check_output
from posttrain.commands.best_of import best_of
from posttrain.data.collate import Encoder, Tokenized, prompt_of, prompts, tokenize
from posttrain.data.jsonl import write_rows
from posttrain.data.records import Prompt
from posttrain.data.sources import prompt_jsonl
from posttrain.errors import InputError
from posttrain.functional.kl import best_of_n_kl
from posttrain.models.beam import beam_search
from posttrain.models.language_model import LanguageModel
from posttrain.models.loading import Pretrained
from posttrain.models.positions import check_positions
from posttrain.rollouts import in_process
from posttrain.settings import Settings
from posttrain.training.progress import Progress

PREDICTIONS = "generated_predictions.txt"
RESPONSES_AT_ONCE = 64
RECORDED = ("response", "given", "responses", "pairs", "chosen", "rejected")
"""Fields of the other kinds of records: a file of demonstrations or comparisons serves as prompts too."""

GOES_WITH = {
    "temperature": ("sampling",), "top_k": ("sampling",), "top_p": ("sampling",), "min_p": ("sampling",),
    "num_beams": ("beam",), "num_samples": ("beam", "sampling"),
}  # fmt: skip
"""Options that mean something with some decodings only."""


class Decoding(Settings):
    """How responses are chosen; what does not go with `kind` keeps its default."""

    kind: Literal["greedy", "beam", "sampling"] = "greedy"
    temperature: float = Field(1.0, gt=0, allow_inf_nan=False)
    top_k: int = Field(0, ge=0)
    top_p: float = Field(1.0, gt=0, le=1)
    min_p: float = Field(0.0, ge=0, lt=1)
    num_beams: int = Field(4, ge=1)
    num_samples: int = Field(1, ge=1)
    max_new_tokens: int = Field(128, ge=1)
    seed: int = Field(0, ge=0)


@dataclass(frozen=True)
class Answer:
    text: str
    is_cut: bool


Respond = Callable[[Prompts, int], list[Answer]]
"""(a batch of prompts, its number) → `num_samples` answers to each prompt in turn."""


def decoding_of(kind: str, **options: float | None) -> Decoding:
    """From options of the command line, None where they were not given. InputError names the option."""
    given: dict[str, Any] = {name: value for name, value in options.items() if value is not None}
    for name in given:
        if kind not in GOES_WITH.get(name, (kind,)):
            raise InputError(f"{_option(name)}: goes with --decoding {' or '.join(GOES_WITH[name])}, not {kind}")
    try:
        decoding = Decoding.model_validate({"kind": kind, **given})
    except ValidationError as error:
        lines = [
            f"{_option(str(fault['loc'][0]))}: {fault['msg'].removeprefix('Input ')}, not {fault['input']}"
            for fault in error.errors()
        ]
        raise InputError("\n".join(lines)) from error
    if kind == "beam" and decoding.num_samples > decoding.num_beams:
        raise InputError(f"--num-samples: {decoding.num_beams} beams give at most {decoding.num_beams} responses")
    return decoding


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")


def main(
    model_path: str, prompts_path: Path, out: Path, decoding: Decoding, num_prompts: int | None = None,
    best_by: str | None = None, overrides: Sequence[str] = (),
) -> None:  # fmt: skip
    """Write `out` (one row a prompt) and, beside it, the first response of each prompt as a line of text.

    `best_by` is a reward model's folder, by which the best of each prompt's samples is kept. `overrides` are of the
    prompts' YAML file.
    """
    predictions = out.with_name(PREDICTIONS)
    if best_by is not None and decoding.num_samples < 2:
        raise InputError("--best-by: chooses among the samples of a prompt; give --num-samples 2 or more")
    check_output(out, (prompts_path,), (".jsonl", ".jsonl.gz"))
    check_output(predictions, (prompts_path,))
    records = read_prompts(prompts_path, num_prompts, overrides)
    model, start = load_frozen(model_path)
    rows = tokenized_prompts(records, start, decoding.max_new_tokens, str(prompts_path))
    answers = answer(model, start, rows, decoding)
    if best_by is not None:
        best = best_of(best_by, records, [[one.text for one in some] for some in answers], prompts_path)
        answers = [[some[place]] for some, place in zip(answers, best, strict=True)]
    texts = [[one.text for one in some] for some in answers]
    with durable_files.faults_named(out, "give another path or make room"):
        out.parent.mkdir(parents=True, exist_ok=True)
        write_rows(out, (_row(record, some) for record, some in zip(records, texts, strict=True)))
        durable_files.replace_text(predictions, "".join(f"{_one_line(some[0])}\n" for some in texts))
    is_cut = [one.is_cut for some in answers for one in some]
    share = sum(is_cut) / len(is_cut)
    print(f"{out}: {len(is_cut)} responses, {share:.1%} cut at {decoding.max_new_tokens} tokens; {predictions}")
    if best_by is not None:
        n = decoding.num_samples
        print(f"the best of {n} samples each by {best_by}: KL to {model_path} is at most {best_of_n_kl(n):.2f} nats")


def read_prompts(path: Path, num: int | None = None, overrides: Sequence[str] = ()) -> list[Prompt]:
    """The first `num` prompts of a file of them, or of the training data that a run's YAML file names."""
    is_run = path.name.lower().endswith((".yaml", ".yml"))
    if overrides and not is_run:
        raise InputError(f"{overrides[0]}: a setting of a run's YAML file, which --prompts {path} is not; leave it out")
    if is_run:
        choice = config.load(path, overrides).data.train
        records = [prompt_of(record) for record in choice.plugin.load(choice.settings)]
    else:
        records = prompt_jsonl.load(prompt_jsonl.Config(path=path, ignored_fields=RECORDED))
    if not records:
        raise InputError(f"{path}: its data.train gives no prompts")
    if num is not None and num not in range(1, len(records) + 1):
        raise InputError(f"--num-prompts {num}: {path} has {len(records)} prompts; give 1 to {len(records)}")
    return records[:num]


def tokenized_prompts(
    records: Sequence[Prompt], start: Pretrained, max_new_tokens: int, source: str
) -> list[Tokenized]:
    """InputError with counts for prompts that leave no room for the response."""
    rows = tokenize(records, Encoder(start.tokenizer, start.is_encoder_decoder, ANY_LENGTH, ANY_LENGTH), source)
    lengths = [(len(row.prompt), max_new_tokens) for row in rows]
    check_positions(start.model.config, lengths, source, "shorten the prompts, or lower --max-new-tokens")
    return rows


def answer(
    model: LanguageModel, start: Pretrained, rows: Sequence[Tokenized], decoding: Decoding
) -> list[list[Answer]]:
    """`num_samples` answers to each prompt, in the order of the prompts."""
    respond = _beam(model, start, decoding) if decoding.kind == "beam" else _token_by_token(model, start, decoding)
    device = next(model.parameters()).device
    width = max(decoding.num_samples, decoding.num_beams if decoding.kind == "beam" else 1)
    size = max(1, RESPONSES_AT_ONCE // width)  # prompts at a time
    answers: list[Answer] = []
    with Progress("sample") as progress:
        progress.start(0, len(rows))
        for step, first in enumerate(range(0, len(rows), size)):
            answers += respond(prompts(rows[first : first + size]).to(device), step)
            progress.show(min(first + size, len(rows)), {})
    k = decoding.num_samples
    return [answers[i : i + k] for i in range(0, len(answers), k)]


def _token_by_token(model: LanguageModel, start: Pretrained, decoding: Decoding) -> Respond:
    settings = in_process.Config(
        temperature=decoding.temperature, top_k=decoding.top_k, top_p=decoding.top_p, min_p=decoding.min_p,
        seed=decoding.seed, max_new_tokens=decoding.max_new_tokens, samples_per_prompt=decoding.num_samples,
        is_greedy=decoding.kind == "greedy",
    )  # fmt: skip
    engine = in_process.build(settings, model, start)

    def respond(batch: Prompts, step: int) -> list[Answer]:
        rollout = engine.generate(batch, step)
        return [Answer(text, cut) for text, cut in zip(rollout.texts, rollout.is_cut.tolist(), strict=True)]

    return respond


def _beam(model: LanguageModel, start: Pretrained, decoding: Decoding) -> Respond:
    pad_id = start.tokenizer.pad_token_id
    assert isinstance(pad_id, int), "load_tokenizer gives every tokenizer one"

    def respond(batch: Prompts, _step: int) -> list[Answer]:
        responses = beam_search(
            model.hf_model, batch, start.end_ids, pad_id, decoding.num_beams, decoding.num_samples,
            decoding.max_new_tokens,
        )  # fmt: skip
        texts = start.tokenizer.batch_decode(responses, skip_special_tokens=True)
        return [Answer(text.strip(), ids[-1] not in start.end_ids) for text, ids in zip(texts, responses, strict=True)]

    return respond


def _row(record: Prompt, texts: list[str]) -> dict[str, Any]:
    return prompt_jsonl.to_row(record) | ({"response": texts[0]} if len(texts) == 1 else {"responses": texts})


def _one_line(text: str) -> str:
    return " ".join(text.splitlines())
