"""PPO as the loop of FineGrainedRLHF (Wu et al. 2023, arXiv:2306.01693) does it, re-created as a baseline.

Four models with a forward each; `generate` answers; prompts are repeated for their samples; all batches are padded;
logits of the whole vocabulary are kept for every column; policy and value model are read again for each minibatch.
"""

import argparse
import time
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AutoModel, AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer

from benchmarks.generation import MAX_NEW_TOKENS
from benchmarks.meter import MODELS, WARMUP, Meter
from benchmarks.shapes import END, PAD, SHAPES, TEMPERATURE, folder
from benchmarks.training import LEARNING_RATE

PASSES, MINIBATCH = 4, 16
CLIP, VALUE_WEIGHT, TRACE_DECAY = 0.2, 0.5, 0.95


def tokenizer(arguments: argparse.Namespace) -> Any:
    return AutoTokenizer.from_pretrained(folder(arguments.shape, MODELS), padding_side="left")


def up_to_end(made: Tensor) -> list[list[int]]:
    return [row[: row.index(END) + 1] if END in row else row for row in made.tolist()]


class Batch:
    """Prompts repeated for their samples, and responses, padded: rows of four tensors."""

    def __init__(self, ids: Tensor, mask: Tensor, response: Tensor, response_mask: Tensor):
        self.tensors = (ids, mask, response, response_mask)

    def rows(self, rows: Tensor) -> "Batch":
        return Batch(*(each[rows] for each in self.tensors))


class Models:
    def __init__(self, arguments: argparse.Namespace):
        path = folder(arguments.shape, MODELS)
        self.is_encoder_decoder = SHAPES[arguments.shape].is_encoder_decoder
        auto = AutoModelForSeq2SeqLM if self.is_encoder_decoder else AutoModelForCausalLM
        self.policy, self.reference = (auto.from_pretrained(path) for _ in range(2))
        self.value, self.reward = (AutoModel.from_pretrained(path) for _ in range(2))
        width = self.policy.config.hidden_size
        self.value_head, self.reward_head = nn.Linear(width, 1), nn.Linear(width, 1)
        for frozen in (self.reference, self.reward, self.reward_head):
            frozen.requires_grad_(False)
        self.trained = nn.ModuleList([self.policy, self.value, self.value_head])

    def generate(self, batch: Mapping[str, Tensor], samples: int) -> Batch:
        made = self.policy.generate(
            **batch, do_sample=True, top_k=0, top_p=1.0, temperature=TEMPERATURE, max_new_tokens=MAX_NEW_TOKENS,
            num_return_sequences=samples, eos_token_id=END, pad_token_id=PAD,
        )  # fmt: skip
        response = made[:, 1 if self.is_encoder_decoder else batch["input_ids"].shape[1] :]
        lengths = torch.tensor([len(row) for row in up_to_end(response)])
        mask = torch.arange(response.shape[1]) < lengths.unsqueeze(1)
        ids, prompt_mask = (batch[name].repeat_interleave(samples, 0) for name in ("input_ids", "attention_mask"))
        return Batch(ids, prompt_mask, response.masked_fill(~mask, PAD), mask)

    def logprobs(self, model: Any, batch: Batch) -> Tensor:
        """[B, R], from logits of all response columns; for a decoder-only model, of prompt columns too."""
        ids, mask, response, response_mask = batch.tensors
        if self.is_encoder_decoder:
            logits = model(input_ids=ids, attention_mask=mask, labels=response).logits
        else:
            both = torch.cat([mask, response_mask.long()], 1)
            text = torch.cat([ids, response], 1)
            logits = model(input_ids=text, attention_mask=both, position_ids=positions(both)).logits
            logits = logits[:, ids.shape[1] - 1 : -1]
        return F.log_softmax(logits / TEMPERATURE, dim=-1).gather(-1, response.unsqueeze(-1)).squeeze(-1)

    def numbers(self, backbone: Any, head: nn.Linear, batch: Batch, shift: int) -> Tensor:
        """One number for each response column [B, R]: of the state before its token (shift 0) or after it (1)."""
        ids, mask, response, response_mask = batch.tensors
        if self.is_encoder_decoder:
            start = response.new_full((len(response), 1), PAD)
            decoder = torch.cat([start, response], 1)
            hidden = backbone(input_ids=ids, attention_mask=mask, decoder_input_ids=decoder).last_hidden_state
        else:
            both = torch.cat([mask, response_mask.long()], 1)
            text = torch.cat([ids, response], 1)
            hidden = backbone(input_ids=text, attention_mask=both, position_ids=positions(both)).last_hidden_state
            hidden = hidden[:, ids.shape[1] - 1 :]
        return head(hidden[:, shift : hidden.shape[1] - 1 + shift]).squeeze(-1)


