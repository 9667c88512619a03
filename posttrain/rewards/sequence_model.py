"""One score for a whole response, from a trained reward model, normalised with the model's own held-out statistics."""

import logging
from dataclasses import dataclass
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from posttrain.batches import RewardStream, Rollout, Sequences
from posttrain.data.collate import Encoder, collate_prompts, collate_sequences
from posttrain.errors import InputError
from posttrain.functional.reward_streams import place_at_last
from posttrain.models.loading import Tokenizer, load_scorer
from posttrain.models.positions import cut_to_positions, max_positions, needed_positions
from posttrain.models.scorer import ScoreStatistics, SequenceScorer
from posttrain.settings import Settings

log = logging.getLogger(__name__)
ANY_LENGTH = 2**20  # tokens; what is too long for the model is found in `_fitted`


class Config(Settings):
    model: str = Field(description="folder of a trained reward model")
    scale: float = Field(1.0, gt=0, description="reward = (score - mean) / std * scale + bias")
    bias: float = Field(0.0, description="added to each")
    should_normalize: bool = Field(
        True, description="subtract the mean and divide by the std of the model's held-out scores"
    )
    reads: Literal["prompt_and_response", "response", "text"] = Field(
        "prompt_and_response",
        description="what the model judges: a response to a prompt, a response alone, or both as one text",
    )
    truncation: Literal["error", "left", "right"] = Field(
        "error",
        description="what happens to a text that is longer than the model's positions: end the run with counts, or cut "
        "this side, of the prompt before the response",
    )
    gives: Literal["score", "probability"] = Field(
        "score",
        description="the score, normalised; or its logistic function, which a model trained on judgements means as the "
        "probability that the response is good",
    )
    batch_size: int = Field(64, gt=0, description="responses scored at a time")


def build(config: Config, name: str, tokenizer: Tokenizer, device: torch.device) -> "SequenceModelReward":
    scorer, own_tokenizer, statistics = load_scorer(config.model)
    shares_tokens = own_tokenizer.get_vocab() == tokenizer.get_vocab() and config.reads == "prompt_and_response"
    return SequenceModelReward(config, name, scorer.to(device), statistics, None if shares_tokens else own_tokenizer)


@dataclass
class SequenceModelReward:
    config: Config
    name: str
    scorer: SequenceScorer
    statistics: ScoreStatistics
    tokenizer: Tokenizer | None  # the scorer's own, when it does not read the policy's tokens
    has_warned: bool = False

    def __call__(self, rollout: Rollout) -> RewardStream:
        mask = rollout.sequences.action_mask
        sequences = rollout.sequences if self.tokenizer is None else self._encoded(rollout, self.tokenizer)
        sequences, num_truncated = self._fitted(sequences)
        rewards = self.rewards(sequences.to(mask.device)).to(mask.device)
        return RewardStream(self.name, *place_at_last(rewards, mask), num_truncated)

    @torch.no_grad()
    def rewards(self, sequences: Sequences) -> Tensor:
        """(score − mean) / std · scale + bias of each response, [B]; a probability in place of the normalised score."""
        scores = torch.cat([self.scorer(part) for part in sequences.split(self.config.batch_size)])
        if self.config.gives == "probability":
            scores = scores.sigmoid()
        elif self.config.should_normalize:
            scores = (scores - self.statistics.mean) / max(self.statistics.std, 1e-6)
        return scores * self.config.scale + self.config.bias

    def _encoded(self, rollout: Rollout, tokenizer: Tokenizer) -> Sequences:
        """The same texts in the reward model's own tokens. Safe for one score a response: no span can shift."""
        is_encoder_decoder = bool(self.scorer.backbone.config.is_encoder_decoder)
        encoder = Encoder(tokenizer, is_encoder_decoder, ANY_LENGTH, ANY_LENGTH)
        examples = rollout.examples
        texts = [example.text if self.config.reads == "prompt_and_response" else "" for example in examples]
        responses = rollout.texts
        if self.config.reads == "text":
            responses = [f"{example.text} {text}" for example, text in zip(examples, responses, strict=True)]
        prompts = collate_prompts(encoder.prompts(texts), examples)
        return collate_sequences(prompts, range(len(texts)), encoder.responses(responses))

    def _fitted(self, sequences: Sequences) -> tuple[Sequences, int]:
        """Sequences that the model has positions for, and how many were cut; InputError where none may be."""
        config, side = self.scorer.backbone.config, self.config.truncation
        limit = max_positions(config)
        lengths = (sequences.prompts.lengths[sequences.prompt_index].tolist(), sequences.lengths.tolist())
        needed = [needed_positions(config, *both) for both in zip(*lengths, strict=True)]
        num_too_long = sum(limit is not None and tokens > limit for tokens in needed)
        if limit is None or num_too_long == 0:
            return sequences, 0
        fault = (
            f"rewards.{self.name}: {num_too_long} of {len(needed)} texts need more than the {limit} positions of the "
            f"reward model {self.config.model} (the longest needs {max(needed)})"
        )
        if side == "error":
            raise InputError(
                f"{fault}; set rewards.{self.name}.truncation to left or right to cut them, or lower the token limits "
                "of data and rollout"
            )
        if not self.has_warned:
            self.has_warned = True
            log.warning("%s; they are cut on the %s, here and from now on; see reward_truncated_share", fault, side)
        return cut_to_positions(config, sequences, limit, side), num_too_long
