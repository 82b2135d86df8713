"""What can be asked of AdapterCache-v0: what stays in memory, and what answers and swaps cost."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from routing_gym.adapters.profile import DEFAULT_PROFILE, PoolProfile
from routing_gym.adapters.spec import BASE
from routing_gym.envs.data import RoutingData
from routing_gym.envs.scenario import require_number

Profile = PoolProfile | str | os.PathLike[str] | Mapping[str, float]


def resident_of(adapters: tuple[str, ...], resident: Sequence[str] | None) -> np.ndarray:
    """Mark the adapters that need no slot: by default the bare base model, where there is one.

    Parameters
    ----------
    adapters
        Names, length K.
    resident
        Names, or None for the default.

    Returns
    -------
    np.ndarray
        bool (K,).

    Raises
    ------
    ValueError
        If a name is unknown.
    """
    if resident is None:
        resident = (BASE,) if BASE in adapters else ()
    if isinstance(resident, str) or not isinstance(resident, Sequence):
        raise ValueError(f"resident={resident!r} must be a list of names, such as ['base'].")
    for name in resident:
        if name not in adapters:
            raise ValueError(
                f"resident={list(resident)!r} names {name!r}, which is none of "
                f"{', '.join(adapters)}."
            )
    return np.isin(adapters, list(resident))


def values_of(data: RoutingData, value: str) -> np.ndarray:
    """Take what an answer is worth, float64 (N, K): the reward, or one score.

    Raises
    ------
    ValueError
        If there is no such score, or it is not finite.
    """
    if value != "reward" and value not in data.scores:
        raise ValueError(
            f"value={value!r} must be 'reward' or a score of the table: "
            f"{', '.join(sorted(data.scores)) or 'it has none'}."
        )
    worth = data.rewards if value == "reward" else data.scores[value]
    if not np.isfinite(worth).all():
        raise ValueError(f"value={value!r} is not finite for every answer: score the table first.")
    return worth.astype(np.float64)


def swap_seconds_of(
    adapters: tuple[str, ...], always_resident: np.ndarray, profile: Profile | None
) -> np.ndarray:
    """Read what a swap takes, float64 (K,), from a profile, its file, or a plain mapping.

    Parameters
    ----------
    adapters
        Names, length K.
    always_resident
        bool (K,), the adapters that are never swapped; they take 0 seconds.
    profile
        See `routing_gym.envs.adapter_cache.AdapterCacheEnv`.

    Raises
    ------
    ValueError
        If an adapter's seconds are missing or no finite number of at least 0.
    FileNotFoundError
        If the file does not exist.
    """
    swapped = [name for name, kept in zip(adapters, always_resident, strict=True) if not kept]
    if isinstance(profile, Mapping):
        for name in swapped:
            if name not in profile:
                raise ValueError(
                    f"profile has no seconds of adapter {name!r} (it has "
                    f"{', '.join(map(str, profile))}): add them."
                )
        seconds = {name: require_number(f"profile[{name!r}]", profile[name]) for name in swapped}
    else:
        if profile is not None and not isinstance(profile, (PoolProfile, str, os.PathLike)):
            raise ValueError(
                f"profile={profile!r} must be a path, a PoolProfile, or adapter -> seconds."
            )
        if not isinstance(profile, PoolProfile):
            profile = PoolProfile.load(DEFAULT_PROFILE if profile is None else Path(profile))
        seconds = profile.swap_seconds(swapped)
    found = np.array([seconds.get(name, 0.0) for name in adapters])
    if not np.isfinite(found).all():
        raise ValueError(f"profile holds {found.tolist()} seconds: give finite ones.")
    return found
