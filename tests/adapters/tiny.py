"""Tiny randomly initialised models of three architectures, and adapters for them, in a folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from routing_gym.adapters.lora import ALL_LINEAR
from routing_gym.queries.query import Example, Query

ARCHITECTURES = ("llama", "phi3", "mistral")
TARGETS = {
    "llama": ALL_LINEAR,
    "mistral": ALL_LINEAR,
    "phi3": ("qkv_proj", "o_proj", "gate_up_proj", "down_proj"),
}
TEXTS = (
    "What is the capital of France?",
    "Sort these numbers: 3, 1, 2.",
    "Write a sentence with the words river and lantern, please.",
    "Who is taller?",
)


def tiny_tokenizer() -> Any:
    """Train a byte-level BPE of at most 300 tokens, with end and padding tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<pad>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="</s>", pad_token="<pad>", padding_side="left"
    )


def tiny_config(architecture: str, tokenizer: Any, *, hidden: int = 64) -> Any:
    """Configure two layers of one architecture."""
    from transformers import LlamaConfig, MistralConfig, Phi3Config

    kind = {"llama": LlamaConfig, "phi3": Phi3Config, "mistral": MistralConfig}[architecture]
    return kind(
        vocab_size=len(tokenizer),
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2 if architecture != "phi3" else 4,
        max_position_embeddings=512,
        initializer_range=0.2,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def save_tiny_model(
    folder: Path, architecture: str = "llama", *, hidden: int = 64, seed: int = 0
) -> Path:
    """Write model and tokenizer as ``from_pretrained`` wants them."""
    from transformers import AutoModelForCausalLM

    tokenizer = tiny_tokenizer()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(
            tiny_config(architecture, tokenizer, hidden=hidden)
        )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def save_tiny_adapter(
    folder: Path, base: Path, *, seed: int, scale: float = 0.2, targets: Sequence[str] = ALL_LINEAR
) -> Path:
    """Write a LoRA adapter on a tiny model; a scale of zero makes it change nothing."""
    from peft import LoraConfig, get_peft_model

    from routing_gym.adapters.base_model import load_base_model
    from routing_gym.adapters.lora import save_half_precision

    config = LoraConfig(
        r=2, lora_alpha=4, target_modules=list(targets), task_type="CAUSAL_LM", lora_dropout=0.0
    )
    model = get_peft_model(load_base_model(str(base)), config)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                noise = torch.randn(parameter.shape, generator=generator)
                parameter.copy_(noise * (scale if "lora_B" in name else 0.2))
    save_half_precision(model, folder)
    return folder


def toy_examples(count: int, *, offset: int = 0) -> list[Example]:
    """Make questions with a number as the answer, which need no task."""
    return [
        Example(
            Query(f"q{i}", f"What comes after {i}? Just the number, please.", "general", "toy"),
            str(i + 1),
        )
        for i in range(offset, offset + count)
    ]
