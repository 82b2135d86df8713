"""What a PromQL expression reads: metrics, their labels, and the labels of its result."""

from __future__ import annotations

import re
from collections.abc import Mapping

_KEYWORDS = {"and", "or", "unless", "bool", "offset", "atan2", "inf", "nan"}
_GROUPING = re.compile(
    r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)", re.IGNORECASE
)
_SELECTOR = re.compile(r"(?<![\w.])([a-zA-Z_:][\w:]*)(?![\w:])\s*(\{[^}]*\})?(?!\s*\()")
_STRING = re.compile(r'"(?:\\.|[^"\\])*"')
PROMETHEUS_OWN = {
    "up": {"job", "instance"},
    "ALERTS": {"alertname", "alertstate", "severity"},
}
TARGET_LABELS = {"job", "instance"}


def selectors(expression: str) -> list[tuple[str, set[str]]]:
    """Metric names that an expression selects, with the labels in the braces of each."""
    bare = _STRING.sub('""', expression)
    bare = re.sub(r"\[[^\]]*\]", "", bare)
    bare = _GROUPING.sub(" ", bare)
    found = []
    for name, braces in _SELECTOR.findall(bare):
        if name.lower() not in _KEYWORDS:
            found.append((name, set(re.findall(r"(\w+)\s*[=!]", braces))))
    return found


def grouped_labels(expression: str) -> set[str]:
    """Labels that an expression groups or matches by."""
    return {
        label.strip()
        for group in _GROUPING.findall(_STRING.sub('""', expression))
        for label in group.split(",")
        if label.strip()
    }


def faults(expression: str, known: Mapping[str, set[str]]) -> list[str]:
    """Metrics that are unknown, and labels that no selected metric has."""
    wrong, labels = [], set(TARGET_LABELS)
    for name, used in selectors(expression):
        own = known.get(name)
        if own is None:
            wrong.append(f"unknown metric {name!r}")
            continue
        labels |= own
        wrong += [f"{name!r} has no label {label!r}" for label in used - own - TARGET_LABELS]
    return wrong + [
        f"no metric has the label {label!r}" for label in grouped_labels(expression) - labels
    ]
