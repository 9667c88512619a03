"""Which pictures each stage of the quickstart gets, and which metrics they show."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Chart:
    """One picture: curves of one unit over steps. `metrics` pairs a metric's name with its label in the legend."""

    title: str
    unit: str
    metrics: tuple[tuple[str, str], ...]
    reading: str
    level: tuple[str, str] | None = None  # a key of the reward model's facts to compare with, and its label
    is_from_zero: bool = False  # for amounts that a small change should not look large in
    is_optional: bool = False  # missing metrics are then not worth a remark


@dataclass(frozen=True)
class Stage:
    """A run folder below the quickstart's, and its pictures."""

    folder: str
    title: str
    lead: str
    charts: tuple[Chart, ...]


STAGES = (
    Stage(
        "sft",
        "Supervised fine-tuning",
        "The base model learns to imitate the demonstrations.",
        (
            Chart(
                "Evaluation ROUGE-L",
                "F1",
                (("eval/rougeL", "evaluation"),),
                "Overlap of generated answers with the references; higher is better.",
            ),
            Chart(
                "Loss",
                "nats per token",
                (("eval/loss", "evaluation"), ("train/loss", "training")),
                "A rising evaluation loss beside a falling training loss means overfitting.",
            ),
        ),
    ),
    Stage(
        "reward_model",
        "Reward model",
        "A Bradley-Terry model of which of two answers the annotators prefer.",
        (
            Chart(
                "Loss",
                "nats per pair",
                (("eval/loss", "held out"), ("train/loss", "training")),
                "Knowing nothing costs log 2 = 0.693.",
            ),
            Chart(
                "Accuracy on held-out pairs",
                "share of pairs",
                (("eval/accuracy", "held out"),),
                "Chance is 0.5; annotators are noisy, so even the true reward reaches only the ceiling.",
                level=("ceiling", "ceiling: the true reward"),
            ),
        ),
    ),
    Stage(
        "ppo",
        "PPO",
        "The policy is trained on the learned reward, held near the SFT model by the KL term.",
        (
            Chart(
                "Reward", "reward model's score", (("rollout/reward", "reward"),), "Mean over the sampled responses."
            ),
            Chart(
                "KL to SFT",
                "nats per response",
                (("rollout/kl", "KL"),),
                "How far the policy has moved; a steep rise is the usual sign of reward hacking.",
                is_from_zero=True,
            ),
            Chart(
                "KL per token",
                "nats per token",
                (("rollout/kl_per_token", "KL"),),
                "The same over the mean length, so that longer responses do not look like more.",
                is_optional=True,
                is_from_zero=True,
            ),
            Chart(
                "Entropy",
                "nats per token",
                (("rollout/negative_logprob", "entropy"),),
                "How undecided the policy is about its next token, estimated from its samples.",
                is_optional=True,
                is_from_zero=True,
            ),
            Chart(
                "Value loss",
                "squared error",
                (("train/value_loss", "value loss"),),
                "How badly the value model predicts returns; a falling curve is healthy.",
                is_from_zero=True,
            ),
            Chart(
                "Clip fraction",
                "share of tokens",
                (("train/clip_fraction", "clip fraction"),),
                "Tokens whose ratio left the clipping range; far above 0.2 the steps are too large.",
                is_from_zero=True,
            ),
            Chart(
                "Ratio",
                "new over old probability",
                (("train/ratio", "ratio"),),
                "Mean over the tokens of all steps on a batch; the policy that sampled has 1.",
                is_optional=True,
            ),
            Chart(
                "Explained variance",
                "1 is perfect",
                (("rollout/explained_variance", "explained variance"),),
                "Share of the returns' variance that the value model predicts.",
                is_optional=True,
            ),
            Chart(
                "Response length",
                "tokens",
                (("rollout/length", "length"),),
                "A reward that grows only with length is a warning.",
                is_optional=True,
                is_from_zero=True,
            ),
            Chart(
                "Reward against length",
                "correlation",
                (("rollout/reward_length_correlation", "correlation"),),
                "Over the responses of a batch; near 1 or -1, length alone tells the reward.",
                is_optional=True,
            ),
            Chart(
                "Repetition",
                "share of three-token pieces",
                (("rollout/repetition", "repetition"),),
                "Pieces of a response that it had used before.",
                is_optional=True,
                is_from_zero=True,
            ),
            Chart(
                "Responses cut by the length limit",
                "share of responses",
                (("rollout/cut_share", "cut"),),
                "A cut response was judged unfinished.",
                is_optional=True,
                is_from_zero=True,
            ),
        ),
    ),
    Stage(
        "dpo",
        "DPO",
        "The policy is trained directly on the preference pairs, without a reward model.",
        (
            Chart(
                "Loss",
                "nats per pair",
                (("eval/loss", "held out"), ("train/loss", "training")),
                "Starts at log 2 = 0.693.",
            ),
            Chart(
                "Implicit accuracy",
                "share of pairs",
                (("eval/accuracy", "held out"), ("train/accuracy", "training")),
                "Pairs in which the chosen answer gained more probability than the rejected one.",
            ),
            Chart("Margin", "reward units", (("train/margin", "training"),), "Implicit reward, chosen minus rejected."),
            Chart(
                "Log-ratio to the reference",
                "nats per response",
                (("train/chosen_log_ratio", "chosen"), ("train/rejected_log_ratio", "rejected")),
                "Both falling means that probability leaves the data; only their gap enters the loss.",
            ),
            Chart(
                "Pairs to watch",
                "share of pairs",
                (("train/chosen_below_reference", "chosen below reference"), ("train/saturated", "saturated")),
                "Chosen responses that lost probability, and pairs that are as good as decided.",
                is_optional=True,
                is_from_zero=True,
            ),
            Chart(
                "Displacement",
                "nats per response",
                (("train/displacement", "displacement"),),
                "How far chosen responses fell below the reference; one above it counts as 0.",
                is_optional=True,
                is_from_zero=True,
            ),
        ),
    ),
)
