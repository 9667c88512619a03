"""A reward for each sentence or sub-sentence of a response, from a span reward model, at the last token of the span.

Source: Wu et al. 2023, arXiv:2306.01693, section 3.1 and 4: good spans have one value, bad ones another.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from posttrain.batches import RewardStream, Rollout, Sequences
from posttrain.data.collate import Encoder, collate_prompts, collate_sequences
from posttrain.data.segments import Span, segmenter
from posttrain.data.text_columns import TextColumns, columns_of
from posttrain.models.loading import Tokenizer, load_span_scorer, locate
from posttrain.models.positions import check_positions
from posttrain.models.spans.report import Moments, read_span_report
from posttrain.models.spans.scorer import SpanScorer
from posttrain.rewards.placing import judged, written
from posttrain.settings import Settings

ANY_LENGTH = 2**20  # tokens; what is too long for the model is found by `check_positions`
Columns = tuple[int, int]
"""First and last token of a span."""


class Config(Settings):
    model: str = Field(description="folder of a trained span reward model")
    gives: Literal["expected", "likeliest"] = Field(
        "expected", description="the mean of the classes' values under their probabilities, or the value of the "
        "likeliest class"
    )  # fmt: skip
    scale: float = Field(1.0, gt=0, description="reward = value * scale + bias, for each span")
    bias: float = Field(0.0, description="added to each")
    should_normalize: bool = Field(
        False, description="subtract the mean and divide by the std of the model's held-out spans; then a span more is "
        "worth nothing by itself"
    )  # fmt: skip
    batch_size: int = Field(64, gt=0, description="responses scored at a time")


def build(config: Config, name: str, tokenizer: Tokenizer, device: torch.device) -> "SpanModelReward":
    scorer, own_tokenizer = load_span_scorer(config.model)
    report = read_span_report(Path(locate(config.model)))
    is_shared = own_tokenizer.get_vocab() == tokenizer.get_vocab()
    moments = report.expected if config.gives == "expected" else report.likeliest
    columns = TextColumns(tokenizer)
    return SpanModelReward(config, name, scorer.to(device), moments, columns, None if is_shared else own_tokenizer)


@dataclass
class SpanModelReward:
    config: Config
    name: str
    scorer: SpanScorer
    moments: Moments
    columns: TextColumns  # of the policy's tokens
    tokenizer: Tokenizer | None  # the scorer's own, when it does not read the policy's tokens

    def __call__(self, rollout: Rollout) -> RewardStream:
        """Spans are found in the text, scored where the scorer's tokens have them, paid where the policy's do."""
        segments = segmenter(self.scorer.spans.segments, self.scorer.spans.pattern)
        spans = [segments(text) for text in rollout.texts]
        ends = self.columns.ends_of(rollout)
        sequences, read = rollout.sequences, ends
        if self.tokenizer is not None:
            encoder = Encoder(self.tokenizer, self._is_encoder_decoder, ANY_LENGTH, ANY_LENGTH)
            sequences = _encoded(rollout, encoder).to(sequences.response_ids.device)
            read = encoder.ends(rollout.texts)
        places = [[_columns(span, own) for span in some] for some, own in zip(spans, read, strict=True)]
        rewards = self._rewards(sequences, places).tolist()
        found = []
        for row, (some, own) in enumerate(zip(spans, places, strict=True)):
            # of spans that one token of the scorer ends, which are one to it, one is paid
            paid = {last: span for span, (_, last) in zip(some, own, strict=True)}
            found.append(judged(((span, rewards[row][last]) for last, span in paid.items()), ends[row]))
        return written(self.name, rollout, found)

    @property
    def _is_encoder_decoder(self) -> bool:
        return bool(self.scorer.backbone.config.is_encoder_decoder)

    @torch.no_grad()
    def _rewards(self, sequences: Sequences, spans: Sequence[Sequence[Columns]]) -> Float[Tensor, "B R"]:
        """The reward of each span, at its last token. Two spans that one token ends are one."""
        lengths = (sequences.prompts.lengths[sequences.prompt_index].tolist(), sequences.lengths.tolist())
        remedy = "lower the token limits of data and rollout, or take a reward model that reads longer texts"
        check_positions(self.scorer.backbone.config, list(zip(*lengths, strict=True)), f"rewards.{self.name}", remedy)
        first = torch.zeros_like(sequences.response_ids)
        is_end = torch.zeros_like(sequences.response_mask)
        for row, some in enumerate(spans):
            for start, last in reversed(some):  # so that the first of two with one end says where it begins
                first[row, last], is_end[row, last] = start, True
        rewards = torch.zeros(sequences.response_ids.shape, device=first.device)
        for i in range(0, len(sequences), self.config.batch_size):
            rows = range(i, min(i + self.config.batch_size, len(sequences)))
            part = slice(rows.start, rows.stop)
            logits = self.scorer(sequences.select(rows), first[part], is_end[part])
            rewards[part] = rewards[part].masked_scatter(is_end[part], self._of_logits(logits))
        return rewards

    def _of_logits(self, logits: Float[Tensor, "N C"]) -> Float[Tensor, "N"]:
        values = torch.tensor(self.scorer.spans.values, device=logits.device)
        if self.config.gives == "expected":
            value = self.scorer.probabilities(logits.float()) @ values
        else:
            value = values[logits.argmax(-1)]
        if self.config.should_normalize:
            value = (value - self.moments.mean) / max(self.moments.std, 1e-6)
        return value * self.config.scale + self.config.bias


def _columns(span: Span, ends: Sequence[int]) -> Columns:
    columns = columns_of(span, ends)
    assert columns is not None, "a text is encoded as a whole"
    return columns


def _encoded(rollout: Rollout, encoder: Encoder) -> Sequences:
    """The same texts in the tokens of another tokenizer, which the spans are then looked up in."""
    examples = rollout.examples
    prompts = collate_prompts(encoder.prompts([example.text for example in examples]), examples)
    return collate_sequences(prompts, range(len(examples)), encoder.responses(rollout.texts))
