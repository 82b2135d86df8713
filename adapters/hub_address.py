"""Addresses of folders on the Hugging Face hub: ``hf://owner/name/folder``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

PREFIX = "hf://"
RepositoryKind = Literal["model", "dataset", "space"]
_PREFIXES: dict[RepositoryKind, str] = {"model": "", "dataset": "datasets/", "space": "spaces/"}


@dataclass(frozen=True)
class HubFolder:
    """A folder of a repository of the hub.

    Parameters
    ----------
    repository
        ``owner/name``.
    path
        Of the folder; empty is the whole repository.
    revision
        Branch, tag or commit; empty is the default branch.
    kind
        What the repository holds.
    """

    repository: str
    path: str = ""
    revision: str = ""
    kind: RepositoryKind = "model"

    @classmethod
    def parse(cls, address: str) -> HubFolder:
        """Read ``hf://[datasets/|spaces/]owner/name[@revision][/path]``.

        Raises
        ------
        ValueError
            If it names no repository, or the path leaves it.
        """
        first, _, below = address.removeprefix(PREFIX).partition("/")
        kind = next((kind for kind, prefix in _PREFIXES.items() if prefix == f"{first}/"), None)
        owner, _, rest = below.partition("/") if kind else (first, "", below)
        name, _, path = rest.partition("/")
        name, _, revision = name.partition("@")
        if not address.startswith(PREFIX) or not owner or not name or ".." in path.split("/"):
            raise ValueError(
                f"address={address!r} is no repository folder: write hf://owner/name, "
                "hf://owner/name@revision or hf://owner/name/folder; for other than models "
                "hf://datasets/owner/name or hf://spaces/owner/name."
            )
        return cls(f"{owner}/{name}", path.strip("/"), revision, kind or "model")

    def inside(self, name: str) -> str:
        """Return the repository's path of a file of the folder."""
        return f"{self.path}/{name}" if self.path else name

    def __str__(self) -> str:
        revision = f"@{self.revision}" if self.revision else ""
        path = f"/{self.path}" if self.path else ""
        return f"{PREFIX}{_PREFIXES[self.kind]}{self.repository}{revision}{path}"
