r"""Where a system is weak, from logged decisions: only the chosen adapter's reward is known.

The three gaps of `routing_gym.benchmark.gaps`, as far as such a log can tell them, in the unit of
the logged reward and per decision:

``pool``
    The highest possible reward minus the value of the region's best single adapter. The best
    answer of all adapters to one query is never seen, so this is an upper bound of the pool's gap.
``router``
    The value of that adapter minus what the logged decisions earned. A better choice query by query
    could win more, so this is a lower bound of the router's gap; it may be negative.
``evaluator``
    Score minus truth of the answers that were given, where the log (a database with both the
    self-evaluator's and the users' rewards) or the caller knows both; else it cannot be known.

An adapter's value in a region is the mean of its doubly robust scores (Dudík, Langford & Li, ICML
2011), :math:`\hat q(x_i, a) + 1[a_i = a] (r_i - \hat q(x_i, a)) / \pi_0(a \mid x_i)`, with a
cross-fitted model. The best adapter is chosen on the other folds and valued on its own (as Athey &
Wager, Econometrica 2021, value policies), so that the luckiest adapter is not taken for the best.
Adapters that a region hardly ever saw are left out: nothing is known of them there.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np

from routing_gym.benchmark.gap_evidence import TEST, GapSettings
from routing_gym.benchmark.gap_log_view import MIN_DECISIONS, MIN_PLAYED, LogTruth, LogView
from routing_gym.benchmark.gap_records import LOGGING_POLICY, GapReport
from routing_gym.benchmark.gap_regions import Labels, find_groups
from routing_gym.benchmark.gaps import TEST_WARNING, plain_settings
from routing_gym.benchmark.off_policy_log import DecisionLog
from routing_gym.benchmark.off_policy_result import OffPolicySettings

__all__ = ["MIN_DECISIONS", "LogTruth", "find_log_gaps"]


def find_log_gaps(
    log: DecisionLog,
    *,
    labels: Labels | None = None,
    truth: LogTruth | None = None,
    settings: GapSettings | None = None,
    policy: OffPolicySettings | None = None,
    source: str = "log",
    splits: Sequence[str] = (),
) -> GapReport:
    """Find the regions in which logged decisions show a weak pool or router.

    Parameters
    ----------
    log
        The decisions.
    labels
        What is known of the N queries; None leaves the clusters of the logged embeddings.
    truth
        Scores and truths for the evaluator's gap; None leaves it unknown.
    settings
        None takes the defaults; its splits, truth and evaluator play no part.
    policy
        Model of the reward and its range; None takes the defaults.
    source
        Name of the log.
    splits
        Splits that the queries come from, where that is known.

    Raises
    ------
    ValueError
        If fewer than ``MIN_DECISIONS`` decisions count, the log plays one adapter only, a reward is
        out of range, or no partition of the queries is known.

    Warns
    -----
    UserWarning
        If `splits` holds the test split.
    """
    settings, policy = settings or GapSettings(), policy or OffPolicySettings()
    view = LogView(log, labels or _own_labels(log), truth, settings, policy)
    groups, notes = find_groups(
        view.labels,
        levels=settings.levels,
        clusters=settings.clusters,
        min_queries=max(settings.min_queries, 2 * MIN_PLAYED),
        seed=settings.seed,
    )
    if TEST in splits:
        warnings.warn(TEST_WARNING, stacklevel=2)
        notes = (TEST_WARNING, *notes)
    gaps = view.gaps(groups)
    return GapReport(
        gaps=tuple(sorted(gaps, key=lambda gap: -gap.gain)),
        source=source,
        splits=tuple(splits),
        fingerprint=log.pool_fingerprint,
        settings=plain_settings(settings),
        adapters=log.adapters,
        queries=len(view.log),
        router=LOGGING_POLICY,
        overall=view.overall(),
        unknown=view.unknown([gap.kind for gap in gaps]),
        notes=(*notes, *view.notes(groups)),
    )


def _own_labels(log: DecisionLog) -> Labels:
    """Know of the queries what the log itself holds."""
    nothing = np.full(len(log), "")
    texts = nothing if log.queries is None else log.queries
    return Labels(nothing, nothing, np.zeros(len(log), dtype=np.int64), texts, log.observations)
