"""A sweep whose models have a few thousand weights and whose runs have a step or two: seconds in all."""

from pathlib import Path

LIMITS = "max_prompt_tokens: 64, max_response_tokens: 128"
SWEEP = f"""\
max_new_tokens: 12
num_threads: 1
gold: {{kind: reviews_sentiment}}
learned: {{kind: sequence_model, model: reward_model/model}}
base:
  model:
    architecture: {{model_type: llama, hidden_size: 16, intermediate_size: 24, num_hidden_layers: 1,
      num_attention_heads: 2, num_key_value_heads: 2, max_position_embeddings: 256}}
    tokenizer: {{vocab_size: 400}}
  algorithm: {{name: sft}}
  data: {{train: {{source: reviews, split: pretraining, num: 64}},
    {LIMITS}}}
  training: {{num_steps: 20, batch_size: 16, learning_rate: 0.02}}
sft:
  model: {{path: base/model}}
  algorithm: {{name: sft}}
  data: {{train: {{source: reviews, split: demonstrations, num: 16}},
    {LIMITS}}}
  training: {{num_steps: 2, batch_size: 8, learning_rate: 0.001}}
labels:
  prompts: {{source: reviews, split: prompts, num: 12}}
  num_held_out: 4
  samples_per_prompt: 3
reward_model:
  model: {{path: sft/model}}
  algorithm: {{name: preference_reward_model}}
  data: {{train: {{source: preference_jsonl, path: preferences/train.jsonl, should_allow_empty: true}},
    evaluation: {{source: preference_jsonl, path: preferences/evaluation.jsonl, should_allow_empty: true}},
    {LIMITS}}}
  training: {{num_steps: 2, batch_size: 4, learning_rate: 0.001}}
methods:
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
    text = SWEEP
    for old, new in replaced:
        assert old in text, old
        text = text.replace(old, new, 1)
    path = folder / "sweep.yaml"
    path.write_text(text, encoding="utf-8")
    return path
