"""The decision problems: outcome tables, and the Gymnasium environments that are played on them."""

from __future__ import annotations

import gymnasium as gym

ROUTING = "RoutingGym/Routing-v0"

ENVS: dict[str, str] = {
    ROUTING: "routing_gym.envs.routing:RoutingEnv",
}
VECTOR_ENVS: dict[str, str] = {
    ROUTING: "routing_gym.envs.routing_vector:RoutingVectorEnv",
}


def register_envs() -> None:
    """Make every environment known to ``gymnasium.make`` and ``gymnasium.make_vec``, once."""
    for name, entry_point in ENVS.items():
        if name not in gym.registry:
            gym.register(name, entry_point=entry_point, vector_entry_point=VECTOR_ENVS[name])


register_envs()
