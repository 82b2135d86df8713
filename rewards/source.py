"""Reading generated Python without running it."""

from __future__ import annotations

import ast
import builtins
import re
import warnings

from routing_gym.queries.extract import strip_fences

MAX_CHARACTERS = 20_000
MAX_LINES = 200
START = re.compile(r"^(?:(?:async\s+def|def|class|import|from)\s|@|\w+\s*=\s*lambda\b)", re.M)
ASKED_NAME = re.compile(
    r"\bfunction\s+[`'\"]?([A-Za-z_]\w*)[`'\"]?\s*\(|\bfunction\s+[`'\"]([A-Za-z_]\w*)"
    r"|\b(?:named|called)\s+[`'\"]?([A-Za-z_]\w*)|\bdef\s+([A-Za-z_]\w*)"
    r"|\bfunction\s+([b-zB-Z])\b|\b([A-Za-z_]\w*)\((?:\w+(?:,\s*\w+)*)?\)"
)


def parse(text: str) -> ast.Module | None:
    """Parse text as Python; None if it is none, empty, or longer than `MAX_CHARACTERS`."""
    if not text.strip() or len(text) > MAX_CHARACTERS:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)
            return ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def find_code(text: str) -> ast.Module | None:
    """Find the code of an answer: from its first code line to the last that parses.

    Prose alone is no code, though a single word parses; and code that breaks off inside an
    indented block is no code either, though its first lines parse.
    """
    body = strip_fences(text)
    start = START.search(body)
    if start is None:
        return None
    lines = body[start.start() :].splitlines()[:MAX_LINES]
    for end in range(len(lines), 0, -1):
        if end < len(lines) and lines[end][:1] in (" ", "\t"):
            return None
        tree = parse("\n".join(lines[:end]))
        if tree is not None:
            return tree
    return None


def functions(tree: ast.Module) -> dict[str, ast.AST]:
    """Functions that a module defines at its top: ``def`` and assigned lambdas."""
    found: dict[str, ast.AST] = {}
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            found[node.name] = node
        elif isinstance(node, ast.Assign) and isinstance(node.value, ast.Lambda):
            found.update({t.id: node.value for t in node.targets if isinstance(t, ast.Name)})
    return found


def gives_result(function: ast.AST) -> bool:
    """Tell whether a function returns, yields or is a lambda."""
    if isinstance(function, ast.Lambda):
        return True
    return any(
        isinstance(node, (ast.Yield, ast.YieldFrom))
        or (isinstance(node, ast.Return) and node.value is not None)
        for node in ast.walk(function)
    )


def asked_name(query: str) -> str | None:
    """Name of the function that a query asks for ("function f(x)", "called f"); None if none."""
    found = ASKED_NAME.search(query)
    return next(group for group in found.groups() if group) if found else None


def undefined_names(tree: ast.Module) -> set[str]:
    """Names that the code reads but nothing in it defines, by any scope (an approximation)."""
    defined = set(dir(builtins)) | {"__name__", "__file__"}
    read: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            (read if isinstance(node.ctx, ast.Load) else defined).add(node.id)
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            defined.add(node.name)
        elif isinstance(node, ast.arg):
            defined.add(node.arg)
        elif isinstance(node, ast.alias):
            defined.add((node.asname or node.name).split(".")[0])
        elif isinstance(node, ast.ExceptHandler) and node.name:
            defined.add(node.name)
    return read - defined
