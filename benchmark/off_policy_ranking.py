"""The comparison of policies on one log in words, as a table and as figures."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from routing_gym.benchmark.off_policy_comparison import (
    BETTER,
    REFUSED,
    UNCLEAR,
    WORSE,
    PolicyComparison,
    RankedPolicy,
)
from routing_gym.benchmark.off_policy_report import (
    Figures,
    evaluation_json,
    evaluation_markdown,
)
from routing_gym.benchmark.report import UNDEFINED, format_interval, markdown_table
from routing_gym.benchmark.statistics import Interval

RANKING_NOTES = """\
`reward`: the recommended estimator's value with its own interval. `minus logged`: the paired
difference from the mean reward of the same decisions, bootstrap over decisions; the intervals of
all policies hold together with {confidence:.0%} (Bonferroni), and `judgement` follows from them.
`minus favourite`: the paired difference from the policy that the answer names, over all pairs."""


def answer(comparison: PolicyComparison) -> str:
    """Say which policy would have been better than the logged one, or that the log cannot tell."""
    favourite = comparison.favourite
    if favourite is None or favourite.gain is None:
        text = "**The log cannot tell which policy would have been better.**"
    elif favourite.judgement == BETTER:
        text = (
            f"**{favourite.name} would have been better than the logged policy**, by "
            f"{format_interval(favourite.gain, signed=True)} per decision."
        )
        text += _against_others(comparison, favourite)
    elif not _names(comparison, UNCLEAR):
        text = (
            "**The logged policy was the best**: even "
            f"{favourite.name} would have been worse, by "
            f"{format_interval(favourite.gain, signed=True)} per decision."
        )
    else:
        text = (
            "**The log cannot tell whether another policy would have been better than the logged "
            f"one**: the interval of the difference holds 0 for {_with_gains(comparison, UNCLEAR)};"
            " log longer, or explore more."
        )
    if len(_names(comparison, WORSE)) < len(comparison.estimated) and _names(comparison, WORSE):
        text += f" Worse than the logged policy: {_with_gains(comparison, WORSE)}."
    return text + _refused(comparison)


def ranking_table(comparison: PolicyComparison) -> str:
    """Format all policies and the logged one as a Markdown table, highest estimate first."""
    favourite = comparison.favourite
    lines = [(p.evaluation.best.value, _line(p, p is favourite)) for p in comparison.estimated]
    logged = ["logged policy", format_interval(comparison.logged), *[UNDEFINED] * 5]
    lines.append((comparison.logged.value, logged))
    lines.sort(key=lambda line: line[0], reverse=True)
    refused = [_refused_line(p) for p in comparison.policies if p.judgement == REFUSED]
    header = ["policy", "reward", "minus logged", "judgement", "minus favourite", "estimator"]
    return markdown_table([*header, "effective"], [line for _, line in lines] + refused)


def ranking_figures(comparison: PolicyComparison) -> Figures:
    """Return the flat figures of a comparison, each policy's under its name."""
    first = comparison.policies[0].evaluation
    figures: Figures = {
        "logged_reward": comparison.logged,
        "decisions": first.decisions,
        "fallbacks": first.fallbacks,
        "unrewarded": first.unrewarded,
        "better": float(len(_names(comparison, BETTER))),
    }
    for policy in comparison.policies:
        name = figure_name(policy.name)
        if policy.gain is not None:
            figures[name] = policy.evaluation.best.normal
            figures[f"{name}_minus_logged"] = policy.gain
        figures[f"{name}_effective_sample_size"] = policy.evaluation.overlap.effective
        figures[f"{name}_refused"] = float(policy.judgement == REFUSED)
    return figures


def ranking_json(comparison: PolicyComparison) -> str:
    """Write everything that is known of a comparison as JSON."""
    favourite = comparison.favourite
    content = {
        "answer": answer(comparison).replace("**", ""),
        "favourite": None if favourite is None else favourite.name,
        "logged": comparison.logged.as_dict(),
        "policies": [
            {
                "judgement": policy.judgement,
                "minus_logged": _as_dict(policy.gain),
                "minus_favourite": _as_dict(policy.minus_favourite),
                **json.loads(evaluation_json(policy.evaluation)),
            }
            for policy in comparison.policies
        ],
    }
    return json.dumps(content, indent=2, allow_nan=False) + "\n"


def ranking_markdown(comparison: PolicyComparison, *, max_weight: str) -> str:
    """Write a comparison for people: the answer, the ranking, then each policy alone."""
    notes = RANKING_NOTES.format(confidence=comparison.confidence)
    parts = ["# Which policy would have been better", answer(comparison)]
    parts += [ranking_table(comparison), notes]
    for policy in comparison.policies:
        alone = evaluation_markdown(policy.evaluation, max_weight=max_weight)
        parts.append(re.sub(r"^#", "##", alone, flags=re.MULTILINE).rstrip("\n"))
    return "\n\n".join(parts) + "\n"


def figure_name(policy: str) -> str:
    """Turn a policy's name into that of a figure: small letters, digits, single underscores."""
    return re.sub(r"[^a-z0-9]+", "_", policy.lower()).strip("_")


def _against_others(comparison: PolicyComparison, favourite: RankedPolicy) -> str:
    """Say which of the other policies the favourite would have beaten."""
    others = [(p.name, p.minus_favourite) for p in comparison.estimated if p is not favourite]
    beaten = [name for name, difference in others if difference and difference.high < 0]
    tied = [name for name, difference in others if difference and difference.high >= 0]
    text = f" It would also have been better than {_joined(beaten)}." if beaten else ""
    return text + (f" The log cannot tell it from {_joined(tied)}." if tied else "")


def _refused(comparison: PolicyComparison) -> str:
    """Name the policies of which the log says nothing, with the first reason each."""
    refused = [p.evaluation for p in comparison.policies if p.judgement == REFUSED]
    reasons = [f"\n\nRefused: {e.target}: {e.refusals[0]}." for e in refused]
    return "".join(reasons)


def _names(comparison: PolicyComparison, judgement: str) -> list[str]:
    """Name the policies of one judgement."""
    return [policy.name for policy in comparison.policies if policy.judgement == judgement]


def _with_gains(comparison: PolicyComparison, judgement: str) -> str:
    """Name the policies of one judgement, with their differences from the logged one."""
    policies = [policy for policy in comparison.estimated if policy.judgement == judgement]
    shown = [f"{p.name} ({format_interval(p.gain, signed=True)})" for p in policies if p.gain]
    return _joined(shown)


def _joined(names: Sequence[str]) -> str:
    """Join names as in a sentence."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _line(policy: RankedPolicy, favourite: bool) -> list[str]:
    """Format one policy of which the log can speak."""
    best = policy.evaluation.best
    return [
        f"**{policy.name}**" if favourite else policy.name,
        format_interval(best.normal),
        _signed(policy.gain),
        policy.judgement,
        _signed(policy.minus_favourite),
        best.estimator,
        f"{policy.evaluation.overlap.effective:.0f}",
    ]


def _signed(difference: Interval | None) -> str:
    """Format a difference that may not exist."""
    return UNDEFINED if difference is None else format_interval(difference, signed=True)


def _as_dict(difference: Interval | None) -> dict[str, float] | None:
    """Write a difference that may not exist for JSON."""
    return None if difference is None else difference.as_dict()


def _refused_line(policy: RankedPolicy) -> list[str]:
    """Format one policy of which it cannot."""
    effective = f"{policy.evaluation.overlap.effective:.0f}"
    return [policy.name, UNDEFINED, UNDEFINED, REFUSED, UNDEFINED, UNDEFINED, effective]
