"""A trained agent on disk: ``agent.json`` beside ``weights.safetensors``, and no pickle."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays

from routing_gym.adapters.folder import replaced_folder

FORMAT = 1
DESCRIPTION_FILE = "agent.json"
WEIGHTS_FILE = "weights.safetensors"


@dataclass(frozen=True)
class Artefact:
    """Everything that a saved agent consists of.

    Parameters
    ----------
    agent
        The agent's registry name.
    adapters
        Adapter names, length K; the position is the action id.
    num_features
        D, the width of the embeddings.
    config
        The fields of the agent's configuration.
    state
        What was learned, as far as JSON holds it.
    metadata
        What the caller keeps beside the policy.
    arrays
        What was learned, as named arrays of any shape.
    """

    agent: str
    adapters: tuple[str, ...]
    num_features: int
    config: Mapping[str, Any]
    state: Mapping[str, Any] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)


def write_artefact(folder: Path, artefact: Artefact) -> None:
    """Write both files to a sibling folder, then move it into place.

    Parameters
    ----------
    folder
        Replaced if it holds a saved agent or nothing.
    artefact
        What to write.

    Raises
    ------
    ValueError
        If the folder holds files that are no saved agent.
    """
    if folder.exists() and not _is_replaceable(folder):
        raise ValueError(f"{folder} holds other files: save the agent to a folder of its own.")
    weights = save_arrays({k: np.ascontiguousarray(v) for k, v in artefact.arrays.items()})
    description = {
        "format": FORMAT,
        "agent": artefact.agent,
        "adapters": list(artefact.adapters),
        "num_features": artefact.num_features,
        "config": dict(artefact.config),
        "state": dict(artefact.state),
        "metadata": dict(artefact.metadata),
        "weights_sha256": hashlib.sha256(weights).hexdigest(),
    }
    text = json.dumps(description, indent=2) + "\n"
    with replaced_folder(folder) as draft:
        (draft / WEIGHTS_FILE).write_bytes(weights)
        (draft / DESCRIPTION_FILE).write_text(text, encoding="utf-8")


def read_artefact(folder: Path) -> Artefact:
    """Read and verify both files.

    Parameters
    ----------
    folder
        What ``write_artefact`` wrote.

    Returns
    -------
    Artefact
        With read-only-safe copies of the arrays.

    Raises
    ------
    FileNotFoundError
        If one of the two files is missing.
    ValueError
        If a file is not readable as what it should be, of another format, or was changed.
    """
    path = folder / DESCRIPTION_FILE
    for file in (path, folder / WEIGHTS_FILE):
        if not file.is_file():
            raise FileNotFoundError(f"{file} is missing: give a folder that Agent.save wrote.")
    try:
        description = json.loads(path.read_text(encoding="utf-8"))
        if description["format"] != FORMAT:
            raise ValueError(
                f"{path} has format {description['format']}, this version reads {FORMAT}: train "
                "and save the agent again."
            )
        weights = (folder / WEIGHTS_FILE).read_bytes()
        if hashlib.sha256(weights).hexdigest() != description["weights_sha256"]:
            raise ValueError(
                f"{folder / WEIGHTS_FILE} is not the file that {path} describes (truncated or "
                "edited): train and save the agent again."
            )
        return Artefact(
            agent=description["agent"],
            adapters=tuple(description["adapters"]),
            num_features=description["num_features"],
            config=description["config"],
            state=description["state"],
            metadata=description["metadata"],
            arrays=load_arrays(weights),
        )
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is not JSON ({error}): save the agent again.") from error
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path} lacks the entry {error}: save the agent again.") from error


def _is_replaceable(folder: Path) -> bool:
    """Whether saving over the folder destroys nothing but a saved agent."""
    if not folder.is_dir():
        return False
    return {file.name for file in folder.iterdir()} <= {DESCRIPTION_FILE, WEIGHTS_FILE}
