"""When a run is told of what it shows: one threshold for each diagnostic of table.py."""

from typing import Annotated

from pydantic import ConfigDict, Field, NonNegativeInt

from posttrain.settings import Settings

Share = Annotated[float, Field(ge=0, le=1)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Factor = Annotated[float, Field(ge=1, allow_inf_nan=False)]


class DiagnosticsSettings(Settings):
    """What is said once when it is seen. `null` turns a diagnostic off; docs/diagnostics.md tells what each means."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    chosen_below_reference: Share | None = 0.9
    """Share of pairs whose chosen response is less likely than under the reference."""
    displacement: NonNegative | None = 10.0
    """Nats by which chosen responses fell below the reference; one above it counts as 0."""
    saturated: Share | None = 0.5
    """Share of pairs so far apart that they give next to no gradient."""
    kl_per_token: NonNegative | None = 0.5
    """KL to the reference, in nats a token."""
    kl_growth: NonNegative | None = 0.15
    """Rise of the KL, in nats a token, from five batches to the next five."""
    entropy_left: Share | None = 0.1
    """Entropy of a token, as a share of what it was in the first batches; less than this is told of."""
    ratio_drift: NonNegative | None = 0.1
    """Distance from 1 of the mean ratio of the policy's probabilities to those of the policy that sampled."""
    clip_fraction: Share | None = 0.3
    """Share of actions whose gradient the clip takes away."""
    explained_variance: Annotated[float, Field(le=1, allow_inf_nan=False)] | None = 0.0
    """Share of the returns' variance that the value model predicts; less than this is told of."""
    length_drift: Factor | None = 1.5
    """Factor by which responses are longer, or shorter, than in the first batches."""
    reward_with_length: Share | None = 0.8
    """Correlation of reward and length over the responses of a batch, of either sign."""
    repetition: Share | None = 0.4
    """Share of a response's three-token pieces that it has used before."""
    judge_falls: NonNegativeInt | None = 2
    """Evaluations in a row that the judge falls, while the learned reward ends higher than before them."""
    judge: str | None = None
    """The metric of evaluations that stands for what is truly wanted, such as rougeL or reward/NAME; more is better."""
