"""Whether the propensities in a decision log say how often the adapters were really chosen."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import httpx
import numpy as np

from routing_gym.serving.trial_latency import RouteClient


@dataclass(frozen=True)
class FrequencyTest:
    """How well choices fit the probabilities that were logged for them.

    Parameters
    ----------
    statistic
        Of the test, distributed as chi-squared if the propensities are right.
    freedom
        Its degrees of freedom.
    p_value
        Probability of a statistic at least as large, if they are.
    decisions
        N.
    """

    statistic: float
    freedom: int
    p_value: float
    decisions: int


def frequency_test(
    actions: np.ndarray, propensities: np.ndarray, *, least: int = 100
) -> FrequencyTest:
    r"""Test that choices were drawn from the logged distributions, each from its own.

    The decisions are put into groups by their most probable adapter and its propensity, so that
    decisions which were logged with each other's distributions are noticed. In a group, counts O
    and expected counts E of the adapters have the covariance
    :math:`V = \sum_i (diag(p_i) - p_i p_i^\top)`, so that :math:`(O - E)^\top V^+ (O - E)` is
    chi-squared with V's rank as degrees of freedom (Pearson's test, for draws that are not
    identically distributed). The groups' statistics are
    independent and are summed.

    Parameters
    ----------
    actions
        int (N,), in [0, K).
    propensities
        float64 (N, K), rows sum to 1.
    least
        Decisions of a group, at least 1; those of smaller groups are put together.

    Raises
    ------
    ValueError
        If an action had probability 0, or nothing was left to chance.
    """
    from scipy.stats import chi2

    rows = np.arange(len(actions))
    if not (propensities[rows, actions] > 0).all():
        raise ValueError("an adapter was chosen that had probability 0: the log is wrong.")
    statistic, freedom = 0.0, 0
    for part in _groups(propensities, least=least):
        p = propensities[part]
        counts = np.bincount(actions[part], minlength=p.shape[1])
        excess = counts - p.sum(axis=0)
        covariance = np.diag(p.sum(axis=0)) - p.T @ p
        rank = int(np.linalg.matrix_rank(covariance, hermitian=True, tol=1e-6))
        inverse = np.linalg.pinv(covariance, rcond=1e-9, hermitian=True)
        statistic += float(excess @ inverse @ excess)
        freedom += rank
    if freedom == 0:
        raise ValueError("every choice was certain: log decisions of a policy that explores.")
    return FrequencyTest(statistic, freedom, float(chi2.sf(statistic, freedom)), len(actions))


def _groups(propensities: np.ndarray, *, least: int) -> list[np.ndarray]:
    """Return int arrays that share out the rows: by most probable adapter, then its propensity."""
    groups: list[np.ndarray] = []
    rest: list[np.ndarray] = []
    favourite, highest = propensities.argmax(axis=1), propensities.max(axis=1)
    for adapter in range(propensities.shape[1]):
        own = np.flatnonzero(favourite == adapter)
        if len(own) < least:
            rest.append(own)
            continue
        own = own[np.argsort(highest[own], kind="stable")]
        groups += np.array_split(own, max(min(len(own) // least, 5), 1))
    left = np.concatenate([*rest, np.zeros(0, dtype=np.int64)]).astype(np.int64)
    return [*groups, left] if len(left) else groups


def decide_and_reward(
    url: str, queries: Sequence[str], rewards: np.ndarray, *, batch: int = 32, clients: int = 4
) -> None:
    """Have a server decide on queries, and reward each decision with what a table holds for it.

    Parameters
    ----------
    url
        Of the server.
    queries
        N texts.
    rewards
        float (N, K), in [0, 1], in the order of the policy's adapters.
    batch
        Texts per request.
    clients
        Threads that give feedback.

    Raises
    ------
    RuntimeError
        If the server refuses anything.
    """
    route = RouteClient(url)
    jobs: list[tuple[str, float]] = []
    for start in range(0, len(queries), batch):
        _, decisions = route.route(queries[start : start + batch])
        for row, decision in enumerate(decisions):
            names = list(decision["probabilities"])
            action = names.index(decision["adapter"])
            jobs.append((str(decision["decision_id"]), float(rewards[start + row, action])))
    route.close()
    with ThreadPoolExecutor(clients) as pool:
        list(pool.map(lambda part: _give(url, part), [jobs[i::clients] for i in range(clients)]))


def _give(url: str, jobs: Sequence[tuple[str, float]]) -> None:
    """Give feedback over one connection."""
    with httpx.Client(base_url=url, timeout=60.0) as client:
        for name, reward in jobs:
            answer = client.post("/feedback", json={"decision_id": name, "reward": reward})
            if answer.status_code != 200:
                raise RuntimeError(f"/feedback answered {answer.status_code}: {answer.text[:200]}")