def positions(mask: Tensor) -> Tensor:
    return (mask.cumsum(-1) - 1).clamp(min=0)


def advantages_of(rewards: Tensor, values: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    advantages, following, next_value = torch.zeros_like(rewards), torch.zeros(len(rewards)), torch.zeros(len(rewards))
    for t in reversed(range(rewards.shape[1])):
        here = mask[:, t].float()
        delta = rewards[:, t] + next_value - values[:, t]
        following = here * (delta + TRACE_DECAY * following)
        next_value = here * values[:, t]
        advantages[:, t] = following
    returns = advantages + values
    kept = advantages[mask]
    return torch.where(mask, (advantages - kept.mean()) / (kept.std() + 1e-8), 0.0), returns


def masked_mean(x: Tensor, mask: Tensor) -> Tensor:
    return (x * mask).sum() / mask.sum()


def run(
    arguments: argparse.Namespace, batches: Sequence[Sequence[str]], unit: str, kl_weight: float
) -> Mapping[str, Any]:
    models, tokens = Models(arguments), tokenizer(arguments)
    if models.is_encoder_decoder:
        tokens.padding_side = "right"
    optimizer = torch.optim.AdamW(models.trained.parameters(), lr=LEARNING_RATE)
    meter, split = Meter(unit), {"rollout": 0.0, "scoring": 0.0, "update": 0.0}
    meter.start()
    for number, texts in enumerate(batches):
        moments = [time.perf_counter()]
        with meter.timed() as units:
            ends = " </s>" if models.is_encoder_decoder else ""
            encoded = tokens([text + ends for text in texts], return_tensors="pt", padding=True)
            encoded = {name: encoded[name] for name in ("input_ids", "attention_mask")}
            with torch.no_grad():
                batch = models.generate(encoded, arguments.samples)
                moments.append(time.perf_counter())
                old, values, rewards = _scored(models, batch, kl_weight)
                advantages, returns = advantages_of(rewards, values, batch.tensors[3])
            moments.append(time.perf_counter())
            for _ in range(PASSES):
                for rows in torch.randperm(len(old)).split(MINIBATCH):
                    _step(models, optimizer, batch.rows(rows), *(x[rows] for x in (old, values, advantages, returns)))
            moments.append(time.perf_counter())
            units.append(float(len(old)))
        if number >= WARMUP:
            for name, start, end in zip(split, moments[:-1], moments[1:], strict=True):
                split[name] += (end - start) / (len(batches) - WARMUP)
    return {**meter.result(), "split": split}


def _scored(models: Models, batch: Batch, kl_weight: float) -> tuple[Tensor, Tensor, Tensor]:
    """Log-probabilities, values and rewards before the update, [B, R] each."""
    mask = batch.tensors[3]
    old = models.logprobs(models.policy, batch)
    of_reference = models.logprobs(models.reference, batch)
    values = models.numbers(models.value, models.value_head, batch, shift=0)
    scores = models.numbers(models.reward, models.reward_head, batch, shift=1)
    last = mask.sum(-1) - 1
    rewards = -kl_weight * (old - of_reference) * mask
    rewards[torch.arange(len(last)), last] += scores[torch.arange(len(last)), last]
    return old, values, rewards


def _step(
    models: Models, optimizer: torch.optim.Optimizer, batch: Batch, old: Tensor, values: Tensor, advantages: Tensor,
    returns: Tensor,
) -> None:  # fmt: skip
    mask = batch.tensors[3]
    ratio = (models.logprobs(models.policy, batch) - old).exp()
    policy_loss = torch.max(-advantages * ratio, -advantages * ratio.clamp(1 - CLIP, 1 + CLIP))
    new = models.numbers(models.value, models.value_head, batch, shift=0)
    held = values + (new - values).clamp(-CLIP, CLIP)
    value_loss = 0.5 * torch.max((new - returns) ** 2, (held - returns) ** 2)
    (masked_mean(policy_loss, mask) + VALUE_WEIGHT * masked_mean(value_loss, mask)).backward()
    nn.utils.clip_grad_norm_(models.trained.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad()
