"""How a query becomes a prompt: the model's own chat template, without a default system message."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""ChatML without SmolLM2's twenty tokens of default system message."""


def render_prompt(tokenizer: PreTrainedTokenizerBase, text: str, *, system: str = "") -> str:
    """Write a user's text as the prompt of an assistant's answer.

    Parameters
    ----------
    tokenizer
        The base model's; its own chat template is used, ChatML where that is SmolLM2's, and the
        bare text and a line break where there is none.
    text
        The query.
    system
        A system message; none by default.

    Returns
    -------
    str
        Text to be tokenised with ``add_special_tokens=False``.
    """
    messages = [{"role": "user", "content": text}]
    if system:
        messages.insert(0, {"role": "system", "content": system})
    return render_conversation(tokenizer, messages)


def render_conversation(
    tokenizer: PreTrainedTokenizerBase, messages: Sequence[Mapping[str, str]]
) -> str:
    """Write a conversation of several turns as the prompt of the assistant's next answer.

    Parameters
    ----------
    tokenizer
        As in `render_prompt`.
    messages
        ``role`` and ``content`` each, the oldest first.

    Returns
    -------
    str
        Text to be tokenised with ``add_special_tokens=False``.

    Raises
    ------
    ValueError
        If the model's template does not take such a conversation.
    """
    template = tokenizer.chat_template
    if template is None:
        return "\n".join(message["content"] for message in messages) + "\n"
    from jinja2 import TemplateError

    if isinstance(template, str) and "named SmolLM" in template:
        template = CHATML
    try:
        rendered = tokenizer.apply_chat_template(
            [dict(message) for message in messages],
            chat_template=template,
            tokenize=False,
            add_generation_prompt=True,
        )
    except TemplateError as error:
        roles = ", ".join(message["role"] for message in messages)
        raise ValueError(
            f"the model's chat template refuses messages of the roles {roles} ({error}): "
            "reorder them."
        ) from error
    return str(rendered)
