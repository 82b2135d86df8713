"""A web page at /demo: a question, the answer, who was chosen and how sure the policy was.

The page is a client of the server's own API (`routing_gym.serving.demo_client`): what it shows is
what every client gets, and what it asks is limited, keyed and logged like any request. It loads
nothing from other hosts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from routing_gym.serving.demo_client import DemoClient
from routing_gym.serving.demo_conversation import Conversation, ScoringEvaluator
from routing_gym.serving.demo_door import DemoDoor
from routing_gym.serving.demo_page import build_page, import_gradio
from routing_gym.serving.demo_view import CSS

if TYPE_CHECKING:
    from fastapi import FastAPI

PATH = "/demo"
EXAMPLES = (
    "Tom looks east. Then Tom turns left. Which way is Tom facing? One word only.",
    "I need a function apply(s) which strips the spaces around s and returns it. Give only the "
    "Python function.",
    "Give me a rhyming line for chill. Reply with a single sentence.",
    "What is December 5, 1980 in ISO form? Answer as YYYY-MM-DD.",
    "In a quiz, they ask for the capital of Germany. Name only the city.",
)


def mount_demo(
    app: FastAPI,
    *,
    evaluator: ScoringEvaluator | None = None,
    ask_key: bool = False,
    examples: Sequence[str] = EXAMPLES,
    limit: int = 1 << 20,
    path: str = PATH,
    frames: Sequence[str] = (),
) -> FastAPI:
    """Add the page to a server.

    Parameters
    ----------
    app
        The server's application.
    evaluator
        Scores every answer of the page; None shows no scores.
    ask_key
        Whether the page has a field for the visitor's own key, which its requests then carry:
        the page opens nothing that the visitor's key does not.
    examples
        Questions to click on.
    limit
        Most bytes that the page's browser may send at once.
    path
        Where the page is.
    frames
        Origins whose pages may show this one in a frame.

    Returns
    -------
    FastAPI
        The same application.

    Raises
    ------
    ImportError
        If Gradio is not installed.
    """
    gradio = import_gradio()
    from starlette.middleware import Middleware
    from starlette.responses import RedirectResponse

    async def to_page() -> RedirectResponse:
        return RedirectResponse(f"{path.rsplit('/', 1)[-1]}/")  # relative: a proxy may add a prefix

    app.add_api_route(path, to_page, include_in_schema=False, response_model=None)
    talk = Conversation(DemoClient(app), evaluator=evaluator)
    theme = gradio.themes.Default(
        font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]
    )
    return gradio.mount_gradio_app(
        app,
        build_page(talk, ask_key=ask_key, examples=examples),
        path,
        app_kwargs={"middleware": [Middleware(DemoDoor, limit=limit, frames=frames)]},
        theme=theme,
        css=CSS,
        footer_links=[],
        ssr_mode=False,
        mcp_server=False,
        enable_monitoring=False,
    )
