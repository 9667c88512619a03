"""One YAML file is one whole run: its schema.

`load` reads a file and its overrides strictly, `resolved` gives the run back complete with every default;
loading what `resolved` gave is an equal `RunConfig`. The reading itself is in posttrain/reading/config_reading.py.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from pydantic import NonNegativeInt, PositiveInt, model_validator

from posttrain.diagnostics.settings import DiagnosticsSettings
from posttrain.reading.config_reading import merged, validated
from posttrain.reading.config_sections import (
    AlgorithmChoice,
    CheckpointSettings,
    DataSettings,
    EngineChoice,
    EvaluationSettings,
    MetricsSettings,
    ModelSettings,
    PretrainingSettings,
    RewardSettings,
    Section,
    TrainingSettings,
    ValueModelSettings,
)


class RunConfig(Section):
    """A whole run."""

    seed: NonNegativeInt = 0
    """Seed of everything random: weights, data order, dropout, sampling."""
    num_threads: PositiveInt | None = None
    """CPU threads; other counts round differently. By default chosen at the start and recorded."""
    out: str | None = None
    """The run folder; by default runs/NAME for the file NAME.yaml."""
    model: ModelSettings
    """The model to train."""
    algorithm: AlgorithmChoice
    """The method: `name:` and its own settings."""
    data: DataSettings
    """What it is trained and evaluated on."""
    training: TrainingSettings
    """Batches, steps and the optimiser."""
    rollout: EngineChoice | None = None
    """How responses are sampled: `engine:` and its own settings. Online methods need it."""
    rewards: tuple[RewardSettings, ...] = ()
    """What responses are rewarded for. Online methods need at least one."""
    reference: str | None = None
    """The frozen model that KL and preference losses refer to; by default the model's own start."""
    value_model: ValueModelSettings | None = None
    """The value model, for methods that have one."""
    pretraining: PretrainingSettings | None = None
    """Language modelling that is mixed into an online method."""
    evaluation: EvaluationSettings = EvaluationSettings()
    """What is measured while training."""
    checkpoint: CheckpointSettings = CheckpointSettings()
    """How often the run is saved."""
    metrics: MetricsSettings = MetricsSettings()
    """Where metrics go."""
    diagnostics: DiagnosticsSettings = DiagnosticsSettings()
    """What a run is told of when its metrics show it."""

    @model_validator(mode="after")
    def _distinct_rewards(self) -> Self:
        reward_names = [reward.name for reward in self.rewards]
        repeated = sorted({name for name in reward_names if reward_names.count(name) > 1})
        if repeated:
            raise ValueError(f"rewards: two have the name {', '.join(repeated)}; give each its own `name`")
        return self


def load(path: str | Path, overrides: Sequence[str] = (), out: str | None = None) -> RunConfig:
    """Read a run from YAML, with overrides `a.b=value` and its run folder. InputError: every fault, one per line."""
    values, origin = merged(path, overrides)
    config = validated(RunConfig, values, origin)
    return config.model_copy(update={"out": out or config.out or f"runs/{Path(path).stem}"})


def resolved(config: RunConfig) -> dict[str, Any]:
    """The run as plain values with every default written out; what the run folder keeps."""
    return config.model_dump(mode="json")


def parse(values: dict[str, Any], where: str) -> RunConfig:
    """A run from plain values, such as `resolved` gave; `where` names them in faults."""
    return validated(RunConfig, values, lambda location: where)
