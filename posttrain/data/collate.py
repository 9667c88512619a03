"""Records + tokenizer → token ids → batches.

A whole data set is tokenised once, at the start, so that every row that does not fit is known, counted and
reported before anything is trained. Nothing is cut unless the configuration names a policy for it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor

from posttrain.batches import Judged, PreferencePairs, Prompts, Sequences
from posttrain.data.records import Comparison, Demonstration, Judgement, Prompt, Record, SpanJudgement
from posttrain.data.text_columns import ends_of_offsets
from posttrain.errors import InputError

PromptTruncation = Literal["error", "left", "right"]
ResponseTruncation = Literal["error", "right"]

SENTENCEPIECE_BLANK = "▁"


@dataclass
class Encoder:
    """Text → token ids, within the limits. Counts what it cuts, and collects what it must refuse."""

    tokenizer: Any  # a transformers tokenizer
    is_encoder_decoder: bool
    max_prompt_tokens: int
    max_response_tokens: int  # the end token included
    prompt_truncation: PromptTruncation = "error"
    response_truncation: ResponseTruncation = "error"
    num_cut_prompts: int = 0
    num_cut_responses: int = 0
    too_long: dict[str, list[int]] = field(default_factory=lambda: {"prompt": [], "response": []})

    def prompts(self, texts: Sequence[str]) -> list[list[int]]:
        return [self._prompt(ids) for ids in self._encode(texts, add_special_tokens=True)]

    def responses(self, texts: Sequence[str]) -> list[list[int]]:
        if self._has_own_blank:
            texts = [text.removeprefix(" ") for text in texts]
        return [self._response(ids) for ids in self._encode(texts, add_special_tokens=False)]

    def given_columns(self, demonstrations: Sequence[Demonstration]) -> list[tuple[int, ...]]:
        """Of the tokens of each response, those whose last character is given: a blank often begins the next token.

        Raises InputError if a tokenizer that cannot say where its tokens stand meets given spans.
        """
        found: list[tuple[int, ...]] = [()] * len(demonstrations)
        rows = [row for row, each in enumerate(demonstrations) if each.given]
        offsets = self._offsets([demonstrations[row].response for row in rows], "`given` spans")
        for row, places in zip(rows, offsets, strict=True):
            given = demonstrations[row].given
            lasts = [end for _, end in places]
            columns = (i for i, last in enumerate(lasts) if any(start < last <= end for start, end in given))
            found[row] = tuple(i for i in columns if i < self.max_response_tokens)
        return found

    def ends(self, texts: Sequence[str]) -> list[list[int]]:
        """Of each token of `responses(texts)`, the characters of the text that are complete with it (text_columns)."""
        found = []
        for text, places in zip(texts, self._offsets(texts, "judged spans"), strict=True):
            found.append([*ends_of_offsets(places), len(text)][: self.max_response_tokens])
        return found

    def _offsets(self, texts: Sequence[str], what: str) -> list[list[tuple[int, int]]]:
        """Characters of each token. Raises InputError for a tokenizer that cannot say where its tokens stand."""
        if not texts:
            return []
        if not self.tokenizer.is_fast:
            raise InputError(
                f"{type(self.tokenizer).__name__} cannot say where its tokens stand in a text, which {what} need; use "
                "a model with a fast tokenizer (tokenizer.json)"
            )
        cuts = [int(self._has_own_blank and text.startswith(" ")) for text in texts]
        bare = [text[cut:] for text, cut in zip(texts, cuts, strict=True)]
        offsets = self.tokenizer(bare, add_special_tokens=False, return_offsets_mapping=True).offset_mapping
        return [[(start + cut, end + cut) for start, end in places] for cut, places in zip(cuts, offsets, strict=True)]

    @cached_property
    def _has_own_blank(self) -> bool:
        """The tokenizer puts a blank before any text, also before one that begins with a blank (Llama 2).

        A response that goes on after a blank would have two: tokens that no continuous text has.
        """
        bare, spaced = self._encode(["a", " a"], add_special_tokens=False)
        begins = str(self.tokenizer.convert_ids_to_tokens(bare[:1])[:1])
        return SENTENCEPIECE_BLANK in begins and spaced[1:] == bare

    def _encode(self, texts: Sequence[str], add_special_tokens: bool) -> list[list[int]]:
        return self.tokenizer(list(texts), add_special_tokens=add_special_tokens).input_ids if texts else []

    def _prompt(self, ids: list[int]) -> list[int]:
        end = self.tokenizer.eos_token_id
        # An end token, or a mark that the response begins, stays where it is when a prompt is cut.
        is_marked = ids[-1:] == [end] or (len(ids) > 1 and ids[-1] in self._special_ids)
        tail = ids[-1:] if is_marked else []
        ids = ids[: len(ids) - len(tail)] or [self._start()]
        if tail == [end] and not self.is_encoder_decoder:
            tail = []  # a decoder-only prompt goes on with the response
        room = self.max_prompt_tokens - len(tail)
        if len(ids) > room:
            if self.prompt_truncation == "error":
                self.too_long["prompt"].append(len(ids) + len(tail))
            self.num_cut_prompts += 1
            ids = ids[len(ids) - room :] if self.prompt_truncation == "left" else ids[:room]
        return ids + tail

    @cached_property
    def _special_ids(self) -> frozenset[int]:
        """Those that a template writes: not what stands for an unknown word, a gap or nothing."""
        tokenizer = self.tokenizer
        return frozenset(tokenizer.all_special_ids) - {
            tokenizer.unk_token_id, tokenizer.pad_token_id, tokenizer.mask_token_id
        }  # fmt: skip

    def _start(self) -> int:
        start = self.tokenizer.bos_token_id
        return self.tokenizer.eos_token_id if start is None else start

    def _response(self, ids: list[int]) -> list[int]:
        ids = [*ids, self.tokenizer.eos_token_id]
        if len(ids) > self.max_response_tokens:
            if self.response_truncation == "error":
                self.too_long["response"].append(len(ids))
            self.num_cut_responses += 1
            ids = ids[: self.max_response_tokens]  # a cut response has no end token: it did not end
        return ids

    def check(self, source: str) -> None:
        """InputError with counts if a row was longer than the limit and no policy says how to cut it."""
        for kind, limit in (("prompt", self.max_prompt_tokens), ("response", self.max_response_tokens)):
            lengths = self.too_long[kind]
            if lengths:
                sides = "left or right" if kind == "prompt" else "right"
                raise InputError(
                    f"{source}: {len(lengths)} {kind}s are longer than data.max_{kind}_tokens={limit} (the longest has "
                    f"{max(lengths)} tokens); raise the limit, or set data.{kind}_truncation to {sides} to cut them"
                )


def pad(rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Ids [rows, longest] padded on the right with 0, and the mask of real tokens."""
    width = max(len(row) for row in rows)
    ids = torch.zeros(len(rows), width, dtype=torch.long)
    mask = torch.zeros(len(rows), width, dtype=torch.bool)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = torch.tensor(row, dtype=torch.long)
        mask[i, : len(row)] = True
    return ids, mask


