"""GRPO training of one adapter: the task's verifier is the reward, no answer is shown.

Source: Shao et al., DeepSeekMath (arXiv:2402.03300), section 4.1. For each prompt the adapter
itself writes G answers; the advantage of each is its reward less the group's mean, over the group's
standard deviation, and the loss is that of a policy gradient on the answers' tokens, here in the
form of DAPO (arXiv:2503.14476, one mean over all tokens of the update) unless another is chosen. An
update follows each draw, so that the ratio of PPO's objective is 1 and its clipping never acts;
there is no penalty for the distance from the start. A group whose answers all earn the same teaches
nothing: a task at which the adapter never succeeds cannot be learned so.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from routing_gym.adapters.generation import FREE_BUDGET, TOKEN_BUDGETS, generate
from routing_gym.adapters.grpo_trainer import Rollout, cpu_grpo_trainer
from routing_gym.adapters.lora import LoraSettings, check_counts, load_model, trainer_arguments
from routing_gym.adapters.merging import merged
from routing_gym.adapters.prompt import render_prompt
from routing_gym.adapters.training_run import begin_run, finish_run, quiet_bar, training_clock
from routing_gym.queries.dataset import verify
from routing_gym.queries.query import Example, Query

LOSSES = ("grpo", "bnpo", "dr_grpo", "dapo")
Reward = Callable[[Query, str], float]


@dataclass(frozen=True)
class GRPOSettings(LoraSettings):
    """Settings of one adapter's training on its own answers, beside those of every training.

    Parameters
    ----------
    prompts
        Prompts per update.
    generations
        Answers per prompt, G; at least 2.
    max_tokens
        New tokens per answer at most; the form of answer may set a lower bound.
    temperature
        Divides the logits in drawing and in the loss.
    loss
        How tokens are averaged, one of `LOSSES`; see trl's ``loss_type``.
    scale_rewards
        Divide a group's advantages by its standard deviation (Dr. GRPO, arXiv:2503.20783, does
        not).
    form_weight
        Added to the reward of a right answer that is nothing but the asked form, 0 or more.

    Raises
    ------
    ValueError
        If a number is out of its range, the loss is unknown, or the answers of an update cannot be
        cut into `accumulation` equal passes.
    """

    learning_rate: float = 5e-4
    prompts: int = 8
    generations: int = 8
    max_tokens: int = 32
    temperature: float = 1.0
    loss: str = "dapo"
    scale_rewards: bool = True
    form_weight: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_counts(self, "prompts", "max_tokens")
        if self.generations < 2:
            raise ValueError(
                f"generations={self.generations}: give at least 2, the advantage compares them."
            )
        if not 0 < self.temperature < math.inf:
            raise ValueError(f"temperature={self.temperature}: give a positive number.")
        if self.loss not in LOSSES:
            raise ValueError(f"loss={self.loss!r}: use one of {', '.join(LOSSES)}.")
        if not 0 <= self.form_weight < math.inf:
            raise ValueError(f"form_weight={self.form_weight}: give 0 or more.")
        if self.answers % self.accumulation:
            raise ValueError(
                f"accumulation={self.accumulation} does not divide the {self.answers} answers of "
                "an update (prompts x generations): give a divisor."
            )

    @property
    def answers(self) -> int:
        """Answers per update."""
        return self.prompts * self.generations


def train_grpo(
    examples: Sequence[Example],
    held_out: Sequence[Example],
    *,
    config: GRPOSettings,
    output: Path,
    resume: bool = True,
    reward: Reward | None = None,
) -> dict[str, float]:
    """Train one adapter on its own answers in a single pass over the examples' queries.

    Parameters
    ----------
    examples
        Training examples, in order; each query is asked in one update, what is left of the last
        incomplete update is not, and the targets are not read.
    held_out
        Examples for the accuracy at the end; none of them is trained on.
    config
        Settings.
    output, resume
        As in `routing_gym.adapters.training.train_adapter`.
    reward
        ``(query, response) -> float``; by default `verified_reward` with the config's form weight.

    Returns
    -------
    dict
        ``train_reward`` (mean of the run's answers), ``late_train_reward`` (of its last quarter),
        ``informative_share`` (of groups whose answers earn differently), ``held_out_accuracy`` (of
        greedy answers, verified), ``generated_tokens``, ``trained_tokens`` (prompts once for each
        answer), and what `routing_gym.adapters.training_run.finish_run` adds.

    Raises
    ------
    ValueError
        If there are too few examples for one update or none held out, a checkpoint belongs to
        other settings or examples, or a target names no layer of the model.
    """
    if len(examples) < config.prompts or not held_out:
        raise ValueError(
            f"{len(examples)} examples, {len(held_out)} held out: an update takes "
            f"{config.prompts} prompts, and the accuracy at the end some that are held out."
        )
    checkpoint = begin_run(output, method="grpo", config=config, examples=examples, resume=resume)
    trainer = _trainer(
        [example.query for example in examples],
        config=config,
        output=output,
        reward=reward or verified_reward(config.form_weight),
    )
    trainer.train(resume_from_checkpoint=checkpoint)
    log = [row for row in trainer.state.log_history if "reward" in row]  # since the first update
    return finish_run(
        trainer,
        output,
        method="grpo",
        config=config,
        examples=examples,
        measures=_measures(log, config)
        | {
            "trained_tokens": float(trainer.state.num_input_tokens_seen),
            "held_out_accuracy": _accuracy(trainer, held_out),
        },
        history={"reward": [float(row["reward"]) for row in log]},
    )


def verified_reward(form_weight: float = 0.0) -> Reward:
    """Make the reward of a response: 1 if its task's verifier finds it right, else 0.

    Parameters
    ----------
    form_weight
        Added where the right response is, besides, nothing but the asked form.
    """

    def reward(query: Query, response: str) -> float:
        verdict = verify(query, response)
        return verdict.accuracy + form_weight * verdict.strict

    return reward


def _trainer(
    queries: Sequence[Query], *, config: GRPOSettings, output: Path, reward: Reward
) -> Any:
    """Build trl's trainer."""
    from datasets import Dataset
    from transformers.trainer_callback import ProgressCallback
    from trl import GRPOTrainer

    prepared = load_model(config)
    prompts = [render_prompt(prepared.tokenizer, query.text) for query in queries]
    budgets = {
        prompt: min(config.max_tokens, TOKEN_BUDGETS.get(query.form, FREE_BUDGET))
        for prompt, query in zip(prompts, queries, strict=True)
    }

    def earned(completions: list[str], query: list[dict[str, Any]], **_: Any) -> list[float]:
        return [reward(Query(**q), text) for q, text in zip(query, completions, strict=True)]

    rows = [{"prompt": p, "query": asdict(q)} for p, q in zip(prompts, queries, strict=True)]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*rollout_func.*experimental")
        trainer = cpu_grpo_trainer(GRPOTrainer)(
            model=prepared.model,
            reward_funcs=earned,
            args=_arguments(config, output, updates=len(queries) // config.prompts),
            train_dataset=Dataset.from_list(rows),
            processing_class=prepared.tokenizer,
            peft_config=prepared.peft_config,
            callbacks=[training_clock()],
            rollout_func=Rollout(
                budgets,
                generations=config.generations,
                temperature=config.temperature,
                seed=config.seed,
            ),
        )
    trainer.remove_callback(ProgressCallback)
    trainer.add_callback(quiet_bar())
    prepared.sharpen(trainer.model)
    return trainer


def _arguments(config: GRPOSettings, output: Path, *, updates: int) -> Any:
    """Translate the settings into trl's."""
    from trl import GRPOConfig

    return GRPOConfig(
        **trainer_arguments(config, output, updates=updates),
        per_device_train_batch_size=config.answers // config.accumulation,
        num_generations=config.generations,
        max_completion_length=config.max_tokens,
        temperature=config.temperature,
        loss_type=config.loss,
        scale_rewards="group" if config.scale_rewards else "none",
        shuffle_dataset=False,
        beta=0.0,
        num_iterations=1,
        use_vllm=False,
        logging_steps=1,
    )


def _measures(log: Sequence[dict[str, Any]], config: GRPOSettings) -> dict[str, float]:
    """Sum up the log of the updates."""
    rewards = [float(row["reward"]) for row in log]
    late = rewards[-max(1, len(rewards) // 4) :]
    lengths = sum(float(row["completions/mean_length"]) for row in log)
    even = sum(float(row["frac_reward_zero_std"]) for row in log)
    return {
        "train_reward": sum(rewards) / len(rewards),
        "late_train_reward": sum(late) / len(late),
        "informative_share": 1 - even / len(log),
        "generated_tokens": float(round(lengths * config.answers)),
    }


def _accuracy(trainer: Any, held_out: Sequence[Example]) -> float:
    """Let the trained model answer greedily; return the verified share."""
    model = trainer.accelerator.unwrap_model(trainer.model).eval()
    tokenizer = trainer.processing_class
    queries = [example.query for example in held_out]
    with merged(model):
        answers = generate(
            model,
            tokenizer,
            [render_prompt(tokenizer, query.text) for query in queries],
            max_new_tokens=[TOKEN_BUDGETS.get(query.form, FREE_BUDGET) for query in queries],
        )
    right = [verify(q, a.text).accuracy for q, a in zip(queries, answers, strict=True)]
    return sum(right) / len(right)
