"""What is watched while training: which metric, which statistic of it, what it means and what to try.

They diagnose and do not prophesy: each speaks of the batches that it has seen, and none of those to come.
"""

from dataclasses import dataclass
from typing import Any

from posttrain.diagnostics.settings import DiagnosticsSettings
from posttrain.diagnostics.statistics import (
    Statistic,
    distance_from_one,
    factor_of_first,
    latest,
    mean_size,
    patient_mean,
    recent_mean,
    rise,
    share_of_first,
)

JUDGE = "judge"
"""In place of a metric's name: the one that the setting `judge` names."""
INTRODUCTION = (
    "Diagnostics describe what a run has shown; they diagnose and do not prophesy. A run that trips one may end well, "
    "and a run that trips none may not."
)


@dataclass(frozen=True)
class Diagnostic:
    """One row of the table: trips when `statistic` of `metric` is beyond the threshold."""

    name: str  # also that of its threshold in the settings
    metric: str
    statistic: Statistic
    seen: str  # what the statistic is
    meaning: str
    remedy: str
    is_below: bool = False  # trips below its threshold, not above it

    @property
    def default(self) -> Any:
        """The threshold in a run that says nothing of it."""
        return DiagnosticsSettings.model_fields[self.name].default

    def is_beyond(self, value: float, threshold: float) -> bool:
        return value < threshold if self.is_below else value > threshold


DIAGNOSTICS = (
    Diagnostic(
        "chosen_below_reference",
        "train/chosen_below_reference",
        recent_mean,
        "share of pairs whose chosen response is less likely than under the reference, mean of the last 5 batches",
        "Chosen responses have lost probability too: the margin grows only because rejected ones lose more, and what "
        "both lose goes to responses that are in no pair.",
        "Give algorithm.displacement_weight or algorithm.sft_weight, or lower training.learning_rate.",
    ),
    Diagnostic(
        "displacement",
        "train/displacement",
        recent_mean,
        "nats by which the chosen responses of pairs fell below the reference, mean of the last 5 batches",
        "Responses that people preferred have become much less likely than they were before training.",
        "Give algorithm.displacement_weight or algorithm.sft_weight, lower training.learning_rate, or train for fewer "
        "steps.",
    ),
    Diagnostic(
        "saturated",
        "train/saturated",
        recent_mean,
        "share of pairs whose sigmoid is above 0.99, mean of the last 5 batches",
        "These pairs are as good as decided and give next to no gradient; the few others, which may be the ones with "
        "wrong labels, steer the training, and the reference no longer restrains it.",
        "Stop earlier, or give algorithm.label_smoothing or algorithm.objective=ipo.",
    ),
    Diagnostic(
        "kl_per_token",
        "rollout/kl_per_token",
        recent_mean,
        "KL to the reference in nats a token, mean of the last 5 batches",
        "The policy writes tokens that the reference finds unlikely, and its rewards were learnt on other texts than "
        "these.",
        "Read the responses; raise algorithm.kl_weight, give algorithm.kl_target, or lower training.learning_rate.",
    ),
    Diagnostic(
        "kl_growth",
        "rollout/kl_per_token",
        rise,
        "rise of the KL to the reference in nats a token, the mean of the last 5 batches less that of the 5 before",
        "The policy leaves the reference fast.",
        "Lower training.learning_rate or training.passes, or raise algorithm.kl_weight.",
    ),
    Diagnostic(
        "entropy_left",
        "rollout/negative_logprob",
        share_of_first,
        "entropy of a token, as sampled, the mean of the last 5 batches as a share of that of the first 5",
        "The policy has grown sure of its tokens: samples of a prompt are much alike, and there is little left to "
        "compare.",
        "Raise algorithm.kl_weight or algorithm.entropy_weight, or lower training.learning_rate.",
        is_below=True,
    ),
    Diagnostic(
        "ratio_drift",
        "train/ratio",
        distance_from_one,
        "distance from 1 of the mean ratio of new to old probabilities, over the last 5 batches",
        "Updates go far from the policy that sampled, so that its responses say little about the one that learns.",
        "Lower training.learning_rate or training.passes, or take larger minibatches.",
    ),
    Diagnostic(
        "clip_fraction",
        "train/clip_fraction",
        recent_mean,
        "share of actions beyond the clip, mean of the last 5 batches",
        "A large part of each batch gives no gradient, because earlier steps on the same batch went too far.",
        "Lower training.learning_rate or training.passes, or give algorithm.update_kl_limit.",
    ),
    Diagnostic(
        "explained_variance",
        "rollout/explained_variance",
        patient_mean,
        "share of the returns' variance that the value model predicts, mean of the last 5 batches, from batch 20 on",
        "The value model predicts returns no better than their mean would, so that advantages are mostly noise.",
        "Raise training.value_learning_rate, start value_model.path from the reward model, or sample more responses.",
        is_below=True,
    ),
    Diagnostic(
        "length_drift",
        "rollout/length",
        factor_of_first,
        "factor by which the responses of the last 5 batches are longer, or shorter, than those of the first 5",
        "Length has changed a lot, which rewards often pay for without being meant to.",
        "Read the responses and look at rollout/cut_share; balance lengths in the reward model's pairs, or add a "
        "reward of kind length.",
    ),
    Diagnostic(
        "reward_with_length",
        "rollout/reward_length_correlation",
        mean_size,
        "correlation of reward and length over the responses of a batch, mean of the last 5 batches",
        "The reward can largely be told from the number of tokens alone.",
        "Compare the lengths of preferred and rejected responses in the reward model's pairs, or add a reward of kind "
        "length against it; where length is what is wanted, set this diagnostic to null.",
    ),
    Diagnostic(
        "repetition",
        "rollout/repetition",
        recent_mean,
        "share of a response's three-token pieces that it had used before, mean of the last 5 batches",
        "Responses repeat themselves, which reward models often fail to punish.",
        "Read the responses; raise algorithm.kl_weight, give algorithm.cut_penalty, or train the reward model on pairs "
        "that show repetition.",
    ),
    Diagnostic(
        "judge_falls",
        JUDGE,
        latest,
        "evaluations in a row at which the judge fell, while the learned reward ended higher than before them",
        "The learned reward goes on rising where what it stands for falls: it is over-optimised.",
        "Take an earlier checkpoint, raise algorithm.kl_weight, or label samples of this policy and train the reward "
        "model on them.",
    ),
)
BY_NAME = {diagnostic.name: diagnostic for diagnostic in DIAGNOSTICS}