def collate_prompts(ids: Sequence[list[int]], examples: Sequence[Prompt]) -> Prompts:
    return Prompts(*pad(ids), tuple(examples))


def collate_sequences(prompts: Prompts, prompt_index: Sequence[int], responses: Sequence[list[int]]) -> Sequences:
    """Every response token is an action: the model chose it, or is to learn to. `recorded` takes out what is given."""
    ids, mask = pad(responses)
    return Sequences(prompts, torch.tensor(prompt_index, dtype=torch.long), ids, mask, mask)


@dataclass(frozen=True)
class Tokenized:
    """One record as token ids: its prompt, and its responses."""

    record: Record
    prompt: list[int]
    responses: list[list[int]]
    given_columns: tuple[int, ...] = ()  # of the one response of a demonstration: not learnt
    ends: tuple[tuple[int, ...], ...] = ()  # of each response of a span judgement: characters complete with each token


def tokenize(records: Sequence[Any], encoder: Encoder, source: str) -> list[Tokenized]:
    """All records as token ids. InputError, with counts, if some do not fit and may not be cut."""
    texts = [responses_of(record) for record in records]
    prompt_ids = encoder.prompts([prompt_of(record).text for record in records])
    response_ids = iter(encoder.responses([text for some in texts for text in some]))
    encoder.check(source)
    demonstrations = [record for record in records if isinstance(record, Demonstration)]
    given = iter(encoder.given_columns(demonstrations))
    judged = [text for record in records if isinstance(record, SpanJudgement) for text in record.responses]
    ends = map(tuple, encoder.ends(judged))
    return [
        Tokenized(
            record,
            ids,
            [next(response_ids) for _ in some],
            next(given) if isinstance(record, Demonstration) else (),
            tuple(next(ends) for _ in some) if isinstance(record, SpanJudgement) else (),
        )
        for record, ids, some in zip(records, prompt_ids, texts, strict=True)
    ]


def prompt_of(record: Record) -> Prompt:
    return record if isinstance(record, Prompt) else record.prompt


def responses_of(record: Record) -> tuple[str, ...]:
    if isinstance(record, Prompt):
        return ()
    return record.responses if isinstance(record, Comparison | SpanJudgement) else (record.response,)


def prompts(rows: Sequence[Tokenized]) -> Prompts:
    return collate_prompts([row.prompt for row in rows], [prompt_of(row.record) for row in rows])


def recorded(rows: Sequence[Tokenized]) -> Sequences:
    """Every recorded response of every row; what is given in a demonstration's is no action."""
    index = [i for i, row in enumerate(rows) for _ in row.responses]
    sequences = collate_sequences(prompts(rows), index, [ids for row in rows for ids in row.responses])
    action_mask = sequences.action_mask.clone()
    for response, i in enumerate(index):
        action_mask[response, list(rows[i].given_columns)] = False
    return replace(sequences, action_mask=action_mask)


def judgements(rows: Sequence[Tokenized]) -> Judged:
    return Judged(recorded(rows), torch.tensor([_is_good(row.record) for row in rows]))


def _is_good(record: Record) -> bool:
    assert isinstance(record, Judgement)
    return record.is_good


def preferences(rows: Sequence[Tokenized]) -> PreferencePairs:
    """All pairs of each prompt, weighted so that a prompt counts once however many pairs it has."""
    num_responses, better, worse, is_tie, weight = 0, [], [], [], []
    for row in rows:
        comparison, first_row = row.record, num_responses
        assert isinstance(comparison, Comparison)
        num_responses += len(row.responses)
        for pair in comparison.pairs:
            first, second = (pair.second, pair.first) if pair.label == 2 else (pair.first, pair.second)
            better.append(first_row + first)
            worse.append(first_row + second)
            is_tie.append(pair.label == 0)
            weight.append(1.0 / len(comparison.pairs))
    return PreferencePairs(
        recorded(rows), torch.tensor(better), torch.tensor(worse), torch.tensor(is_tie), torch.tensor(weight)
    )


COLLATE: dict[str, Callable[[Sequence[Tokenized]], Any]] = {
    "rollouts": prompts, "demonstrations": recorded, "judgements": judgements, "preferences": preferences,
}  # fmt: skip
