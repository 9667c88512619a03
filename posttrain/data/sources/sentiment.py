"""Texts with a sentiment label, rows {"text", "label": 0 or 1}: IMDB (Maas et al. 2011), SST-2 (Socher et al. 2013).

HTML line breaks (`<br />`, with the white space around them) become one blank. Rows are shuffled, then `start` and
`num` choose a range, then `label` keeps one class of it: uses with disjoint ranges of the same `shuffle_seed` share no
row, whatever their labels. The shuffle puts equal texts side by side, so that disjoint ranges share no text either,
but for one at a boundary.
"""

import hashlib
import logging
import re
from pathlib import Path
from typing import Literal

from pydantic import NonNegativeInt, PositiveInt

from posttrain.data.fields import check_names, choice, take, text
from posttrain.data.jsonl import Row, read_rows
from posttrain.data.lines import Where
from posttrain.data.records import Demonstration, Judgement, Prompt, Record
from posttrain.errors import InputError
from posttrain.settings import Settings

logger = logging.getLogger(__name__)

LINE_BREAKS = re.compile(r"\s*(?:<br\s*/?>\s*)+")
WORD = re.compile(r"\S+")


class Config(Settings):
    path: Path
    records: Literal["judgements", "demonstrations", "prompts"]
    """judgements: the text as a response, good if its label is 1; prompts: the beginning of the text;
    demonstrations: the beginning and its continuation, which together are the text as it was spaced."""
    prefix: str = ""
    """Put before every prompt; the prompt of a judgement is the prefix alone."""
    prompt_words: PositiveInt = 8
    """Words of the text that make the prompt of a demonstration or a prompt."""
    response_words: PositiveInt | None = None
    """Most words of the response of a demonstration or a judgement; None takes the whole rest of the text."""
    short_texts: Literal["refuse", "drop"] = "refuse"
    """What becomes of a text without a word after `prompt_words` (judgements take any length)."""
    label: Literal[0, 1] | None = None
    """Keep the rows of one class only."""
    start: NonNegativeInt = 0
    num: PositiveInt | None = None
    """Rows of the shuffled file from `start` on, counted before `label`; None takes all that follow."""
    shuffle_seed: int | None = 0
    """None keeps the order of the file."""
    ignored_fields: tuple[str, ...] = ()
    """Fields that the rows have and that are of no use here; any other unknown field is an error."""


def load(config: Config) -> list[Record]:
    prompts = [_prompt(row, where, config.ignored_fields) for where, row in read_rows(config.path)]
    if config.shuffle_seed is not None:
        seed = config.shuffle_seed
        prompts.sort(key=lambda prompt: hashlib.sha256(f"{seed}\0{prompt.text}".encode()).digest())
    prompts = take(prompts, config.num, config.path, config.start)
    if config.label is not None:
        prompts = [prompt for prompt in prompts if prompt.facts["label"] == config.label]
        if not prompts:
            raise InputError(f"{config.path}: no row from start {config.start} on has label {config.label}; widen num")
    if config.records == "judgements":
        return [_judge(prompt, config) for prompt in prompts]
    prompts = _long_enough(prompts, config)
    return [_divide(prompt, config) for prompt in prompts]


def _prompt(row: Row, where: Where, ignored: tuple[str, ...]) -> Prompt:
    """The whole text of a row as a prompt with its label among the facts."""
    check_names(row, where, ("text", "label"), ("id", "rating"), ignored)
    plain = LINE_BREAKS.sub(" ", text(row, where, "text")).strip()
    if not plain:
        raise where.fault('field "text" holds nothing but line breaks; remove the row')
    id = text(row, where, "id") if "id" in row else ""
    return Prompt(plain, id, facts={"label": choice(row, where, "label", (0, 1))})


def _judge(whole: Prompt, config: Config) -> Judgement:
    """The whole text, or as many of its first words as a model that is to be judged writes."""
    ends = [match.end() for match in WORD.finditer(whole.text)][: config.response_words]
    return Judgement(_begin(whole, config.prefix), whole.text[: ends[-1]], whole.facts["label"] == 1)


def _begin(whole: Prompt, beginning: str) -> Prompt:
    return Prompt(beginning, whole.id, facts=whole.facts)


def _long_enough(prompts: list[Prompt], config: Config) -> list[Prompt]:
    kept = [prompt for prompt in prompts if len(WORD.findall(prompt.text)) > config.prompt_words]
    num_short = len(prompts) - len(kept)
    counts = f"{num_short} of {len(prompts)} texts have no word after prompt_words={config.prompt_words}"
    if num_short and (config.short_texts == "refuse" or not kept):
        raise InputError(f"{config.path}: {counts}; lower prompt_words, or drop them with short_texts=drop")
    if num_short:
        logger.warning("%s: %s; dropped, %d kept", config.path, counts, len(kept))
    return kept


def _divide(whole: Prompt, config: Config) -> Prompt | Demonstration:
    ends = [match.end() for match in WORD.finditer(whole.text)]
    middle = ends[config.prompt_words - 1]
    prompt = _begin(whole, config.prefix + whole.text[:middle])
    if config.records == "prompts":
        return prompt
    num_words = len(ends) if config.response_words is None else config.prompt_words + config.response_words
    return Demonstration(prompt, whole.text[middle : ends[min(num_words, len(ends)) - 1]])
