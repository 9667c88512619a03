"""Every random number of a run comes from a state that is saved here, or from a stream that its seed and place name."""

import hashlib
import json
import random
from collections.abc import Mapping
from typing import Any

import numpy
import torch

from posttrain.errors import InputError


def seed_everything(seed: int) -> None:
    """Seed Python's, NumPy's and torch's global generators (all devices). `seed` is 0 or more and below 2**32."""
    if not 0 <= seed < 2**32:
        raise InputError(f"seed: {seed} is outside 0 .. 2**32 - 1, which NumPy's generator takes; choose one inside.")
    random.seed(seed)
    numpy.random.seed(seed)
    torch.manual_seed(seed)


def stream(seed: int, *keys: int | str, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator for one place of one run, such as stream(seed, "rollout", step, sample).

    Its numbers depend on these arguments alone: neither on what was drawn before, nor on which process asks.
    torch's CPU generator takes 32 bits of the hash: of n streams, about n**2 / 2**33 pairs coincide.
    """
    digest = hashlib.sha256(json.dumps([seed, *keys]).encode()).digest()
    return torch.Generator(device).manual_seed(int.from_bytes(digest[:8], "little"))


def capture() -> dict[str, Any]:
    """The states of all global generators, in a form that a checkpoint takes."""
    version, words, next_gauss = random.getstate()
    mersenne: Any = numpy.random.get_state(legacy=False)
    return {
        "python": {"version": version, "words": torch.tensor(words), "next_gauss": next_gauss},
        "numpy": {
            "key": torch.from_numpy(mersenne["state"]["key"].astype("int64")),
            "pos": int(mersenne["state"]["pos"]),
            "has_gauss": int(mersenne["has_gauss"]),
            "gauss": float(mersenne["gauss"]),
        },
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def restore(state: Mapping[str, Any]) -> None:
    """Put back what `capture` returned.

    Call it last, after models, optimisers and data loaders are built: building them draws random numbers too.
    """
    devices = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if len(state["cuda"]) != devices:
        raise InputError(
            f"the checkpoint holds the random states of {len(state['cuda'])} CUDA devices and this machine shows "
            f"{devices}; resume on a machine like the first (CUDA_VISIBLE_DEVICES chooses devices)."
        )
    python, mersenne = state["python"], state["numpy"]
    random.setstate((python["version"], tuple(python["words"].tolist()), python["next_gauss"]))
    key = mersenne["key"].numpy().astype("uint32")
    numpy.random.set_state(("MT19937", key, mersenne["pos"], mersenne["has_gauss"], mersenne["gauss"]))
    torch.set_rng_state(state["torch"])
    if devices:
        torch.cuda.set_rng_state_all(state["cuda"])
