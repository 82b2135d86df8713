"""Agents: whatever decides which adapter answers a query.

``AGENTS`` maps names to classes; `make_agent` builds one and `load_agent` reads a saved one.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from routing_gym.queries.registry import resolve

if TYPE_CHECKING:
    from routing_gym.agents.agent import Agent

AGENTS: dict[str, str] = {
    "random": "routing_gym.agents.random:RandomAgent",
    "best_single": "routing_gym.agents.best_single:BestSingleAgent",
    "task_lookup": "routing_gym.agents.task_lookup:TaskLookupAgent",
    "knn": "routing_gym.agents.knn:KNNAgent",
    "gumbel": "routing_gym.agents.gumbel:GumbelAgent",
    "softmax": "routing_gym.agents.gumbel:SoftmaxAgent",
    "regression": "routing_gym.agents.gumbel:RegressionAgent",
    "ridge": "routing_gym.agents.ridge:RidgeAgent",
    "forest": "routing_gym.agents.forest:ForestAgent",
    "matrix_factorisation": ("routing_gym.agents.matrix_factorisation:MatrixFactorisationAgent"),
    "stacking": "routing_gym.agents.stacking:StackingAgent",
    "ppo": "routing_gym.agents.ppo:PPOAgent",
    "maskable_ppo": "routing_gym.agents.maskable_ppo:MaskablePPOAgent",
    "preference_ppo": "routing_gym.agents.preference_ppo:PreferencePPOAgent",
    "reinforce": "routing_gym.agents.reinforce:REINFORCEAgent",
    "epsilon_greedy": "routing_gym.agents.epsilon_greedy:EpsilonGreedyAgent",
    "linucb": "routing_gym.agents.linucb:LinUCBAgent",
    "linear_thompson": "routing_gym.agents.linear_thompson:LinearThompsonAgent",
    "bootstrapped_thompson": "routing_gym.agents.bootstrapped_thompson:BootstrappedThompsonAgent",
    "squarecb": "routing_gym.agents.squarecb:SquareCBAgent",
    "vw_squarecb": "routing_gym.agents.vowpal:VowpalSquareCBAgent",
    "vw_cover": "routing_gym.agents.vowpal:VowpalCoverAgent",
    "neural_linear": "routing_gym.agents.neural_linear:NeuralLinearAgent",
    "neural_forest": "routing_gym.agents.neural_forest:NeuralForestAgent",
    "neural_ucb": "routing_gym.agents.neural_ucb:NeuralUCBAgent",
    "neural_ts": "routing_gym.agents.neural_ts:NeuralTSAgent",
    "exp4": "routing_gym.agents.exp4:EXP4Agent",
    "oracle": "routing_gym.agents.oracle:OracleAgent",
}
"""Agent name -> class."""


def make_agent(name: str, **options: Any) -> Agent:
    """Build an untrained agent.

    Parameters
    ----------
    name
        A key of ``AGENTS``, or ``"package.module:Class"`` of outside code.
    **options
        Fields of the agent's configuration.

    Raises
    ------
    ValueError
        If the name or an option is unknown; the nearest known one is named.
    """
    agent: Agent = resolve(AGENTS, name, kind="agent")(**options)
    return agent


def load_agent(folder: Path | str) -> Agent:
    """Read a saved agent of any registered class.

    Parameters
    ----------
    folder
        What ``Agent.save`` wrote. Only registered names are imported, whatever the file says; for
        outside code call ``load`` of its class.

    Raises
    ------
    FileNotFoundError
        If the folder holds no saved agent.
    ValueError
        If it was edited or truncated, or names an agent that is not registered.
    """
    from routing_gym.agents.artefact import read_artefact

    name = read_artefact(Path(folder)).agent
    if name not in AGENTS:
        raise ValueError(
            f"{folder} holds agent {name!r}, which is not registered (known are "
            f"{', '.join(sorted(AGENTS))}): call load of its own class."
        )
    agent: Agent = resolve(AGENTS, name, kind="agent").load(folder)
    return agent
