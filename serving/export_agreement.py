"""Whether an export decides as the original does: on a whole split, with masks, from the text."""

from __future__ import annotations

from typing import Any

import numpy as np

from routing_gym.agents.agent import Agent
from routing_gym.agents.onnx_policy import OnnxPolicy
from routing_gym.envs.data import RoutingData
from routing_gym.serving.bundle import PROBABILITY_TOLERANCE
from routing_gym.serving.encoder_export import embedding_agreement
from routing_gym.serving.exploration import Exploration
from routing_gym.serving.onnx_session import open_session


def policy_scores(
    policy: OnnxPolicy, observations: np.ndarray, *, mask: np.ndarray | None = None
) -> np.ndarray:
    """Run an exported policy: float32 (N, D) to float64 (N, K); a mask is bool (N, K)."""
    rows = np.asarray(observations, dtype=np.float32)
    feeds: dict[str, Any] = {"observations": rows}
    session = open_session(policy.content)
    if policy.masked:
        width = session.get_outputs()[0].shape[1]
        feeds["mask"] = np.ones((len(rows), width), dtype=bool) if mask is None else mask
    scores: np.ndarray = session.run(["scores"], feeds)[0]
    return scores


def policy_agreement(agent: Agent, policy: OnnxPolicy, data: RoutingData) -> dict[str, float]:
    """Compare an exported policy with its agent on a split, with and without masks.

    Parameters
    ----------
    agent, policy
        The original and its export.
    data
        The split.

    Returns
    -------
    dict
        ``policy_probability_max`` and ``policy_argmax_share``; with ``masked_`` the same while
        random adapters are forbidden.

    Raises
    ------
    ValueError
        If a probability differs by more than 1e-5, or any choice.
    """
    shape, rng = data.rewards.shape, np.random.default_rng(0)
    masks = rng.random(shape) < 0.5
    masks[np.arange(shape[0]), rng.integers(shape[1], size=shape[0])] = True
    figures: dict[str, float] = {}
    for label, mask in (("policy", np.ones(shape, dtype=bool)), ("masked", masks)):
        scores = policy_scores(policy, data.observations, mask=mask)
        original = agent.probabilities(data.observations, mask=mask)
        figures |= _compared(
            Exploration("policy").apply(scores, mask, output=policy.kind),
            Exploration("policy").apply(original, mask, output="probabilities"),
            label=label,
        )
    return figures


def text_agreement(
    agent: Agent,
    policy: OnnxPolicy,
    *,
    exported: np.ndarray,
    original: np.ndarray,
    stored: np.ndarray,
) -> dict[str, float]:
    """Compare the whole way from the text with the original's.

    Parameters
    ----------
    agent, policy
        The original and its export.
    exported, original
        float32 (N, D), both encoders' embeddings of the same texts.
    stored
        float (N, D), those that the table holds, which may be rounded to float16.

    Returns
    -------
    dict
        How embeddings, probabilities (``text_``) and choices agree, and how many choices are those
        on the stored embeddings.

    Raises
    ------
    ValueError
        If a probability differs by more than 1e-5, or any choice, from the original's on the
        original encoder's embeddings.
    """
    served = Exploration("policy").apply(policy_scores(policy, exported), output=policy.kind)
    figures = embedding_agreement(exported, original)
    figures |= _compared(served, agent.probabilities(original), label="text")
    on_table = agent.probabilities(np.asarray(stored, dtype=np.float32)).argmax(axis=1)
    figures["stored_cosine_min"] = embedding_agreement(exported, stored)["cosine_min"]
    figures["stored_argmax_share"] = float((served.argmax(axis=1) == on_table).mean())
    return figures


def precision_agreement(
    policy: OnnxPolicy, *, reduced: np.ndarray, full: np.ndarray, rewards: np.ndarray, label: str
) -> dict[str, float]:
    """Measure what an encoder of fewer bits changes.

    Parameters
    ----------
    policy
        The exported policy.
    reduced, full
        float32 (N, D), embeddings of the same texts.
    rewards
        float (N, K), of these texts.
    label
        Prefix of the figures.
    """
    figures = {f"{label}_{k}": v for k, v in embedding_agreement(reduced, full).items()}
    few, many = (
        Exploration().apply(policy_scores(policy, rows), output=policy.kind).argmax(axis=1)
        for rows in (reduced, full)
    )
    rows = np.arange(len(few))
    difference = rewards[rows, few].mean(dtype=float) - rewards[rows, many].mean(dtype=float)
    figures[f"{label}_argmax_share"] = float((few == many).mean())
    return figures | {f"{label}_reward_difference": float(difference)}


def _compared(served: np.ndarray, original: np.ndarray, *, label: str) -> dict[str, float]:
    """Compare distributions (N, K), or refuse them."""
    error = float(np.abs(served - original).max())
    same = served.argmax(axis=1) == original.argmax(axis=1)
    if error > PROBABILITY_TOLERANCE or not same.all():
        raise ValueError(
            f"the export ({label}) differs from the agent on the test split by {error:.2g} in "
            f"probability, in {int((~same).sum())} of {len(same)} choices; allowed are "
            f"{PROBABILITY_TOLERANCE} and none. Nothing was written: train with another seed, or "
            "report it as a defect of the export."
        )
    return {f"{label}_probability_max": error, f"{label}_argmax_share": float(same.mean())}
