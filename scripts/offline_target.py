"""What a policy would have done on every logged decision: agents, bundles and fixed policies."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from routing_gym.agents import load_agent
from routing_gym.agents.artefact import DESCRIPTION_FILE
from routing_gym.benchmark.off_policy import check_distributions
from routing_gym.benchmark.off_policy_log import DecisionLog
from routing_gym.queries.registry import resolve

if TYPE_CHECKING:
    from routing_gym.agents.agent import Agent
    from routing_gym.serving.bundle import RoutedDecision

GREEDY, SAMPLED = "greedy", "sampled"
UNIFORM, LOGGED = "uniform", "logged"
BUNDLE_FILE = "manifest.json"

Target = tuple[str, np.ndarray]
Policy = Callable[[np.ndarray], np.ndarray]


def offline_target(policy: str, log: DecisionLog, *, decisions: str, seed: int = 0) -> Target:
    """Ask a policy for its probabilities on every logged context.

    Parameters
    ----------
    policy
        "uniform", "logged", an adapter's name, the folder of a saved agent, of a training run or of
        a bundle, or "package.module:function".
    log
        The decisions.
    decisions
        How an agent or a bundle decides: "greedy", or "sampled" from its distribution (a bundle
        explores as its manifest says).
    seed
        Of what an agent draws.

    Returns
    -------
    tuple[str, np.ndarray]
        The policy's name, and float64 (N, K).

    Raises
    ------
    ValueError
        If the policy is of another pool or encoder, is unknown, needs what the log lacks, or its
        probabilities are none.
    """
    k = len(log.adapters)
    if policy == UNIFORM:
        return UNIFORM, np.full((len(log), k), 1 / k)
    if policy in log.adapters:
        return f"always {policy}", np.eye(k)[np.full(len(log), log.adapters.index(policy))]
    if policy == LOGGED:
        if log.all_propensities is None:
            raise ValueError(
                "policy='logged' needs the propensities of all adapters: log 'propensities'."
            )
        return LOGGED, log.all_propensities
    if ":" not in policy and ("/" in policy or Path(policy).is_dir()):
        return saved_target(policy, log, decisions=decisions, seed=seed)
    return _function_target(policy, log)


def saved_target(run: str, log: DecisionLog, *, decisions: str, seed: int = 0) -> Target:
    """Ask a saved agent or a bundle; parameters, result and errors as in `offline_target`."""
    folder = saved_folder(run)
    if (folder / BUNDLE_FILE).is_file() and not (folder / DESCRIPTION_FILE).is_file():
        return _bundle_target(folder, log, decisions=decisions, seed=seed)
    agent: Agent = load_agent(folder)
    fingerprint = str(agent.metadata.get("pool_fingerprint", ""))
    owner = f"agent {agent.name!r} of {run!r}"
    log.check_pool(agent.adapters, fingerprint, owner=owner)
    contexts = _contexts(log, f"agent {agent.name!r}")
    log.check_encoder(str(agent.metadata.get("encoder", "")), owner=owner)
    rng = np.random.default_rng(seed) if decisions == SAMPLED else None
    decision = agent.decide(contexts, rng=rng, mask=log.eligible)
    return f"{agent.name} ({decisions})", decision.probabilities


def saved_folder(run: str) -> Path:
    """Find the saved agent of a folder that is one or holds one as ``policy``."""
    folder = Path(run)
    inner = folder / "policy"
    return inner if (inner / DESCRIPTION_FILE).is_file() else folder


def _bundle_target(folder: Path, log: DecisionLog, *, decisions: str, seed: int) -> Target:
    """Ask a bundle, which answers for its fallbacks too."""
    from routing_gym.serving.bundle import PolicyBundle  # onnxruntime is an extra
    from routing_gym.serving.exploration import Exploration

    bundle = PolicyBundle.load(folder)
    fingerprint = str(bundle.manifest.pool_fingerprint)
    owner = f"bundle {bundle.name!r} of {str(folder)!r}"
    log.check_pool(bundle.adapters, fingerprint, owner=owner)
    contexts = _contexts(log, f"bundle {bundle.name!r}")
    log.check_encoder(bundle.manifest.encoder.name, owner=owner)
    if decisions == SAMPLED:
        rng = np.random.default_rng(seed)
        routed = bundle.decide_embedded(contexts, rng=rng, mask=log.eligible)
    else:
        greedy = Exploration("greedy")
        routed = bundle.decide_embedded(contexts, mask=log.eligible, exploration=greedy)
    return f"{bundle.name} ({decisions})", _deployed(routed)


def _deployed(routed: RoutedDecision) -> np.ndarray:
    """Probabilities with which each adapter would have answered: a fallback is certain."""
    certain = np.eye(len(routed.adapters))[routed.actions]
    probabilities: np.ndarray = np.where(routed.fallbacks[:, None], certain, routed.probabilities)
    return probabilities


def _function_target(policy: str, log: DecisionLog) -> Target:
    """Ask a function of outside code."""
    known = {name: "" for name in (UNIFORM, LOGGED, *log.adapters)}
    function: Policy = resolve(known, policy, kind="policy")
    probabilities = np.asarray(function(_contexts(log, policy)), dtype=np.float64)
    shape = (len(log), len(log.adapters))
    if probabilities.shape != shape:
        raise ValueError(
            f"policy {policy!r} returned shape {probabilities.shape}, not (N, K) = {shape}."
        )
    check_distributions(probabilities, name=f"policy {policy!r}")
    return policy, probabilities


def _contexts(log: DecisionLog, owner: str) -> np.ndarray:
    """Return the logged embeddings, or say that there are none."""
    if log.observations is None:
        raise ValueError(
            f"{owner} decides on embeddings and the log holds none: log 'embedding', or log "
            "'query_id' and give --table."
        )
    return log.observations
