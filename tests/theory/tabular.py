"""Problems so small that every response is listed, and policies that are tables of logits."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from posttrain.batches import RewardStream, Rollout, Sequences
from posttrain.data.collate import collate_prompts, collate_sequences
from posttrain.data.records import Prompt
from posttrain.functional.kl import entropy
from posttrain.functional.logprobs import sequence_logprobs
from posttrain.functional.reward_streams import place_at_last

END = 0


@dataclass(frozen=True)
class Shape:
    """A response is tokens until END, or `max_length` of them. Without END all responses have that length.

    A stretch of tokens has a number: 0 is the empty one, and V · number + id + 1 the one with a token more.
    """

    num_prompts: int = 3
    vocabulary: int = 3
    max_length: int = 3
    has_end: bool = True

    @property
    def num_states(self) -> int:
        return sum(self.vocabulary**length for length in range(self.max_length))

    @property
    def num_stretches(self) -> int:
        return self.num_states + self.vocabulary**self.max_length

    @cached_property
    def responses(self) -> list[list[int]]:
        return self._continued([])

    def _continued(self, response: list[int]) -> list[list[int]]:
        if len(response) == self.max_length or (self.has_end and response[-1:] == [END]):
            return [response]
        return [whole for token in range(self.vocabulary) for whole in self._continued([*response, token])]

    @cached_property
    def everything(self) -> Sequences:
        """Every response to each prompt, those to one prompt together. A prompt is one token, its number."""
        numbers = range(self.num_prompts)
        prompts = collate_prompts([[i] for i in numbers], [Prompt(str(i)) for i in numbers])
        index = [i for i in numbers for _ in self.responses]
        return collate_sequences(prompts, index, self.responses * self.num_prompts)

    def stretches(self, sequences: Sequences) -> Int[Tensor, "B R1"]:
        """The number of what was written before each token, and last of the whole response."""
        numbers = [torch.zeros(len(sequences), dtype=torch.long)]
        for ids, mask in zip(sequences.response_ids.T, sequences.response_mask.T, strict=True):
            numbers.append(torch.where(mask, numbers[-1] * self.vocabulary + ids + 1, numbers[-1]))
        return torch.stack(numbers, 1)

    def states(self, sequences: Sequences) -> Int[Tensor, "B R"]:
        """Of each token the state it is chosen in; 0 at padding."""
        return self.stretches(sequences)[:, :-1].masked_fill(~sequences.response_mask, 0)

    def is_over(self, state: int, token: int) -> bool:
        return (self.has_end and token == END) or self.after(state, token) >= self.num_states

    def after(self, state: int, token: int) -> int:
        return state * self.vocabulary + token + 1


def prompt_numbers(sequences: Sequences) -> Int[Tensor, "B"]:
    return sequences.prompts.ids[sequences.prompt_index, 0]


class TablePolicy(nn.Module):
    """Free logits in each state of each prompt, [U, S, V]: it can be any distribution over the responses."""

    def __init__(self, shape: Shape, logits: Float[Tensor, "U S V"]):
        super().__init__()
        self.shape, self.logits = shape, nn.Parameter(logits.clone())

    def of_all(self, sequences: Sequences) -> Float[Tensor, "B R V"]:
        rows = prompt_numbers(sequences).unsqueeze(1)
        return self.logits.log_softmax(-1)[rows, self.shape.states(sequences)]

    def forward(self, sequences: Sequences) -> Float[Tensor, "B R"]:
        return chosen(self.of_all(sequences), sequences)


class WordPolicy(nn.Module):
    """One table of logits for all positions, [U, V]: responses with the same words have the same probability."""

    def __init__(self, logits: Float[Tensor, "U V"]):
        super().__init__()
        self.logits = nn.Parameter(logits.clone())

    def of_all(self, sequences: Sequences) -> Float[Tensor, "B R V"]:
        of_words = self.logits.log_softmax(-1)[prompt_numbers(sequences)].unsqueeze(1)
        return of_words.expand(-1, sequences.response_ids.shape[1], -1)

    def forward(self, sequences: Sequences) -> Float[Tensor, "B R"]:
        return chosen(self.of_all(sequences), sequences)


class TableActorCritic(nn.Module):
    """A policy, and a value for each state of each prompt."""

    def __init__(self, policy: TablePolicy | WordPolicy, shape: Shape, values: Float[Tensor, "U S"] | None = None):
        super().__init__()
        self.policy, self.shape = policy, shape
        self.values = nn.Parameter(torch.zeros(shape.num_prompts, shape.num_states) if values is None else values)

    def forward(self, sequences: Sequences, has_entropy: bool = False) -> tuple[Float[Tensor, "B R"], ...]:
        of_all = self.policy.of_all(sequences)
        values = self.values[prompt_numbers(sequences).unsqueeze(1), self.shape.states(sequences)]
        found = chosen(of_all, sequences), values.masked_fill(~sequences.response_mask, 0.0)
        if not has_entropy:
            return found
        return *found, entropy(of_all).masked_fill(~sequences.response_mask, 0.0)


def chosen(of_all: Float[Tensor, "B R V"], sequences: Sequences) -> Float[Tensor, "B R"]:
    of_tokens = of_all.gather(-1, sequences.response_ids.unsqueeze(-1)).squeeze(-1)
    return of_tokens.masked_fill(~sequences.response_mask, 0.0)


def policy_of(module: nn.Module) -> nn.Module:
    return module.policy if isinstance(module, TableActorCritic) else module


@dataclass(frozen=True)
class Problem:
    """Where a policy starts, and what each response is worth."""

    shape: Shape
    reference: nn.Module
    rewards: Float[Tensor, "U N"]  # of each response, in the order of `shape.responses`

    def distribution(self, policy: nn.Module) -> Float[Tensor, "U N"]:
        """log π(y|x) of every response."""
        sequences = self.shape.everything
        return sequence_logprobs(policy(sequences), sequences.response_mask).view(self.shape.num_prompts, -1)

    def optimum(self, beta: float) -> Float[Tensor, "U N"]:
        """π*(y|x) = π_ref(y|x) e^{r/β} / Z(x)."""
        return (self.distribution(self.reference).detach() + self.rewards / beta).softmax(-1)

    def objective(self, policy: nn.Module, beta: float) -> Float[Tensor, ""]:
        """E_x [ E_y r − β KL(π ‖ π_ref) ], summed over every response."""
        ours, theirs = self.distribution(policy), self.distribution(self.reference).detach()
        return (ours.exp() * (self.rewards - beta * (ours - theirs))).sum(-1).mean()

    def distance(self, policy: nn.Module, target: Float[Tensor, "U N"]) -> float:
        """Total variation, ½ Σ |π − target|, of the prompt where it is largest."""
        with torch.no_grad():
            return float(0.5 * (self.distribution(policy).exp() - target).abs().sum(-1).max())

    def rollout(self, policy: nn.Module, rows: Sequence[int]) -> Rollout:
        """These rows of `shape.everything`, as if the policy had written them."""
        everything = self.shape.everything
        with torch.no_grad():
            logprobs = policy_of(policy)(everything)
        last = everything.response_ids.gather(1, everything.lengths.unsqueeze(1) - 1).squeeze(1)
        is_cut = (last != END) if self.shape.has_end else torch.ones_like(last, dtype=torch.bool)
        return Rollout(everything, logprobs, ("",) * len(everything), is_cut).select(rows)

    @cached_property
    def rewards_of_stretches(self) -> Float[Tensor, "U T"]:
        """0 where a stretch is no whole response."""
        everything, table = (
            self.shape.everything,
            self.rewards.new_zeros(self.shape.num_prompts, self.shape.num_stretches),
        )
        table[prompt_numbers(everything), self.shape.stretches(everything)[:, -1]] = self.rewards.flatten()
        return table

    def judge(self, rollout: Rollout) -> RewardStream:
        """One reward a response, at its last token."""
        sequences = rollout.sequences
        of_rows = self.rewards_of_stretches[prompt_numbers(sequences), self.shape.stretches(sequences)[:, -1]]
        return RewardStream("reward", *place_at_last(of_rows, sequences.response_mask))


def random_problem(seed: int, shape: Shape | None = None, offset: float = 0.5) -> Problem:
    """A random reference; rewards of a standard normal distribution, `offset` more from each prompt to the next."""
    shape, generator = shape or Shape(), torch.Generator().manual_seed(seed)
    logits = 0.7 * torch.randn(shape.num_prompts, shape.num_states, shape.vocabulary, generator=generator)
    rewards = torch.randn(shape.num_prompts, len(shape.responses), generator=generator)
    rewards = rewards + offset * torch.arange(shape.num_prompts).unsqueeze(1)
    return Problem(shape, TablePolicy(shape, logits).requires_grad_(False), rewards)
