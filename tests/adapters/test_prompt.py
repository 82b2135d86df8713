from __future__ import annotations

from typing import Any

import pytest

from routing_gym.adapters.prompt import CHATML, render_conversation, render_prompt
from tests.adapters.tiny import tiny_tokenizer

SMOL = "{# the assistant is named SmolLM #}" + CHATML
OWN = "{% for m in messages %}[{{ m['role'] }}] {{ m['content'] }} {% endfor %}[go]"


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return tiny_tokenizer()


@pytest.mark.parametrize(
    ("template", "system", "prompt"),
    [
        (None, "", "Why?\n"),
        (None, "Be brief.", "Be brief.\nWhy?\n"),
        (SMOL, "", "<|im_start|>user\nWhy?<|im_end|>\n<|im_start|>assistant\n"),
        (
            SMOL,
            "Be brief.",
            "<|im_start|>system\nBe brief.<|im_end|>\n"
            "<|im_start|>user\nWhy?<|im_end|>\n<|im_start|>assistant\n",
        ),
        (OWN, "", "[user] Why? [go]"),
        (OWN, "Be brief.", "[system] Be brief. [user] Why? [go]"),
    ],
)
def test_prompts(tokenizer: Any, template: str | None, system: str, prompt: str) -> None:
    tokenizer.chat_template = template
    assert render_prompt(tokenizer, "Why?", system=system) == prompt


TURNS = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Why?"},
    {"role": "assistant", "content": "Because."},
    {"role": "user", "content": "Really?"},
]


@pytest.mark.parametrize(
    ("template", "prompt"),
    [
        (None, "Be brief.\nWhy?\nBecause.\nReally?\n"),
        (OWN, "[system] Be brief. [user] Why? [assistant] Because. [user] Really? [go]"),
        (
            SMOL,
            "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nWhy?<|im_end|>\n"
            "<|im_start|>assistant\nBecause.<|im_end|>\n<|im_start|>user\nReally?<|im_end|>\n"
            "<|im_start|>assistant\n",
        ),
    ],
)
def test_conversations(tokenizer: Any, template: str | None, prompt: str) -> None:
    tokenizer.chat_template = template
    assert render_conversation(tokenizer, TURNS) == prompt


def test_a_conversation_that_the_template_refuses(tokenizer: Any) -> None:
    tokenizer.chat_template = "{{ raise_exception('roles must alternate') }}"
    with pytest.raises(ValueError, match=r"refuses messages of the roles user, user \(roles must"):
        render_conversation(tokenizer, [{"role": "user", "content": "a"}] * 2)
