"""Pretrained weights in, trained weights out. Safetensors only, and never code from a model folder."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    GenerationConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging as transformers_logging

from posttrain.data.span_labels import SpanSettings
from posttrain.errors import InputError
from posttrain.interfaces import Pooling
from posttrain.models.families.encoder_decoder import FORCED_FIRST
from posttrain.models.scorer import HEAD_FILE, ScoreStatistics, SequenceScorer, read_statistics
from posttrain.models.spans.scorer import SPAN_HEAD_FILE, SpanScorer, read_spans

Tokenizer = PreTrainedTokenizerBase
M = TypeVar("M", bound=torch.nn.Module)
BUILTIN = Path(__file__).parent / "builtin"
DROPOUTS = (
    "dropout", "dropout_rate", "attention_dropout", "activation_dropout", "classifier_dropout",
    "resid_pdrop", "embd_pdrop", "attn_pdrop", "hidden_dropout", "hidden_dropout_prob",
)  # fmt: skip
LAYER_DROPOUTS = ("encoder_layerdrop", "decoder_layerdrop", "layerdrop")

transformers_logging.set_verbosity_error()
transformers_logging.disable_progress_bar()


@dataclass(frozen=True)
class Pretrained:
    """A language model, its tokenizer, and the ids that end a response."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    end_ids: tuple[int, ...]

    @property
    def is_encoder_decoder(self) -> bool:
        return bool(self.model.config.is_encoder_decoder)


def locate(path: str, needed: str = "config.json") -> str:
    """A folder with the file `needed`, a hub name, or `builtin/NAME` for a model that ships with this package."""
    if path.startswith("builtin/"):
        folder = BUILTIN / path.removeprefix("builtin/")
        if not folder.is_dir():
            names = ", ".join(f"builtin/{p.name}" for p in sorted(BUILTIN.iterdir())) if BUILTIN.is_dir() else "none"
            raise InputError(f"model {path}: there is no such built-in model; there are {names}")
        return str(folder)
    looks_like_folder = path.startswith((".", "/", "~")) or path.count("/") > 1
    folder = Path(path).expanduser()
    if folder.is_dir():
        if not (folder / needed).exists():
            kind = "model" if needed == "config.json" else "tokenizer"
            raise InputError(f"{folder}/{needed}: missing, so {folder} is not a {kind} folder")
        return str(folder)
    if looks_like_folder or folder.exists():
        raise InputError(f"model {path}: no such folder; train that model first, or correct the path")
    return path


def _from_pretrained(loader: Any, path: str, needed: str = "config.json", **options: Any) -> Any:
    try:
        return loader.from_pretrained(locate(path, needed), trust_remote_code=False, **options)
    except (OSError, ValueError, KeyError, SafetensorError, StrictDataclassError) as error:
        if isinstance(error, InputError):
            raise
        reason = " ".join(str(error).split())[:300]
        raise InputError(f"model {path}: cannot be loaded ({reason}); it must be a folder or hub name with "
                         "config.json, tokenizer files and safetensors weights") from error  # fmt: skip


def _load_weights(loader: Any, path: str, config: PreTrainedConfig) -> PreTrainedModel:
    """All tensors of the architecture, from the folder. transformers would put random numbers where one is missing."""
    options = {"config": config, "use_safetensors": True, "dtype": torch.float32}
    model, info = _from_pretrained(loader, path, **options, ignore_mismatched_sizes=True, output_loading_info=True)
    wrong = sorted([*info["missing_keys"], *(key for key, *_ in info["mismatched_keys"])])
    if wrong:
        raise InputError(
            f"model {path}: {len(wrong)} tensors of a {type(model).__name__} are missing from its weights or have "
            f"another shape, {wrong[0]} among them; files are missing, or config.json belongs to another model"
        )
    return model


def read_config(path: str, dropout: float | None) -> PreTrainedConfig:
    config = _from_pretrained(AutoConfig, path)
    return with_dropout(config, dropout)


def with_dropout(config: PreTrainedConfig, dropout: float | None) -> PreTrainedConfig:
    """Set every dropout rate that the architecture knows, and drop no whole layers; None leaves all as they are."""
    if dropout is not None:
        for name in (*DROPOUTS, *LAYER_DROPOUTS):
            if getattr(config, name, None) is not None:
                setattr(config, name, 0.0 if name in LAYER_DROPOUTS else dropout)
    return config


def load_tokenizer(path: str) -> PreTrainedTokenizerBase:
    tokenizer = _from_pretrained(AutoTokenizer, path, needed="tokenizer_config.json")
    if tokenizer.eos_token_id is None:
        raise InputError(
            f"tokenizer of {path} has no eos token, so no response can end; set eos_token in tokenizer_config.json"
        )
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token  # safe here: masks are made from lengths, never from pad ids
    return tokenizer


def load_language_model(path: str, dropout: float | None) -> Pretrained:
    config = read_config(path, dropout)
    check_head(config, path)
    loader = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
    return pretrained(_load_weights(loader, path, config), load_tokenizer(path))


