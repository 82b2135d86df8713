"""QLoRA training of one adapter on the tasks of its domain.

Source: Dettmers et al., QLoRA (arXiv:2305.14314): the base in NF4 with double quantisation, LoRA
(arXiv:2106.09685) on chosen linear layers, here in float32 on a CPU and bfloat16 on a GPU. The
trainer is trl's `SFTTrainer` with the loss on the response only; logits are taken only there.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from routing_gym.adapters.base_model import EMBEDDED, load_base_model, load_tokenizer
from routing_gym.adapters.prompt import render_prompt
from routing_gym.adapters.spec import WEIGHTS_FILE
from routing_gym.queries.query import Example

ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
ALL_LINEAR = (*ATTENTION, "gate_proj", "up_proj", "down_proj")


@dataclass(frozen=True)
class AdapterTrainingConfig:
    """Settings of one adapter's training.

    Parameters
    ----------
    base_model
        See `routing_gym.adapters.base_model.resolve_base_model`.
    nf4
        Train on the base in NF4 (QLoRA); False trains on full-precision weights (LoRA).
    rank, alpha, dropout
        LoRA's r, alpha (the update is scaled by alpha / r) and dropout in [0, 1).
    targets
        Names of the linear layers that get an adapter.
    learning_rate
        Peak of the schedule: linear warm-up, then cosine to zero.
    warmup_share
        Share of the updates that warm up, in [0, 1].
    batch_size, accumulation
        Examples per pass, and passes per update.
    weight_decay
        AdamW's.
    checkpoint_steps
        Updates between checkpoints; a killed run loses no more.
    seed
        Determines initialisation, order and dropout.
    """

    base_model: str = EMBEDDED
    nf4: bool = True
    rank: int = 8
    alpha: int = 16
    dropout: float = 0.0
    targets: tuple[str, ...] = ALL_LINEAR
    learning_rate: float = 1.5e-3
    warmup_share: float = 0.05
    batch_size: int = 16
    accumulation: int = 1
    weight_decay: float = 0.0
    checkpoint_steps: int = 10
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("rank", "alpha", "batch_size", "accumulation", "checkpoint_steps"):
            if getattr(self, name) < 1:
                raise ValueError(
                    f"{name}={getattr(self, name)}: give a whole number of at least 1."
                )
        for name in ("dropout", "warmup_share"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}: give a number in [0, 1).")
        if self.learning_rate <= 0:
            raise ValueError(f"learning_rate={self.learning_rate}: give a positive number.")
        if not self.targets:
            raise ValueError("targets is empty: name the linear layers to adapt.")


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
        ``train_loss`` (nats per response token, mean of the run), ``held_out_loss``, ``updates``,
        ``trainable_parameters``, ``megabytes`` of the saved weights.

    Raises
    ------
    ValueError
        If there are no examples.
    """
    if not examples or not held_out:
        raise ValueError(f"{len(examples)} examples, {len(held_out)} held out: both need some.")
    trainer = _trainer(examples, held_out, config=config, output=output)
    result = trainer.train(resume_from_checkpoint=_last_checkpoint(output) if resume else None)
    measures = {
        "train_loss": float(result.training_loss),
        "held_out_loss": float(trainer.evaluate()["eval_loss"]),
        "updates": float(trainer.state.global_step),
        "trainable_parameters": float(
            sum(p.numel() for p in trainer.model.parameters() if p.requires_grad)
        ),
    }
    weights = save_half_precision(trainer.model, output / "adapter")
    measures["megabytes"] = weights.stat().st_size / 1e6
    record = {"config": asdict(config), "examples": len(examples), "measures": measures}
    (output / "adapter" / "training.json").write_text(json.dumps(record, indent=1) + "\n")
    for checkpoint in output.glob("checkpoint-*"):
        shutil.rmtree(checkpoint)
    return measures


def save_half_precision(model: Any, folder: Path) -> Path:
    """Save a PEFT model's adapter in float16, with a config that names no local path.

    Returns
    -------
    Path
        The weights file.
    """
    import torch
    from safetensors.torch import load_file, save_file

    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    weights = folder / WEIGHTS_FILE
    halves = {name: tensor.to(torch.float16) for name, tensor in load_file(weights).items()}
    save_file(halves, weights, metadata={"format": "pt"})
    description = folder / "adapter_config.json"
    content = json.loads(description.read_text(encoding="utf-8"))
    content["base_model_name_or_path"] = Path(str(content["base_model_name_or_path"])).name
    description.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    (folder / "README.md").unlink(missing_ok=True)
    return weights


def _trainer(
    examples: Sequence[Example],
    held_out: Sequence[Example],
    *,
    config: AdapterTrainingConfig,
    output: Path,
) -> Any:
    """Build trl's trainer."""
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from transformers.trainer_utils import set_seed
    from trl import SFTConfig, SFTTrainer

    set_seed(config.seed)
    tokenizer = load_tokenizer(config.base_model)
    model = load_base_model(config.base_model, nf4=config.nf4)
    updates = -(-len(examples) // (config.batch_size * config.accumulation))
    on_gpu = torch.cuda.is_available()
    arguments = SFTConfig(
        output_dir=str(output),
        per_device_train_batch_size=config.batch_size,
        per_device_eval_batch_size=config.batch_size,
        gradient_accumulation_steps=config.accumulation,
        num_train_epochs=1,
        train_sampling_strategy="group_by_length",
        learning_rate=config.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=round(config.warmup_share * updates),
        weight_decay=config.weight_decay,
        max_grad_norm=1.0,
        completion_only_loss=True,
        max_length=512,
        gradient_checkpointing=False,
        use_cpu=not on_gpu,
        bf16=on_gpu,
        logging_steps=5,
        report_to=["tensorboard"],
        save_steps=config.checkpoint_steps,
        save_total_limit=1,
        seed=config.seed,
        data_seed=config.seed,
        dataloader_pin_memory=on_gpu,
    )
    end = tokenizer.eos_token
    sets = [
        Dataset.from_list(
            [
                {
                    "prompt": render_prompt(tokenizer, example.query.text),
                    "completion": example.target + end,
                }
                for example in part
            ]
        )
        for part in (examples, held_out)
    ]
    lora = LoraConfig(
        r=config.rank,
        lora_alpha=config.alpha,
        lora_dropout=config.dropout,
        target_modules=list(config.targets),
        task_type="CAUSAL_LM",
    )
    trainer = _response_trainer(SFTTrainer)(
        model=model,
        args=arguments,
        train_dataset=sets[0],
        eval_dataset=sets[1],
        processing_class=tokenizer,
        peft_config=lora,
    )
    for parameter in trainer.model.parameters():
        if parameter.requires_grad:  # trl makes them bfloat16: imprecise, and slow on a CPU
            parameter.data = parameter.data.to(torch.float32)
    return trainer


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


def _last_checkpoint(output: Path) -> str | None:
    """Find the newest complete checkpoint of a run folder."""
    complete = [
        (int(folder.name.split("-")[1]), folder)
        for folder in output.glob("checkpoint-*")
        if (folder / "trainer_state.json").is_file() and (folder / WEIGHTS_FILE).is_file()
    ]
    return str(max(complete)[1]) if complete else None
