"""Which sections a run has to have, and which it may not have, for the records that its algorithm consumes."""

from posttrain import plugins
from posttrain.config import RunConfig
from posttrain.errors import InputError
from posttrain.online.settings import OnlineSettings

REWARD_MODEL_RECORDS = ("preferences", "judgements", "span_judgements")


def check_sections(config: RunConfig, consumes: str) -> None:
    """InputError that names what is missing, or too much."""
    name = config.algorithm.name
    if consumes == "rollouts":
        needed = {"rollout": config.rollout, "rewards": config.rewards, "model.path": config.model.path}
        for section, value in needed.items():
            if not value:
                raise InputError(f"{section}: missing; algorithm {name} samples responses and is rewarded for them")
        _check_samples(config)
        _check_steps(config)
    elif config.rollout is not None or config.rewards or config.pretraining is not None:
        raise InputError(
            f"rollout, rewards, pretraining: algorithm {name} learns from records; leave these sections out"
        )
    _check_judge(config, consumes)
    if config.checkpoint.best_metric is not None and (config.data.evaluation is None or not config.evaluation.every):
        raise InputError(
            "checkpoint.best_metric: is read at evaluations, of which there must be several; give data.evaluation and "
            "evaluation.every"
        )
    if consumes in REWARD_MODEL_RECORDS and config.data.evaluation is None:
        raise InputError("data.evaluation: missing; the mean and std of a reward model's scores need held-out records")
    if consumes in REWARD_MODEL_RECORDS and config.model.path is None:
        raise InputError("model.path: missing; a reward model starts from a language model's folder")


def _check_samples(config: RunConfig) -> None:
    assert config.rollout is not None
    settings, rollout = config.algorithm.settings, config.rollout.settings.model_dump()
    if rollout.get("is_greedy"):
        raise InputError(
            f"rollout.is_greedy: algorithm {config.algorithm.name} learns from samples of the policy, and its "
            "likeliest response is none; leave it out"
        )
    samples = rollout.get("samples_per_prompt")
    if isinstance(settings, OnlineSettings) and settings.compares is not None and samples == 1:
        raise InputError(
            f"rollout.samples_per_prompt: {settings.compares} compares responses to one prompt; give 2 or more"
        )


def _check_steps(config: RunConfig) -> None:
    """A gradient without a ratio is that of the policy that sampled: one step later it is another's."""
    assert config.rollout is not None
    settings, training, name = config.algorithm.settings, config.training, config.algorithm.name
    if not (isinstance(settings, OnlineSettings) and settings.is_on_policy):
        return
    remedy = f"algorithm {name} has no ratio to correct for it; ppo and grpo have"
    if training.passes > 1:
        raise InputError(
            f"training.passes: is {training.passes}, but the policy that a second pass would change is no longer the "
            f"one that sampled, and {remedy}. Leave passes at 1"
        )
    rows = training.batch_size * config.rollout.settings.model_dump().get("samples_per_prompt", 1)
    if training.minibatch_size is not None and training.minibatch_size < rows:
        raise InputError(
            f"training.minibatch_size: {training.minibatch_size} of the {rows} responses of a batch are a step, after "
            f"which the policy is no longer the one that sampled the others, and {remedy}. Leave it out: "
            "training.microbatch_size saves memory, a smaller training.batch_size makes more steps"
        )


def _check_judge(config: RunConfig, consumes: str) -> None:
    """The judge is a metric of evaluations, of which there are several, beside a reward that is learnt from."""
    judge = config.diagnostics.judge
    if judge is None:
        return
    if not config.rewards and consumes != "referenced_preferences":
        raise InputError(f"diagnostics.judge: algorithm {config.algorithm.name} follows no reward; leave it out")
    if config.data.evaluation is None or not config.evaluation.generate or config.evaluation.every is None:
        raise InputError(
            "diagnostics.judge: is read at evaluations; give data.evaluation, evaluation.generate=true and "
            "evaluation.every"
        )
    known = [plugins.find("evaluation.measures", name).NAME for name in config.evaluation.measures]
    known += [f"reward/{reward.name}" for reward in config.rewards]
    if judge not in known:
        raise InputError(
            f"diagnostics.judge: {judge!r} is no metric of this run's evaluations{plugins.did_you_mean(judge, known)} "
            f"(there: {', '.join(known) or 'none, so list one in evaluation.measures'})"
        )
