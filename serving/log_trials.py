"""The trials of the decision log: does it tell the truth, and does it survive what goes wrong."""

from __future__ import annotations

import numpy as np

from routing_gym.benchmark.off_policy_evaluation import evaluate_log
from routing_gym.benchmark.off_policy_result import OffPolicySettings
from routing_gym.benchmark.off_policy_sql import read_sql_log
from routing_gym.benchmark.report import markdown_table
from routing_gym.benchmark.statistics import Interval
from routing_gym.envs.table import OutcomeTable
from routing_gym.rewards.reward import DEFAULT_REWARD
from routing_gym.serving.bundle import PolicyBundle
from routing_gym.serving.exploration import Exploration
from routing_gym.serving.trial_exploration import decide_and_reward, frequency_test
from routing_gym.serving.trial_matrix import fault_matrix
from routing_gym.serving.trial_traffic import BROKEN
from routing_gym.serving.trials import Served, TrialResult, TrialSettings

_NAMES = {0: "no answer", BROKEN: "broken stream"}


def exploration_trial(settings: TrialSettings) -> TrialResult:
    """Log decisions that explore and see whether the log tells the truth."""
    table = OutcomeTable.load(settings.table)
    data = table.data("test", dict(DEFAULT_REWARD.weights))
    texts = np.array([str(text) for text in table.text[table.split == "test"]])
    bundle = PolicyBundle.load(settings.bundle)
    rng = np.random.default_rng(settings.seed)
    count = settings.size(10_000)
    rows = np.concatenate([rng.permutation(len(texts)) for _ in range(count // len(texts) + 1)])
    rows = rows[:count]
    rewards = np.clip(data.rewards, 0.0, 1.0)[rows]
    options = {"exploration": "epsilon", "epsilon": 0.3}
    with Served(settings, "exploration", options) as served:
        decide_and_reward(served.server.url, texts[rows].tolist(), rewards)
        served.server.stop()
    log = read_sql_log(f"sqlite:///{served.log}")
    if not np.allclose(log.rewards, rewards[np.arange(len(log)), log.actions]):
        raise ValueError(f"{served.log} is not in the order of the requests.")
    fitted = log.subset(~log.fallbacks)
    assert fitted.all_propensities is not None
    assert fitted.observations is not None
    test = frequency_test(fitted.actions, fitted.all_propensities)
    greedy = bundle.decide_embedded(fitted.observations, exploration=Exploration("greedy"))
    target = greedy.probabilities
    found = evaluate_log(
        fitted, target, name=f"{bundle.name}, greedy", settings=OffPolicySettings(model="mean")
    )
    snips = next(one for one in found.estimates if one.estimator == "snips")
    truth = float(rewards[~log.fallbacks][np.arange(len(fitted)), greedy.actions].mean())
    inside = snips.normal.low <= truth <= snips.normal.high
    figures: dict[str, float | Interval] = {
        "exploration_decisions": float(len(log)),
        "propensity_p_value": test.p_value,
        "snips_value": Interval(snips.value, snips.normal.low, snips.normal.high),
        "table_value": truth,
        "snips_covers_table_value": float(inside),
    }
    section = (
        "## Exploration\n\n"
        f"{len(log)} decisions on the test split's queries over HTTP, a share of 0.3 of them drawn "
        "uniformly; each was rewarded over `POST /feedback` with what the outcome table holds. The "
        f"choices fit the logged propensities: chi-squared {test.statistic:.1f} with "
        f"{test.freedom} degrees of freedom, p = {test.p_value:.3f}. The greedy policy's value on "
        f"the same queries is {truth:.4f} by the table; SNIPS on the log says "
        f"{snips.value:.4f} [{snips.normal.low:.4f}, {snips.normal.high:.4f}]. "
        f"{int(log.fallbacks.sum())} fallbacks are left out of both."
    )
    return TrialResult(figures, section)


def fault_trial(settings: TrialSettings) -> TrialResult:
    """Try every fault."""
    rows = fault_matrix(settings.bundle, settings.texts()[:64], folder=settings.folder / "faults")
    done = [row for row in rows if row.log is not None]
    logs = [row.log for row in rows if row.log is not None]
    figures: dict[str, float | Interval] = {
        "faults_tried": float(len(done)),
        "faults_skipped": float(len(rows) - len(done)),
        "faults_lost": float(sum(log.lost for log in logs)),
        "faults_doubled": float(sum(log.doubled for log in logs)),
        "faults_not_recovered": float(sum(not row.recovered for row in done)),
        "faults_failed": float(sum(not row.passed for row in rows)),
    }
    cells = []
    for row in rows:
        if row.log is None:
            cells.append([row.fault, "", "", "", "", "", row.note])
            continue
        counted = sorted(row.statuses.items())
        statuses = ", ".join(f"{_NAMES.get(status, status)}: {n}" for status, n in counted)
        counts = [str(n) for n in (row.log.decisions, row.log.feedback, row.log.lost)]
        again = "yes" if row.recovered else "NO"
        cells.append([row.fault, statuses, *counts, str(row.log.doubled), f"{again}; {row.note}"])
    header = ["fault", "statuses", "decisions", "feedback", "lost", "doubled", "answers again"]
    section = (
        "## Faults\n\n"
        "Every fault on a server of its own, while three clients route, chat and give feedback. "
        "Afterwards the log is held against what the clients were told: an acknowledged decision "
        "or reward that it lacks is lost, a decision that it holds more often than it was asked "
        "for is doubled. A fault passes only if it showed: as a status, or in its note."
        f"\n\n{markdown_table(header, cells)}"
    )
    return TrialResult(figures, section)
