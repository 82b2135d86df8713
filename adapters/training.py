"""QLoRA training of one adapter on the tasks of its domain.

Source: Dettmers et al., QLoRA (arXiv:2305.14314): the base in NF4 with double quantisation, LoRA
(arXiv:2106.09685) on chosen linear layers, here in float32 on a CPU and bfloat16 on a GPU. The
trainer is trl's `SFTTrainer` with the loss on the response only; logits are taken only there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from routing_gym.adapters.lora import (
    LoraSettings,
    check_counts,
    load_model,
    trainer_arguments,
)
from routing_gym.adapters.prompt import render_prompt
from routing_gym.adapters.training_run import begin_run, finish_run, training_clock
from routing_gym.queries.query import Example


@dataclass(frozen=True)
class AdapterTrainingConfig(LoraSettings):
    """Settings of one adapter's supervised training, beside those of every training.

    Parameters
    ----------
    batch_size
        Examples per pass.
    """

    batch_size: int = 16

    def __post_init__(self) -> None:
        super().__post_init__()
        check_counts(self, "batch_size")


def train_adapter(
    examples: Sequence[Example],
    held_out: Sequence[Example],
    *,
    config: AdapterTrainingConfig,
    output: Path,
    resume: bool = True,
) -> dict[str, float]:
    """Train one adapter in a single pass over its examples and save it in half precision.

    Parameters
    ----------
    examples
        Training examples, in order; each is seen once.
    held_out
        Examples for the loss at the end; none of them is trained on.
    config
        Settings.
    output
        Run folder: checkpoints and TensorBoard files, and the adapter in ``adapter/``.
    resume
        Go on from the last checkpoint of the run folder, if there is one.

    Returns
    -------
    dict
        ``train_loss`` (nats per response token, mean of the run), ``held_out_loss``,
        ``trained_tokens`` (read in training, prompts included), and what
        `routing_gym.adapters.training_run.finish_run` adds.

    Raises
    ------
    ValueError
        If there are no examples, a checkpoint belongs to other settings or examples, or a target
        names no layer of the model.
    """
    if not examples or not held_out:
        raise ValueError(f"{len(examples)} examples, {len(held_out)} held out: both need some.")
    checkpoint = begin_run(output, method="sft", config=config, examples=examples, resume=resume)
    trainer = _trainer(examples, held_out, config=config, output=output)
    result = trainer.train(resume_from_checkpoint=checkpoint)
    measures = {
        "train_loss": float(result.training_loss),
        "held_out_loss": float(trainer.evaluate()["eval_loss"]),
        "trained_tokens": float(sum(len(row) for row in trainer.train_dataset["input_ids"])),
    }
    return finish_run(
        trainer, output, method="sft", config=config, examples=examples, measures=measures
    )


def _trainer(
    examples: Sequence[Example],
    held_out: Sequence[Example],
    *,
    config: AdapterTrainingConfig,
    output: Path,
) -> Any:
    """Build trl's trainer."""
    from trl import SFTTrainer

    prepared = load_model(config)
    trainer = _response_trainer(SFTTrainer)(
        model=prepared.model,
        args=_arguments(config, output, examples=len(examples)),
        train_dataset=_dataset(examples, prepared.tokenizer),
        eval_dataset=_dataset(held_out, prepared.tokenizer),
        processing_class=prepared.tokenizer,
        peft_config=prepared.peft_config,
        callbacks=[training_clock()],
    )
    prepared.sharpen(trainer.model)
    return trainer


def _arguments(config: AdapterTrainingConfig, output: Path, *, examples: int) -> Any:
    """Translate the settings into trl's."""
    from trl import SFTConfig

    updates = -(-examples // (config.batch_size * config.accumulation))
    return SFTConfig(
        **trainer_arguments(config, output, updates=updates),
        per_device_train_batch_size=config.batch_size,
        per_device_eval_batch_size=config.batch_size,
        train_sampling_strategy="group_by_length",
        completion_only_loss=True,
        max_length=512,
        logging_steps=5,
    )


def _dataset(examples: Sequence[Example], tokenizer: Any) -> Any:
    """Render examples as prompts and completions that end."""
    from datasets import Dataset

    return Dataset.from_list(
        [
            {
                "prompt": render_prompt(tokenizer, example.query.text),
                "completion": example.target + tokenizer.eos_token,
            }
            for example in examples
        ]
    )


def _response_trainer(trainer: Any) -> Any:
    """Make trl's trainer take logits only at the response (its fused kernel is slow on a CPU)."""

    class ResponseTrainer(trainer):  # type: ignore[misc]
        """Cross-entropy of the response tokens, from logits of those positions alone."""

        def compute_loss(
            self,
            model: Any,
            inputs: dict[str, Any],
            return_outputs: bool = False,
            num_items_in_batch: Any = None,
        ) -> Any:
            """Return the mean nats per response token, of the update where accumulated."""
            loss, count = response_loss(model, inputs)
            loss = loss / (count if num_items_in_batch is None else num_items_in_batch)
            return (loss, {"loss": loss}) if return_outputs else loss

    return ResponseTrainer


def response_loss(model: Any, inputs: dict[str, Any]) -> tuple[Any, int]:
    """Sum the cross-entropy of the labelled tokens.

    Parameters
    ----------
    model
        A PEFT causal language model.
    inputs
        ``input_ids``, ``attention_mask`` and ``labels`` (-100 where nothing is predicted), int64
        (N, T) tensors.

    Returns
    -------
    tuple
        The sum in nats (a scalar tensor) and the number of labelled tokens.
    """
    import torch

    causal = model.get_base_model()
    hidden = causal.base_model(
        input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], use_cache=False
    ).last_hidden_state  # (N, T, D)
    labels = inputs["labels"][:, 1:]  # (N, T - 1)
    chosen = labels != -100
    logits = causal.get_output_embeddings()(hidden[:, :-1][chosen]).float()  # (labelled, V)
    loss = torch.nn.functional.cross_entropy(logits, labels[chosen], reduction="sum")
    return loss, int(chosen.sum())
