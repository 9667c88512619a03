"""Weights of a KL penalty that follow a target."""


def toward_reference_target(weight: float, kl: float, target: float, num_responses: int, horizon: int) -> float:
    """β (1 + K e), e = clip(KL / target − 1, ±0.2), K = n / horizon of n responses that were sampled since.

    Source: Ziegler et al. 2019, arXiv:1909.08593, section 2.2. The paper has K = 0.1; its code has n / horizon.
    Differs from both: K is at most 1, since from 5 on a KL below the target would turn the weight's sign.
    """
    error = min(max(kl / target - 1, -0.2), 0.2)
    return weight * (1 + error * min(num_responses / horizon, 1.0))


def toward_update_target(weight: float, kl: float, target: float) -> float:
    """2β above 1.5 times the target, β/2 below target / 1.5. Source: Schulman et al. 2017, arXiv:1707.06347, section 4.

    `kl` is KL(old ‖ new) after the update, the mean over its states.
    """
    if kl > 1.5 * target:
        return 2 * weight
    return weight / 2 if kl < target / 1.5 else weight
