"""The language modelling that a run mixes into an online method."""

from collections.abc import Sequence

from posttrain.algorithms.sft import SFT
from posttrain.assembly.parts import RunParts
from posttrain.assembly.records import load_records, tokenized
from posttrain.config import RunConfig
from posttrain.data.collate import Tokenized, recorded
from posttrain.data.loading import DataOrder
from posttrain.models.language_model import LanguageModel
from posttrain.models.loading import Pretrained
from posttrain.training.batch_sources import RecordBatches
from posttrain.training.distributed import Ranks
from posttrain.training.loop import SideLoss

ORDER_SEED = 1
"""Added to the run's seed: prompts and pretraining texts come in orders of their own."""


def pretraining_rows(config: RunConfig, start: Pretrained) -> list[Tokenized]:
    if config.pretraining is None:
        return []
    records = load_records(config.pretraining.data, "pretraining.data", "demonstrations")
    return tokenized(records, start, config.data, "pretraining.data")


def side_loss(config: RunConfig, rows: Sequence[Tokenized], parts: RunParts, ranks: Ranks) -> SideLoss | None:
    """None for a run without the section `pretraining`."""
    settings = config.pretraining
    if settings is None:
        return None
    order = DataOrder(len(rows), settings.batch_size, config.seed + ORDER_SEED, rank=ranks.rank, world_size=ranks.size)
    batches = RecordBatches(order, lambda numbers: recorded([rows[i] for i in numbers]), ranks.device)
    policy = LanguageModel(parts.language_model.hf_model)  # texts are not from the distribution of the sampler
    return SideLoss("pretraining_loss", SFT(policy), batches, settings.weight, config.training.microbatch_size)
