"""A run's model as a folder with all that others need of it: a reward model with how it judges held-out records."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from posttrain.assembly.spans import report_spans
from posttrain.models.export import export
from posttrain.models.loading import Tokenizer
from posttrain.models.scorer import SequenceScorer, TieScorer, write_statistics
from posttrain.models.spans.scorer import SpanScorer


def export_whole(
    module: nn.Module, tokenizer: Tokenizer, folder: Path, dtype: torch.dtype,
    held_out: Callable[[], Sequence[Any]], device: torch.device, files: Mapping[str, str] | None = None,
) -> None:  # fmt: skip
    """`held_out` gives the evaluation batches, which only a reward model is asked about; `files` are added as text."""

    def add(unfinished: Path) -> None:
        scorer = module.scorer if isinstance(module, TieScorer) else module
        if isinstance(scorer, SequenceScorer):
            scorer.eval()
            with torch.no_grad():
                scores = [scorer(batch.sequences.to(device)).cpu() for batch in held_out()]
            write_statistics(unfinished, torch.cat(scores))
        if isinstance(scorer, SpanScorer):
            report_spans(scorer, held_out(), device, unfinished)
        for name, text in (files or {}).items():
            (unfinished / name).write_text(text, encoding="utf-8")

    export(module, tokenizer, folder, dtype, add)
