"""Rounds whose models have a few thousand weights and whose runs have a step or two: seconds in all."""

from pathlib import Path

from tests.tiny_studies import FIRST, LIMITS, REWARD_MODEL, write

ROUNDS = f"""\
max_new_tokens: 12
num_threads: 1
gold: {{kind: reviews_sentiment}}
judge: {{kind: sequence_model, model: judge_model/model}}
judge_model:
  prompts: {{source: reviews, split: prompts, num: 10, seed: 5}}
  num_held_out: 4
  samples_per_prompt: 2
  temperature: 1.5
  simulated: {{scale: 100.0, seed: 3}}
  run:
    model: {{path: base/model}}
    algorithm: {{name: preference_reward_model}}
    data: {{train: {{source: preference_jsonl, path: judge_labels/train.jsonl, should_allow_empty: true}},
      evaluation: {{source: preference_jsonl, path: judge_labels/evaluation.jsonl, should_allow_empty: true}},
      {LIMITS}}}
    training: {{num_steps: 2, batch_size: 4, learning_rate: 0.001}}
{FIRST}labels:
  prompts: {{source: reviews, split: prompts, num: 32}}
  prompts_per_round: 12
  num_held_out: 4
  num_after_last: 5
  samples_per_prompt: 3
  simulated: {{scale: 100.0}}
{REWARD_MODEL}methods:
  ppo:
    model: {{path: policy/model}}
    algorithm: {{name: ppo}}
    reference: sft/model
    rollout: {{engine: in_process, max_new_tokens: 12, samples_per_prompt: 2}}
    rewards: [{{kind: sequence_model, model: reward_model/model}}]
    data: {{train: {{source: prompt_jsonl, path: answers/prompts.jsonl}}, {LIMITS}}}
    training: {{num_steps: 2, batch_size: 4, learning_rate: 0.01}}
    checkpoint: {{every: 1}}
  imitate_best:
    model: {{path: policy/model}}
    algorithm: {{name: sft}}
    data: {{train: {{source: demonstration_jsonl, path: best/train.jsonl}}, {LIMITS}}}
    training: {{num_steps: 1, batch_size: 4, learning_rate: 0.01}}
  dpo:
    model: {{path: policy/model}}
    algorithm: {{name: dpo}}
    data: {{train: {{source: preference_jsonl, path: preferences/newest.jsonl, should_allow_empty: true}}, {LIMITS}}}
    training: {{num_steps: 1, batch_size: 4, learning_rate: 0.01}}
rounds: [[imitate_best, ppo], [dpo]]
measuring:
  prompts: {{source: reviews, split: evaluation, num: 6}}
"""


def write_rounds(folder: Path, *replaced: tuple[str, str]) -> Path:
    """The file, with some of its text in place of other."""
    return write(folder / "rounds.yaml", ROUNDS, *replaced)
