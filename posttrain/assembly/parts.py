"""The models of a run, each built once, when an algorithm asks for it (`interfaces.Parts`)."""

import copy
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from posttrain.assembly.sections import REWARD_MODEL_RECORDS
from posttrain.config import RunConfig
from posttrain.data.span_labels import SpanSettings
from posttrain.errors import InputError
from posttrain.interfaces import Pooling
from posttrain.models.actor_critic import SeparateActorCritic, SharedActorCritic
from posttrain.models.adapters import UnadaptedLanguageModel, add_adapters, check_installed
from posttrain.models.language_model import LanguageModel, Sampling
from posttrain.models.loading import (
    Pretrained,
    freeze,
    initialize_language_model,
    is_reward_model,
    load_backbone,
    load_language_model,
    load_tokenizer,
    locate,
    new_scorer,
    new_span_scorer,
)
from posttrain.models.scorer import SequenceScorer, TieScorer
from posttrain.models.tokenizer import train_tokenizer
from posttrain.settings import Settings
from posttrain.training.distributed import Ranks, start_ranks

SEQ2SEQ_TYPES = ("t5", "mt5", "umt5", "longt5", "bart", "mbart", "pegasus")


def check_models(config: RunConfig) -> None:
    """InputError that names the settings of a model folder that is not there, before anything is read or trained."""
    if config.model.lora is not None:
        check_installed()
    named = {
        "model.path": config.model.path,
        "reference": config.reference,
        "value_model.path": config.value_model.path if config.value_model else None,
        **{f"rewards.{i}.model": getattr(it.choice.settings, "model", None) for i, it in enumerate(config.rewards)},
    }
    for path in dict.fromkeys(path for path in named.values() if path is not None):
        try:
            locate(path)
        except InputError as error:
            raise InputError(f"{', '.join(name for name in named if named[name] == path)}: {error}") from error


def load_frozen(path: str) -> tuple[LanguageModel, Pretrained]:
    """A language model on this machine's device, without dropout and gradients."""
    device = start_ranks().device
    start = load_language_model(path, 0.0)
    return freeze(LanguageModel(start.model)).to(device), start


@dataclass
class RunParts:
    """`start` is the pretrained or random model that the run begins with; dropout is off unless the run asks for it."""

    config: RunConfig
    consumes: str
    ranks: Ranks
    texts: list[str]  # of the training records, for a tokenizer that is to be trained
    saved_tokenizer: Path | None = None  # the tokenizer that this run trained when it began

    @cached_property
    def start(self) -> Pretrained:
        model = self.config.model
        if model.path is not None and self.goes_on_from_reward_model:
            return Pretrained(load_backbone(model.path, self.dropout), load_tokenizer(model.path), ())
        if model.path is not None:
            return load_language_model(model.path, self.dropout)
        assert model.architecture is not None
        assert model.tokenizer is not None
        if self.saved_tokenizer is not None:
            tokenizer = load_tokenizer(str(self.saved_tokenizer))
        elif model.tokenizer.path is not None:
            tokenizer = load_tokenizer(model.tokenizer.path)
        else:
            assert model.tokenizer.vocab_size is not None
            is_encoder_decoder = model.architecture["model_type"] in SEQ2SEQ_TYPES
            tokenizer = train_tokenizer(self.texts, model.tokenizer.vocab_size, is_encoder_decoder)
        torch.manual_seed(self.config.seed)
        return initialize_language_model(model.architecture, tokenizer, self.dropout)

    @cached_property
    def goes_on_from_reward_model(self) -> bool:
        """Then `start` has the states of a language model and no head."""
        path = self.config.model.path
        return path is not None and self.consumes in REWARD_MODEL_RECORDS and is_reward_model(path)

    def trial_module(self) -> nn.Module:
        """The cost of a step is that of this one, near enough."""
        model = self.start.model
        return SequenceScorer(model) if self.goes_on_from_reward_model else LanguageModel(model)

    @property
    def dropout(self) -> float | None:
        """None keeps the model's own rates, for supervised learning; sampling and scoring must see one model, so 0."""
        return self.config.model.dropout if self.is_supervised else 0.0

    @property
    def is_supervised(self) -> bool:
        return self.consumes in ("demonstrations", "judgements", "span_judgements", "preferences")

    @cached_property
    def sampling(self) -> Sampling:
        """The distribution of the rollout engine, under which policy and reference are scored too."""
        if self.config.rollout is None:
            return Sampling()
        settings = self.config.rollout.settings
        return Sampling(**{name: getattr(settings, name) for name in Sampling.model_fields})

    @cached_property
    def language_model(self) -> LanguageModel:
        self._prepare(self.start.model)
        return LanguageModel(self.start.model, self.sampling).to(self.ranks.device)

    def _prepare(self, model: Any) -> None:
        """Give a transformers model that is to be trained what the run asks of it."""
        lora = self.config.model.lora
        if lora is not None:
            torch.manual_seed(self.config.seed)
            dropout = lora.dropout if self.is_supervised else 0.0
            add_adapters(model, lora.rank, lora.alpha, dropout, lora.targets)
        if self.config.model.activation_checkpointing:
            model.activation_checkpointing_enable({"use_reentrant": False})

    def policy(self) -> nn.Module:
        return self.ranks.wrap(self.language_model)

    @cached_property
    def _reference(self) -> LanguageModel:
        if self.config.reference is not None:
            model = load_language_model(self.config.reference, 0.0).model
        elif self.config.model.lora is not None:
            return UnadaptedLanguageModel(self.language_model.hf_model, self.sampling)
        else:
            model = copy.deepcopy(self.start.model)
        return freeze(LanguageModel(model, self.sampling)).to(self.ranks.device)

    def reference(self) -> LanguageModel:
        return self._reference

    def actor_critic(self) -> nn.Module:
        value = self.config.value_model
        if value is not None and value.shared_trunk:
            module: nn.Module = SharedActorCritic(self.language_model)
        else:
            path = value.path if value is not None and value.path is not None else self.config.model.path
            assert path is not None, "online methods start from a model folder"
            backbone = load_backbone(path, 0.0)
            self._prepare(backbone)
            module = SeparateActorCritic(self.language_model, backbone)
        return self.ranks.wrap(module.to(self.ranks.device))

    def scorer(self, pooling: Pooling, learns_tie_strength: bool = False) -> nn.Module:
        assert self.config.model.path is not None
        torch.manual_seed(self.config.seed)
        scorer = new_scorer(self.config.model.path, self.dropout, pooling)
        self._prepare(scorer.backbone)
        module = TieScorer(scorer) if learns_tie_strength else scorer
        return self.ranks.wrap(module.to(self.ranks.device))

    def span_scorer(self, spans: Settings) -> nn.Module:
        assert self.config.model.path is not None
        assert isinstance(spans, SpanSettings)
        torch.manual_seed(self.config.seed)
        scorer = new_span_scorer(self.config.model.path, self.dropout, spans)
        self._prepare(scorer.backbone)
        return self.ranks.wrap(scorer.to(self.ranks.device))

    def sum_over_ranks(self, values: Tensor) -> Tensor:
        return self.ranks.sum(values)
