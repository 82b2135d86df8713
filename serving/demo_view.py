"""What the page shows of a decision, as HTML: names and numbers in, escaped text out."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

from routing_gym.serving.demo_client import DemoDecision

_THUMB = (  # drawn here, because not every machine has a font with thumbs
    "url(\"data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 24 24'%3E"
    "%3Cpath d='M2 10h4v11H2zM8 10l5-8c1.5 0 2.5 1 2.3 2.5L14.5 9H20a2 2 0 0 1 2 2.3l-1.3 8"
    "A2 2 0 0 1 18.7 21H8z'/%3E%3C/svg%3E\")"
)
CSS = (
    f"""
#good::before, #bad::before {{content: ""; width: 1.2em; height: 1.2em; margin-right: .5em;
  background: currentColor; mask: {_THUMB} center / contain no-repeat}}
#bad::before {{transform: rotate(180deg)}}
"""
    + """\
.router-bar {display: grid; grid-template-columns: 8em 1fr 4.5em; gap: .75em; align-items: center;
  margin: .3em 0; font-variant-numeric: tabular-nums}
.router-name {overflow: hidden; text-overflow: ellipsis; white-space: nowrap}
.router-track {height: 1.1em; border-radius: 4px; background: var(--neutral-200, #e4e4e7)}
.dark .router-track {background: var(--neutral-700, #3f3f46)}
.router-fill {display: block; height: 100%; border-radius: 4px; background: #94a3b8}
.router-chosen .router-fill {background: #0072b2}
.router-chosen .router-name {font-weight: 700}
.router-value {text-align: right}
.router-adapter {font-size: 1.35em; font-weight: 700}
.router-fallback {margin-left: .6em; padding: .1em .5em; border-radius: 4px; color: #fff;
  background: #b45309}
.router-facts {display: grid; grid-template-columns: max-content 1fr; gap: .15em 1em;
  margin: .8em 0 0; font-variant-numeric: tabular-nums}
.router-facts dt {opacity: .7}
.router-facts dd {margin: 0}
.router-missing {opacity: .7}
"""
)


def decision_view(decision: DemoDecision) -> str:
    """Show who answers, the probabilities as bars, and the numbers that go to the log.

    Parameters
    ----------
    decision
        The decision.

    Returns
    -------
    str
        HTML.
    """
    mark = '<span class="router-fallback">fallback</span>' if decision.fallback else ""
    facts = {
        "Confidence": percent(decision.confidence),
        "Propensity": f"{decision.propensity:.4f}",
        "Policy": f"{decision.policy} ({decision.policy_version})",
        "Decision": decision.decision_id,
    }
    rows = "".join(
        f'<dt>{escape(name)}</dt><dd data-fact="{escape(name.lower())}">{escape(value)}</dd>'
        for name, value in facts.items()
    )
    return (
        f'<p>Adapter: <span class="router-adapter">{escape(decision.adapter)}</span>{mark}</p>'
        f"{bars(decision.probabilities, chosen=decision.adapter)}"
        f'<dl class="router-facts">{rows}</dl>'
    )


def scores_view(scores: Mapping[str, float], *, reward: float) -> str:
    """Show how the self-evaluation scores an answer.

    Parameters
    ----------
    scores
        Metric -> score; one outside [0, 1] or that could not be computed has no bar.
    reward
        Their weighted sum in [0, 1], what the policy learns from.

    Returns
    -------
    str
        HTML.
    """
    return bars({**scores, "reward": reward}, chosen="reward", share=False)


def bars(values: Mapping[str, float], *, chosen: str, share: bool = True) -> str:
    """Draw one bar per value.

    Parameters
    ----------
    values
        Name -> value in [0, 1].
    chosen
        The name that stands out.
    share
        Whether values are written in percent.

    Returns
    -------
    str
        HTML; names are escaped.
    """
    return "".join(
        _bar(name, value, chosen=name == chosen, share=share) for name, value in values.items()
    )


def percent(value: float) -> str:
    """Write a share of one in percent."""
    return f"{100 * value:.1f} %"


def _bar(name: str, value: float, *, chosen: bool, share: bool) -> str:
    """Draw one bar, or say that there is no value."""
    kind = "router-bar router-chosen" if chosen else "router-bar"
    label = f'<span class="router-name" title="{escape(name)}">{escape(name)}</span>'
    if value != value:
        track, text = '<span class="router-missing">not scored</span>', "–"
    else:
        width = 100 * min(1.0, max(0.0, value))
        track = (
            f'<span class="router-track" role="meter" aria-label="{escape(name)}" '
            f'aria-valuemin="0" aria-valuemax="1" aria-valuenow="{value:.4f}">'
            f'<span class="router-fill" style="width: {width:.2f}%"></span></span>'
        )
        text = percent(value) if share else f"{value:.3f}"
    return f'<div class="{kind}">{label}{track}<span class="router-value">{text}</span></div>'
