"""Random sentence encoders of two layers, of every family that the export knows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from routing_gym.adapters.encoder import Encoder

WORDS = ["who", "is", "taller", "ann", "bob", "river", "lantern", "sort", "1", "2", "3", "?", "."]
TEXTS = [
    "Who is taller, Ann or Bob?",
    "",
    "sort 3 1 2",
    "  the river and the lantern.  ",
    "who " * 40,
    "ann",
]
SMALL = {"vocab_size": 30, "num_hidden_layers": 2, "hidden_size": 24, "num_attention_heads": 4}
FAMILIES: dict[str, dict[str, Any]] = {
    "bert": {"intermediate_size": 48, "max_position_embeddings": 40},
    "roberta": {"intermediate_size": 48, "max_position_embeddings": 40, "pad_token_id": 1},
    "xlm-roberta": {"intermediate_size": 48, "max_position_embeddings": 40, "pad_token_id": 1},
    "mpnet": {"intermediate_size": 48, "max_position_embeddings": 40, "hidden_act": "relu"},
    "distilbert": {"n_layers": 2, "n_heads": 4, "dim": 24, "hidden_dim": 48},
}


def tiny_encoder(folder: Path, family: str, *, pooling: str = "mean", tokens: int = 16) -> Encoder:
    """Save a random sentence-transformers model of two layers."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import AutoConfig, AutoModel, PreTrainedTokenizerFast

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    pad = 1 if family in ("roberta", "xlm-roberta", "mpnet") else 0
    special = special if pad == 0 else ["[UNK]", "[PAD]", "[CLS]", "[SEP]"]
    vocabulary = {word: i for i, word in enumerate([*special, *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        special_tokens=[(name, vocabulary[name]) for name in ("[CLS]", "[SEP]")],
    )
    size = {} if family == "distilbert" else SMALL
    config = AutoConfig.for_model(
        family, **({"vocab_size": 30} | size | FAMILIES[family] | {"initializer_range": 0.3})
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = AutoModel.from_config(config)
        for name, parameter in model.named_parameters():  # norms and biases start at 1 and 0
            if "norm" in name.lower() or name.endswith("bias"):
                parameter.data += 0.1 * torch.randn_like(parameter)
    model.save_pretrained(folder / "model")
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]",
        sep_token="[SEP]", model_max_length=tokens,
    ).save_pretrained(folder / "model")  # fmt: skip
    transformer = Transformer(str(folder / "model"), max_seq_length=tokens)
    layers = [transformer, Pooling(transformer.get_embedding_dimension(), pooling_mode=pooling)]
    SentenceTransformer(modules=layers, device="cpu").save(str(folder / "encoder"))
    return Encoder(str(folder / "encoder"))
