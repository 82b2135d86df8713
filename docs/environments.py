"""One page per registered environment, made of its class docstring."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from functools import cache

from docs.modules import contents, heading, page_of, summary, table
from routing_gym.envs import ENVS, VECTOR_ENVS
from routing_gym.queries.registry import resolve


@cache
def environment_classes() -> dict[str, type]:
    """Return the registered classes by id."""
    return {name: resolve(ENVS, name, kind="environment") for name in ENVS}


def short_name(identifier: str) -> str:
    """Return the name of the page: ``cascade-v0`` of ``RoutingGym/Cascade-v0``."""
    return identifier.rpartition("/")[2].lower()


def split_docstring(text: str) -> tuple[str, str, str]:
    """Split an environment's docstring into its sentence, its page, and its numpy sections.

    Parameters
    ----------
    text
        The docstring: a sentence, sections in Markdown, sections of numpy's convention.

    Raises
    ------
    ValueError
        If it holds no section in Markdown.
    """
    sentence, found, rest = inspect.cleandoc(text).partition("\n## ")
    if not found:
        raise ValueError(
            f"the docstring {sentence.strip()!r} has no section '## Description': the page of an "
            "environment is made of such sections."
        )
    page, *sections = re.split(r"\n(?=[A-Z]\w+\n-{3,}\n)", f"## {rest}", maxsplit=1)
    return sentence.strip(), page.strip(), "".join(sections).strip()


def environment_pages() -> Iterator[tuple[str, str]]:
    """Yield a page for each registered environment, and their list."""
    rows = []
    for name, described in environment_classes().items():
        yield f"environments/{short_name(name)}.md", environment_page(name, described)
        rows.append([f":doc:`{name} <{short_name(name)}>`", summary(described)])
    text = table(["id", "the decision"], rows)
    entries = contents([short_name(name) for name in ENVS])
    yield "environments/index.rst", "\n".join([heading("Environments"), text, entries])


def environment_page(name: str, described: type) -> str:
    """Write one environment's page in Markdown; its constructor comes from the reference.

    Parameters
    ----------
    name
        The registered id.
    described
        The class of the environment.
    """
    sentence, page, _ = split_docstring(described.__doc__ or "")
    path = f"{described.__module__}.{described.__qualname__}"
    vector = VECTOR_ENVS[name].replace(":", ".")
    made = f'gym.make("{name}")', f'gym.make_vec("{name}", num_envs=...)'
    rows = [[f"`{made[0]}`", f"{{py:class}}`{path}`"], [f"`{made[1]}`", f"{{py:class}}`{vector}`"]]
    lines = [f"| {' | '.join(row)} |" for row in (["made by", "class"], ["---", "---"], *rows)]
    own = ["## Constructor", "```{eval-rst}", f".. autoclass:: {path}", "   :no-index:"]
    own += [
        "   :no-members:",
        "```",
        f"All of its methods: {{doc}}`/{page_of(described.__module__)}`.",
    ]
    return (
        "\n\n".join(
            [f"# {name.rpartition('/')[2]}", sentence, "\n".join(lines), page, "\n".join(own)]
        )
        + "\n"
    )
