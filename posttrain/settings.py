"""The base of every `Config`: a frozen pydantic model that refuses settings it does not know."""

from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict, Field


class Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class OnlineSettings(Settings):
    """What every method that learns from its own samples has."""

    kl_weight: float = Field(0.05, ge=0, description="weight of the per-token KL to the reference in the reward")
    cut_penalty: float = Field(0.0, ge=0, description="taken from the reward of a response that the length limit cut")
    reference_kl_limit: float | None = Field(
        None, gt=0, description="end the run when KL to the reference, per response, exceeds it"
    )

    def stop_reason(self, metrics: Mapping[str, float]) -> str | None:
        """Why a run has to end after a batch with these metrics; None where it goes on."""
        limit = self.reference_kl_limit
        if limit is None or metrics["kl"] <= limit:
            return None
        return f"KL to the reference is {metrics['kl']:.2f} a response, above algorithm.reference_kl_limit={limit}"