def check_head(config: PreTrainedConfig, path: str) -> None:
    """Log-probabilities are computed from states and head; what Gemma 2 or Cohere do after it would be lost."""
    for name in ("final_logit_softcapping", "logit_scale", "logits_scaling"):
        if getattr(config, name, None) not in (None, 1, 1.0):
            raise InputError(f"model {path}: its config has {name}, a change of the logits that is not supported")


def pretrained(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> Pretrained:
    generation = model.generation_config
    ends = generation.eos_token_id if generation is not None else None
    declared = [] if ends is None else ends if isinstance(ends, list) else [ends]
    eos = tokenizer.eos_token_id
    assert isinstance(eos, int)
    if generation is not None:
        _keep_forced_first(model.config, generation)
    return Pretrained(model, tokenizer, tuple(sorted({eos, *declared})))


def initialize_language_model(
    architecture: dict[str, Any], tokenizer: PreTrainedTokenizerBase, dropout: float | None = None
) -> Pretrained:
    """Random weights in the shape of `architecture`, a transformers config with its `model_type`."""
    settings = dict(architecture)
    model_type = settings.pop("model_type", None)
    if model_type is None:
        raise InputError("model.architecture.model_type: missing; name a transformers model type such as t5 or llama")
    special = {
        "vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id, "eos_token_id": tokenizer.eos_token_id,
        "bos_token_id": tokenizer.bos_token_id, "decoder_start_token_id": tokenizer.pad_token_id,
    }  # fmt: skip
    try:
        config = with_dropout(AutoConfig.for_model(model_type, **{**special, **settings}), dropout)
    except (ValueError, TypeError, StrictDataclassError) as error:
        raise InputError(f"model.architecture: {error}") from error
    loader = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
    return pretrained(loader.from_config(config, dtype=torch.float32), tokenizer)


def load_backbone(path: str, dropout: float | None) -> PreTrainedModel:
    """The model without its language-model head: where reward and value models start."""
    config = read_config(path, dropout)
    if config.is_encoder_decoder:
        _keep_forced_first(config, _generation_config(path))
    return _load_weights(AutoModel, path, config)


def _generation_config(path: str) -> GenerationConfig:
    """What a model without a head does not keep. Where there is no such file, transformers reads config.json for it."""
    located = locate(path)
    is_alone = Path(located).is_dir() and not (Path(located) / "generation_config.json").exists()
    try:
        return GenerationConfig.from_pretrained(
            located, config_file_name="config.json" if is_alone else "generation_config.json"
        )
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:300]
        raise InputError(f"model {path}: its generation_config.json cannot be loaded ({reason})") from error


def _keep_forced_first(config: PreTrainedConfig, generation: GenerationConfig) -> None:
    """In the model's config, where every user of the model finds it, and where it is saved with a backbone."""
    forced = generation.forced_bos_token_id
    if config.is_encoder_decoder and forced is not None:
        setattr(config, FORCED_FIRST, forced)


def new_scorer(path: str, dropout: float | None, pooling: Pooling = "last") -> SequenceScorer:
    """A reward model to be trained: from a language model, or on from another reward model of the same pooling."""
    scorer = SequenceScorer(load_backbone(path, dropout), pooling)
    if (Path(locate(path)) / HEAD_FILE).exists():
        scorer.load_head(Path(locate(path)))
        if scorer.pooling != pooling:
            raise InputError(f"model {path}: it scores with pooling {scorer.pooling}, algorithm.pooling is {pooling}")
    return scorer


def load_scorer(path: str) -> tuple[SequenceScorer, PreTrainedTokenizerBase, ScoreStatistics]:
    """A trained reward model with its tokenizer and the statistics of its held-out scores."""
    folder = Path(locate(path))
    scorer = SequenceScorer(load_backbone(path, 0.0))
    scorer.load_head(folder)
    return freeze(scorer), load_tokenizer(path), read_statistics(folder)


def new_span_scorer(path: str, dropout: float | None, spans: SpanSettings) -> SpanScorer:
    """A span reward model to be trained: from a language model, or on from another that judges the same."""
    scorer, folder = SpanScorer(load_backbone(path, dropout), spans), Path(locate(path))
    if (folder / SPAN_HEAD_FILE).exists():
        if read_spans(folder) != spans:
            raise InputError(f"model {path}: is a span reward model that judges other spans or classes; give "
                             "algorithm the same settings, or start from a language model")  # fmt: skip
        scorer.load_head(folder)
    return scorer


def load_span_scorer(path: str) -> tuple[SpanScorer, PreTrainedTokenizerBase]:
    """A trained span reward model with its tokenizer."""
    folder = Path(locate(path))
    scorer = SpanScorer(load_backbone(path, 0.0), read_spans(folder))
    scorer.load_head(folder)
    return freeze(scorer), load_tokenizer(path)


def is_reward_model(path: str) -> bool:
    """Whether a folder holds a reward model, which has no language-model head, and not a language model."""
    folder = Path(locate(path))
    return any((folder / name).exists() for name in (HEAD_FILE, SPAN_HEAD_FILE))


def freeze(module: M) -> M:
    return module.eval().requires_grad_(False)
