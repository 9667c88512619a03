"""What an online method does beside `experience` and `loss` where it has nothing of its own to say."""

from collections.abc import Mapping
from typing import Any

from posttrain.online.kl_penalty import KLPenalty


class OnlineMethod:
    """The other verbs of `interfaces.OnlineAlgorithm`; a method with a memory of its own adds it to the state."""

    penalty: KLPenalty

    def should_leave_batch(self, metrics: Mapping[str, float]) -> bool:
        return False

    def after_batch(self, metrics: Mapping[str, float]) -> None:
        pass

    def should_stop(self, metrics: Mapping[str, float]) -> str | None:
        return self.penalty.stop_reason(metrics)

    def state_dict(self) -> dict[str, Any]:
        return {"penalty": self.penalty.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.penalty.load_state_dict(state["penalty"])
