"""A sweep whose models have a few thousand weights and whose runs have a step or two: seconds in all."""

from pathlib import Path

from tests.tiny_studies import FIRST, LIMITS, REWARD_MODEL, write

SWEEP = f"""\
max_new_tokens: 12
num_threads: 1
gold: {{kind: reviews_sentiment}}
learned: {{kind: sequence_model, model: reward_model/model}}
{FIRST}labels:
  prompts: {{source: reviews, split: prompts, num: 12}}
  num_held_out: 4
  samples_per_prompt: 3
{REWARD_MODEL}methods:
- name: ppo
  label: PPO
  varies: algorithm.kl_weight
  values: [0.5, 0.1]
  is_watched: true
  run:
    model: {{path: sft/model}}
    algorithm: {{name: ppo}}
    reference: sft/model
    rollout: {{engine: in_process, max_new_tokens: 12, samples_per_prompt: 2}}
    rewards: [{{kind: sequence_model, model: reward_model/model}}]
    data: {{train: {{source: reviews, split: prompts, num: 8, seed: 1}},
      evaluation: {{source: reviews, split: evaluation, num: 4, seed: 1}},
      {LIMITS}}}
    training: {{num_steps: 2, batch_size: 4, learning_rate: 0.01}}
    evaluation: {{every: 1, generate: true, decoding: sampling}}
    checkpoint: {{every: 1}}
- name: dpo
  label: DPO
  varies: algorithm.beta
  values: [0.1]
  run:
    model: {{path: sft/model}}
    algorithm: {{name: dpo}}
    data: {{train: {{source: preference_jsonl, path: preferences/train.jsonl, should_allow_empty: true}},
      {LIMITS}}}
    training: {{num_steps: 2, batch_size: 4, learning_rate: 0.01}}
- name: best_of_n
  label: best-of-n
  best_of: [2, 4]
- name: preferred_sft
  label: SFT on the preferred
  run:
    model: {{path: sft/model}}
    algorithm: {{name: sft}}
    data: {{train: {{source: demonstration_jsonl, path: preferences/preferred.jsonl}},
      {LIMITS}}}
    training: {{num_steps: 1, batch_size: 4, learning_rate: 0.01}}
measuring:
  prompts: {{source: reviews, split: evaluation, num: 6}}
  num_samples: 4
quick:
- methods.ppo.values=[0.5]
- seeds=[3]
"""


def write_sweep(folder: Path, *replaced: tuple[str, str]) -> Path:
    """The file, with some of its text in place of other."""
    return write(folder / "sweep.yaml", SWEEP, *replaced)
