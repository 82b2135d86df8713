"""The reader of PromQL sees what it should: otherwise the tests on top of it see nothing."""

from __future__ import annotations

import pytest

from tests.deploy.promql import faults, grouped_labels, selectors
from tests.deploy.test_monitoring import KNOWN


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("up", [("up", set())]),
        ('a_total{job="b", c=~"d|e"}', [("a_total", {"job", "c"})]),
        ("sum by (adapter) (rate(a_total[5m]))", [("a_total", set())]),
        ("sum(rate(a[5m])) by (x) / on (x) group_left () b > 0.5", [("a", set()), ("b", set())]),
        ('a == 0 or absent(b{c="rate(d[5m])"})', [("a", set()), ("b", {"c"})]),
        ("1e3 * a offset 5m unless b > 2", [("a", set()), ("b", set())]),
        ("histogram_quantile(0.99, sum by (le) (rate(a_bucket[$__rate_interval])))",
         [("a_bucket", set())]),
    ],
)  # fmt: skip
def test_selectors(expression: str, expected: list[tuple[str, set[str]]]) -> None:
    assert selectors(expression) == expected


def test_grouped_labels() -> None:
    assert grouped_labels('sum by (le, a) (x{y="by (z)"}) / on (b) c') == {"le", "a", "b"}


@pytest.mark.parametrize(
    ("expression", "fault"),
    [
        ("rate(router_decision_total[5m])", "unknown metric 'router_decision_total'"),
        ("router_encoder_seconds", "unknown metric"),
        ('router_decisions_total{arm="code"}', "has no label 'arm'"),
        ("sum by (arm) (router_decisions_total)", "no metric has the label 'arm'"),
    ],
)
def test_planted_faults_are_found(expression: str, fault: str) -> None:
    assert any(fault in found for found in faults(expression, KNOWN))


def test_right_expressions_pass() -> None:
    expression = 'sum by (adapter, job) (rate(router_decisions_total{policy="ppo"}[5m]))'
    assert faults(expression, KNOWN) == []
