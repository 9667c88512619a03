"""The sections of a run's YAML file; `config.RunConfig` puts them together."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, NonNegativeInt, PositiveInt, model_serializer, model_validator

from posttrain.reading.config_reading import Choice, ChoiceOf
from posttrain.settings import Settings

PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegativeFloat = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, lt=1)]

AlgorithmChoice = Annotated[Choice, ChoiceOf(("algorithms",), key="name")]
SourceChoice = Annotated[Choice, ChoiceOf(("data.sources", "worlds"), key="source")]
EngineChoice = Annotated[Choice, ChoiceOf(("rollouts",), key="engine")]
RewardChoice = Annotated[Choice, ChoiceOf(("rewards",), key="kind")]


class Section(Settings):
    """Settings whose descriptions are the strings below the fields."""

    model_config = ConfigDict(use_attribute_docstrings=True)


class TokenizerSettings(Section):
    """Where the tokenizer of a model with random weights comes from: exactly one of the two."""

    vocab_size: PositiveInt | None = None
    """Train a byte-level BPE tokenizer of this many tokens on the training data."""
    path: str | None = None
    """Folder or hub name to take a tokenizer from."""

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if (self.vocab_size is None) == (self.path is None):
            raise ValueError("give exactly one of vocab_size and path")
        return self


class LoraSettings(Section):
    """Low-rank adapters (Hu et al. 2021): small matrices are trained beside frozen ones (extra `lora`)."""

    rank: PositiveInt = 8
    """Width of the small matrices."""
    alpha: PositiveInt = 16
    """What they add is scaled by alpha / rank."""
    dropout: Share = 0.0
    """Dropout of what they read, in supervised learning."""
    targets: tuple[str, ...] | None = None
    """Last parts of the names of the linear layers that have them, such as q_proj; by default all but the head."""


class ModelSettings(Section):
    """The model to train: pretrained weights at `path`, or random weights of an `architecture`."""

    path: str | None = None
    """Folder, hub name, `builtin/encoder_decoder` or `builtin/decoder_only`."""
    architecture: dict[str, Any] | None = None
    """A transformers configuration, with its `model_type`, to start from random weights."""
    tokenizer: TokenizerSettings | None = None
    """The tokenizer that goes with `architecture`."""
    dropout: Share | None = None
    """Dropout rate while training, in place of the model's own. Always off in reinforcement learning."""
    lora: LoraSettings | None = None
    """Train low-rank adapters only, merged in the trained model's folder. By default all weights learn."""
    activation_checkpointing: bool = False
    """Compute activations again in the backward pass: less memory, more time, and texts are padded."""
    compute_dtype: Literal["float32", "bfloat16", "auto"] = "float32"
    """Number format of products of matrices; sums and weights are in float32. auto: the faster one, as measured."""
    saved_dtype: Literal["float32", "bfloat16"] = "float32"
    """Number format of the trained model's folder; bfloat16 halves it. Weights are trained in float32 either way."""

    @model_validator(mode="after")
    def _one_start(self) -> Self:
        if (self.path is None) == (self.architecture is None):
            raise ValueError("give exactly one of path and architecture")
        if (self.architecture is None) != (self.tokenizer is None):
            raise ValueError("tokenizer goes with architecture: give both, or a path, which has its own tokenizer")
        if self.architecture is not None and not isinstance(self.architecture.get("model_type"), str):
            raise ValueError("architecture needs a model_type, such as t5 or llama")
        return self


class DataSettings(Section):
    """What is read, and what happens to text that is too long."""

    train: SourceChoice
    """Where training records come from: `source:` and that source's own settings."""
    evaluation: SourceChoice | None = None
    """Where evaluation records come from; without it nothing is evaluated while training."""
    should_shuffle: bool = True
    """Whether training records are drawn in random order; otherwise they come as they stand, easy ones first, say."""
    max_prompt_tokens: PositiveInt
    """Longest prompt, in tokens."""
    max_response_tokens: PositiveInt
    """Longest response, in tokens: of a record when learning from records, of a sample in a rollout."""
    prompt_truncation: Literal["error", "left", "right"] = "error"
    """What happens to a longer prompt: refuse the run with counts, or cut this side."""
    response_truncation: Literal["error", "right"] = "error"
    """What happens to a longer recorded response: refuse the run with counts, or cut its end."""


