"""Settings that methods share."""

from typing import Literal, Self

from pydantic import Field, model_validator

from posttrain.settings import Settings


class OnlineSettings(Settings):
    """What every method that learns from its own samples has."""

    kl_weight: float = Field(0.05, ge=0, description="weight of the per-token KL to the reference in the reward")
    kl_target: float | None = Field(
        None, gt=0, description="KL to the reference, per response, that the weight is led to; kl_weight is its start"
    )
    kl_horizon: int = Field(10_000, gt=0, description="responses over which the weight may change by a fifth")
    cut_penalty: float = Field(0.0, ge=0, description="taken from the reward of a response that the length limit cut")
    reference_kl_limit: float | None = Field(
        None, gt=0, description="end the run when KL to the reference, per response, exceeds it"
    )

    @model_validator(mode="after")
    def _can_follow(self) -> Self:
        if self.kl_target is not None and self.kl_weight == 0:
            raise ValueError("kl_target changes kl_weight by factors, and from 0 it would stay there; give a kl_weight")
        return self

    @property
    def compares(self) -> str | None:
        """The setting by which responses to one prompt are compared, so that there have to be several."""
        return None

    @property
    def is_on_policy(self) -> bool:
        """Whether the loss holds for responses of the very policy that learns, so that a batch is good for one step."""
        return False


class ActorCriticSettings(OnlineSettings):
    """What methods with a value model have."""

    view: Literal["token", "sequence"] = Field(
        "token", description="what one action is: a token, or the whole response, whose value is that of the prompt"
    )
    discount: float = Field(1.0, gt=0, le=1)
    trace_decay: float = Field(0.95, ge=0, le=1, description="lambda of generalised advantage estimation")
    value_weight: float = Field(0.5, ge=0)
    entropy_weight: float = Field(0.0, ge=0, description="weight of each token's entropy, which is then exact")
    should_whiten_rewards: bool = Field(False, description="divide rewards by their standard deviation")
    should_whiten_advantages: bool = Field(True, description="bring advantages to mean 0 and standard deviation 1")
