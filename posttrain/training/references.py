"""Reference log-probabilities of recorded responses: computed once, and kept by the hash of what they depend on."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from posttrain.batches import PreferencePairs, ReferencedPairs
from posttrain.data.collate import Tokenized, preferences
from posttrain.functional.logprobs import sequence_logprobs
from posttrain.models.precision import compute_dtype


def content_hash(module: nn.Module, rows: Sequence[Tokenized]) -> str:
    """Of every weight of the reference, every token of the rows, and the number format of products."""
    digest = hashlib.sha256(str(compute_dtype()).encode())
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    digest.update(json.dumps([[row.prompt, row.responses] for row in rows]).encode())
    return digest.hexdigest()


@torch.no_grad()
def reference_logprobs(
    reference: nn.Module, rows: Sequence[Tokenized], batch_size: int, cache: Path
) -> tuple[list[Float[Tensor, "k"]], bool]:
    """Σ_t log π_ref(a_t|s_t) of each row's responses, and whether they came from the cache folder."""
    path = cache / f"{content_hash(reference, rows)}.safetensors"
    counts = [len(row.responses) for row in rows]
    if path.exists():
        return list(load_file(path)["logprobs"].split(counts)), True
    device = next(reference.parameters()).device
    pieces = []
    for start in range(0, len(rows), batch_size):
        sequences = preferences(rows[start : start + batch_size]).sequences.to(device)
        pieces.append(sequence_logprobs(reference(sequences), sequences.action_mask).cpu())
    logprobs = torch.cat(pieces)
    cache.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".tmp")
    save_file({"logprobs": logprobs}, unfinished)
    unfinished.rename(path)
    return list(logprobs.split(counts)), False


def with_reference(pairs: PreferencePairs, logprobs: Sequence[Float[Tensor, "k"]]) -> ReferencedPairs:
    return ReferencedPairs(
        pairs.sequences, pairs.better, pairs.worse, pairs.is_tie, pairs.weight, torch.cat(list(logprobs))
    )