class TrainingSettings(Section):
    """How batches become optimiser steps (AdamW, or Muon where matrix_learning_rate is given)."""

    num_steps: PositiveInt | None = None
    """Batches to train on. Give this or num_epochs."""
    num_epochs: PositiveFloat | None = None
    """Passes over the training records. Give this or num_steps."""
    batch_size: PositiveInt
    """Records in one batch: demonstrations or judgements, or prompts for preferences and rollouts."""
    minibatch_size: PositiveInt | None = None
    """Rows of one optimiser step; by default the batch is one step."""
    keeps_prompts_together: bool = False
    """Responses to one prompt are in one minibatch, which reads it once for them: faster where prompts are long."""
    microbatch_size: PositiveInt | None = None
    """Rows of one backward; changes memory and time, not results. By default the minibatch is one backward."""
    passes: PositiveInt = 1
    """Times each batch is gone through."""
    learning_rate: PositiveFloat
    """Peak learning rate."""
    schedule: Literal["constant", "linear", "cosine", "quadratic"] = "linear"
    """Course of the learning rate after warm-up: level, or to zero at the last step (quadratic is linear's square)."""
    warmup_steps: NonNegativeInt = 0
    """Batches over which the learning rate rises from zero."""
    weight_decay: NonNegativeFloat = 0.0
    """Decoupled weight decay (Loshchilov and Hutter 2019), not applied to biases and norms."""
    betas: tuple[Share, Share] = (0.9, 0.999)
    """Decay of Adam's first and second moments."""
    max_grad_norm: Annotated[float, Field(gt=0)] = 1.0
    """Gradients of a larger norm are scaled down to it; `.inf` turns clipping off."""
    value_learning_rate: PositiveFloat | None = None
    """Peak learning rate of the value model; by default learning_rate."""
    matrix_learning_rate: PositiveFloat | None = None
    """Peak learning rate of the hidden matrices, which are then stepped by Muon; by default AdamW steps all."""

    @model_validator(mode="after")
    def _one_length(self) -> Self:
        if (self.num_steps is None) == (self.num_epochs is None):
            raise ValueError("give exactly one of num_steps and num_epochs")
        return self


class RewardSettings(Section):
    """One reward of the sum. In YAML the reward's own settings stand beside these: {kind: length, weight: 0.5, ...}."""

    name: str
    """Name in metrics and results; by default its kind."""
    weight: Annotated[float, Field(allow_inf_nan=False)] = 1.0
    """Factor of this reward in the sum."""
    choice: RewardChoice
    """The reward and its own settings."""

    @model_validator(mode="before")
    @classmethod
    def _from_flat(cls, value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        if isinstance(value.get("choice"), Choice):
            return {"name": value["choice"].name} | dict(value)
        own = {"name": str(value.get("kind"))} | {key: value[key] for key in ("name", "weight") if key in value}
        return own | {"choice": {key: value[key] for key in value if key not in own}}

    @model_serializer
    def _flat(self) -> dict[str, Any]:
        own = {"kind": self.choice.name, "name": self.name, "weight": self.weight}
        return own | self.choice.settings.model_dump(mode="json")


class ValueModelSettings(Section):
    """The value model of an actor-critic method."""

    path: str | None = None
    """Where its weights start (a reward model, say); by default the policy's own start."""
    shared_trunk: bool = False
    """One trunk with two heads instead of two models; then `path` stays empty."""

    @model_validator(mode="after")
    def _no_path_when_shared(self) -> Self:
        if self.shared_trunk and self.path is not None:
            raise ValueError("a shared trunk has no weights of its own: leave path out")
        return self


class PretrainingSettings(Section):
    """Language modelling beside an online method: PPO-ptx (Ouyang et al. 2022, eq. 2)."""

    data: SourceChoice
    """Demonstrations whose responses are modelled; pretraining text has an empty prompt."""
    weight: PositiveFloat
    """Of the mean loss per token, which is added to that of each optimiser step."""
    batch_size: PositiveInt
    """Records at each optimiser step."""


class EvaluationSettings(Section):
    """What is measured on data.evaluation while training, and by `posttrain evaluate`."""

    every: PositiveInt | None = None
    """Batches between evaluations; by default only before the first and after the last one."""
    num_examples: PositiveInt | None = None
    """Use the first so many records; by default all."""
    measures: Annotated[tuple[str, ...], ChoiceOf.check_names("evaluation.measures")] = ()
    """Measures of generated responses: files of posttrain/evaluation/measures."""
    generate: bool = False
    """Whether to generate responses, which the measures need, or only compute the loss."""
    decoding: Literal["greedy", "sampling"] = "greedy"
    """How they are chosen: the likeliest tokens, or one sample from the distribution of the rollout."""


class CheckpointSettings(Section):
    """What `posttrain resume` can continue from."""

    every: PositiveInt = 100
    """Batches between checkpoints; the last one always has one."""
    keep: PositiveInt = 2
    """Checkpoints kept, newest first."""
    best_metric: str | None = None
    """A metric of evaluations, such as eval/rougeL: the model of its best one is in the run folder's best/."""
    best_is: Literal["highest", "lowest"] | None = None
    """Which value of best_metric is the best."""

    @model_validator(mode="after")
    def _both_or_neither(self) -> Self:
        if (self.best_metric is None) != (self.best_is is None):
            raise ValueError("best_metric and best_is (highest or lowest) go together: give both or neither")
        return self


class WandbSettings(Section):
    """Weights & Biases (the extra `wandb`)."""

    project: str
    """Project that the run appears in."""
    name: str | None = None
    """Name of the run; by default that of the run folder."""
    mode: Literal["online", "offline"] = "offline"
    """Offline writes below the run folder and sends nothing."""


class MetricsSettings(Section):
    """Where metrics go besides metrics.jsonl, which is always written."""

    wandb: WandbSettings | None = None
    """Also log to Weights & Biases."""
    tensorboard: bool = False
    """Also write TensorBoard events (the extra `tensorboard`)."""
