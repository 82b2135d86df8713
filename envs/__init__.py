"""The decision problems: outcome tables, and the Gymnasium environments that are played on them."""

from __future__ import annotations

import gymnasium as gym

ROUTING = "RoutingGym/Routing-v0"
CASCADE = "RoutingGym/Cascade-v0"
BUDGET = "RoutingGym/Budget-v0"
ADAPTER_CACHE = "RoutingGym/AdapterCache-v0"
DRIFT = "RoutingGym/Drift-v0"
PREFERENCE = "RoutingGym/Preference-v0"
LIVE = "RoutingGym/Live-v0"

ENVS: dict[str, str] = {
    ROUTING: "routing_gym.envs.routing:RoutingEnv",
    CASCADE: "routing_gym.envs.cascade:CascadeEnv",
    BUDGET: "routing_gym.envs.budget:BudgetEnv",
    ADAPTER_CACHE: "routing_gym.envs.adapter_cache:AdapterCacheEnv",
    DRIFT: "routing_gym.envs.drift:DriftEnv",
    PREFERENCE: "routing_gym.envs.preference:PreferenceEnv",
    LIVE: "routing_gym.envs.live:LiveEnv",
}
"""Id of an environment -> class."""
VECTOR_ENVS: dict[str, str] = {
    ROUTING: "routing_gym.envs.routing_vector:RoutingVectorEnv",
    CASCADE: "routing_gym.envs.cascade:CascadeVectorEnv",
    BUDGET: "routing_gym.envs.budget:BudgetVectorEnv",
    ADAPTER_CACHE: "routing_gym.envs.adapter_cache:AdapterCacheVectorEnv",
    DRIFT: "routing_gym.envs.drift:DriftVectorEnv",
    PREFERENCE: "routing_gym.envs.preference:PreferenceVectorEnv",
    LIVE: "routing_gym.envs.live:LiveVectorEnv",
}
"""Id of an environment -> its natively vectorised twin."""


def register_envs() -> None:
    """Make every environment known to ``gymnasium.make`` and ``gymnasium.make_vec``, once."""
    for name, entry_point in ENVS.items():
        if name not in gym.registry:
            gym.register(name, entry_point=entry_point, vector_entry_point=VECTOR_ENVS[name])


register_envs()
