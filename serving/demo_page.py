"""The layout of the web page in Gradio, and what its buttons do."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Sequence
from typing import TYPE_CHECKING, Any

from routing_gym.serving.errors import ApiError

if TYPE_CHECKING:
    from routing_gym.serving.demo_conversation import Conversation

_CONCURRENCY, _WAITING = 8, 64
_INTRODUCTION = "# Routing Gym\nA policy picks the adapter that answers your question."


def import_gradio() -> Any:
    """Import Gradio with everything switched off that would call home.

    Raises
    ------
    ImportError
        If it is not installed.
    """
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["GRADIO_RUN_HISTORY"] = "False"  # would keep questions in the browser
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    try:
        import gradio
    except ImportError as error:
        raise ImportError(
            f"the web page needs Gradio ({error}): pip install routing-gym[demo]"
        ) from error
    return gradio


def build_page(talk: Conversation, *, ask_key: bool, examples: Sequence[str]) -> Any:
    """Lay the page out and wire it.

    Parameters
    ----------
    talk
        What happens on it.
    ask_key
        Whether it has a field for a key.
    examples
        Questions to click on.

    Returns
    -------
    gradio.Blocks
        The page.
    """
    gr = import_gradio()
    with gr.Blocks(title="Routing Gym", analytics_enabled=False) as page:
        gr.Markdown(_INTRODUCTION)
        # a field and no gr.State, for which every open page would keep a connection that holds up
        # the server's stop
        rated = gr.Textbox(visible="hidden", elem_id="rated")
        with gr.Row():
            with gr.Column(scale=3):
                question, key, ask = _question(gr, ask_key=ask_key, examples=examples)
                answer, thumbs, note = _answer(gr)
            with gr.Column(scale=2):
                decision, scores = _judgement(gr, scored=talk.scored)
        gr.on(
            [ask.click, question.submit],
            _asking(gr, talk),
            [question, key],
            [decision, scores, answer, rated, *thumbs, note],
            concurrency_limit=_CONCURRENCY,
            api_visibility="private",
            show_progress="minimal",
            show_progress_on=[answer],
        )
        for thumb, reward in zip(thumbs, (1.0, 0.0), strict=True):
            thumb.click(
                _rating(gr, talk, reward),
                [rated, key],
                [*thumbs, note],
                api_visibility="private",
                show_progress="hidden",
            )
    return page.queue(max_size=_WAITING, api_open=False)


def _question(gr: Any, *, ask_key: bool, examples: Sequence[str]) -> tuple[Any, Any, Any]:
    """Lay out where the visitor asks."""
    question = gr.Textbox(label="Question", lines=2, max_lines=8, elem_id="question")
    key = gr.Textbox(label="Your key", type="password", visible=ask_key, elem_id="key")
    ask = gr.Button("Ask", variant="primary", elem_id="ask")
    gr.Examples([[text] for text in examples], question, cache_examples=False)
    return question, key, ask


def _answer(gr: Any) -> tuple[Any, tuple[Any, Any], Any]:
    """Lay out the answer and its thumbs."""
    answer = gr.Textbox(label="Answer", lines=4, max_lines=16, interactive=False, elem_id="answer")
    with gr.Row():
        good = gr.Button("Good", interactive=False, elem_id="good")
        bad = gr.Button("Bad", interactive=False, elem_id="bad")
    return answer, (good, bad), gr.Markdown(elem_id="note")


def _judgement(gr: Any, *, scored: bool) -> tuple[Any, Any]:
    """Lay out the decision and the scores."""
    gr.Markdown("### Decision")
    decision = gr.HTML(elem_id="decision")
    gr.Markdown("### Self-evaluation of the answer", visible=scored)
    return decision, gr.HTML(elem_id="scores", visible=scored)


def _asking(gr: Any, talk: Conversation) -> Callable[..., AsyncIterator[tuple[Any, ...]]]:
    """Return the handler of the question."""

    async def ask(question: str | None, key: str | None) -> AsyncIterator[tuple[Any, ...]]:
        if not question or not question.strip():
            raise gr.Error("Write a question first.", print_exception=False)
        try:
            async for shown in talk.ask(question, key=key or ""):
                thumb = gr.update(interactive=bool(shown.rated))
                yield shown.decision, shown.scores, shown.answer, shown.rated, thumb, thumb, ""
        except ApiError as error:
            raise gr.Error(str(error), print_exception=False) from None

    return ask


def _rating(gr: Any, talk: Conversation, reward: float) -> Callable[..., Any]:
    """Return the handler of a thumb."""

    async def rate(decision_id: str, key: str | None) -> tuple[Any, ...]:
        try:
            note = await talk.rate(decision_id, reward, key=key or "")
        except ApiError as error:
            raise gr.Error(str(error), print_exception=False) from None
        thumb = gr.update(interactive=False)
        return thumb, thumb, note

    return rate
