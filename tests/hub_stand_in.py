"""A stand-in of the Hugging Face hub on loopback, spoken to by the real client library.

It keeps repositories with their commits, takes large files the way of Git LFS, checks the front
matter of pages, and hides private repositories from those without the token.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
import yaml

TOKEN = "hf_standin"
LARGE = (".safetensors", ".onnx", ".parquet")
_REPOSITORY = re.compile(r"/(api/)?(?:(models|datasets|spaces)/)?([^/]+/[^/]+?)(\.git)?(/.*)?")


@dataclass
class Repository:
    """A repository: its commits, newest last, each with all files."""

    private: bool
    sdk: str | None = None
    commits: list[dict[str, bytes]] = field(default_factory=lambda: [{".gitattributes": b"*"}])
    messages: list[str] = field(default_factory=lambda: ["first"])
    tags: dict[str, int] = field(default_factory=dict)

    @property
    def files(self) -> dict[str, bytes]:
        """The files of the newest commit."""
        return self.commits[-1]

    def sha(self, number: int = -1) -> str:
        """Name a commit."""
        number %= len(self.commits)
        return hashlib.sha1(f"{id(self)} {number}".encode()).hexdigest()

    def number(self, revision: str) -> int | None:
        """Find a commit by branch, tag or name."""
        known = {"main": len(self.commits) - 1, **self.tags}
        known |= {self.sha(number): number for number in range(len(self.commits))}
        return known.get(revision)


class HubStandIn:
    """The server, for a ``with`` block.

    Attributes
    ----------
    repositories
        ``"models/owner/name"`` and the like -> repository.
    downloads
        Paths of files that were fetched.
    spoil
        Called with path and bytes of a download, returns the bytes to be sent; None ends the
        connection in the middle of the file.
    before_commit
        Called before a commit is taken.
    """

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.large: dict[str, bytes] = {}
        self.downloads: list[str] = []
        self.spoil: Callable[[str, bytes], bytes | None] = lambda path, content: content
        self.before_commit: Callable[[], None] = lambda: None
        handler = type("Handler", (_Handler,), {"hub": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> HubStandIn:
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def environment(self) -> dict[str, str]:
        """Variables with which another process speaks to this server."""
        return {
            "HF_ENDPOINT": self.url,
            "HF_TOKEN": TOKEN,
            "HF_HUB_OFFLINE": "0",
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
        }

    def use(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Let the client library of this process speak to this server."""
        from huggingface_hub import constants

        template = f"{self.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr(constants, "ENDPOINT", self.url)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setenv("HF_TOKEN", TOKEN)


class _Handler(BaseHTTPRequestHandler):
    """One request."""

    hub: HubStandIn
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: object) -> None:
        """Say nothing."""

    def do_HEAD(self) -> None:
        self._answer("HEAD")

    def do_GET(self) -> None:
        self._answer("GET")

    def do_PUT(self) -> None:
        self._answer("PUT")

    def do_POST(self) -> None:
        self._answer("POST")

    def _answer(self, method: str) -> None:
        path = unquote(urlsplit(self.path).path)
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        if path == "/api/repos/create":
            return self._create(json.loads(body))
        if path == "/api/validate-yaml":
            return self._validate(json.loads(body)["content"])
        if path.startswith("/lfs/"):
            self.hub.large[path.removeprefix("/lfs/")] = body
            return self._json({})
        found = _REPOSITORY.fullmatch(path)
        assert found, path
        kind, name, rest = found[2] or "models", found[3], found[5] or ""
        repository = self.hub.repositories.get(f"{kind}/{name}")
        if repository is None or (repository.private and not self._known()):
            return self._refuse(401, "RepoNotFound")
        return self._in(repository, rest, body)

    def _in(self, repository: Repository, rest: str, body: bytes) -> None:
        """Answer a request about a repository."""
        what, _, rest = rest.strip("/").partition("/")
        if what == "info":
            return self._large(json.loads(body))
        if what == "preupload":
            return self._modes(json.loads(body)["files"])
        revision, _, path = rest.partition("/")
        number = repository.number(revision or "main")
        if number is None:
            return self._refuse(404, "RevisionNotFound")
        if what == "commit":
            return self._commit(repository, body)
        if what == "resolve":
            return self._file(repository, number, path)
        files = repository.commits[number]
        if what == "tree":
            return self._json(
                [
                    {"type": "file", "path": p, "size": len(c), "oid": _oid(c)}
                    for p, c in files.items()
                ]
            )
        return self._json({"id": "me/x", "sha": repository.sha(number), "siblings": []})

    def _create(self, asked: dict[str, Any]) -> None:
        key = f"{asked.get('type') or 'model'}s/{asked['organization']}/{asked['name']}"
        if not self._known():
            return self._refuse(401, "")
        if key in self.hub.repositories:
            return self._refuse(409, "")
        private = asked.get("private") or asked.get("visibility") == "private"
        self.hub.repositories[key] = Repository(private=bool(private), sdk=asked.get("sdk"))
        return self._json({"url": f"{self.hub.url}/{key.removeprefix('models/')}"})

    def _validate(self, content: str) -> None:
        assert content.startswith("---\n")
        assert isinstance(yaml.safe_load(content.split("---\n")[1]), dict)
        self._json({"errors": [], "warnings": []})

    def _large(self, asked: dict[str, Any]) -> None:
        """Tell where large files are to be put."""
        objects = [
            {**entry, "actions": {"upload": {"href": f"{self.hub.url}/lfs/{entry['oid']}"}}}
            for entry in asked["objects"]
        ]
        self._json({"transfer": "basic", "objects": objects})

    def _modes(self, files: list[dict[str, Any]]) -> None:
        """Tell which files are large."""
        modes = [
            {
                "path": file["path"],
                "uploadMode": "lfs" if file["path"].endswith(LARGE) else "regular",
                "shouldIgnore": False,
            }
            for file in files
        ]
        self._json({"files": modes})

    def _commit(self, repository: Repository, body: bytes) -> None:
        """Take all operations or none."""
        self.hub.before_commit()
        files, message = dict(repository.files), ""
        for line in filter(None, body.split(b"\n")):
            entry = json.loads(line)
            value = entry["value"]
            if entry["key"] == "header":
                message = value["summary"]
                if value.get("parentCommit") != repository.sha():
                    return self._refuse(412, "")
            elif entry["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif entry["key"] == "lfsFile":
                content = self.hub.large[value["oid"]]
                assert hashlib.sha256(content).hexdigest() == value["oid"]
                files[value["path"]] = content
            else:
                assert entry["key"] == "deletedFile", entry["key"]
                del files[value["path"]]
        repository.commits.append(files)
        repository.messages.append(message)
        return self._json(
            {"commitUrl": f"{self.hub.url}/a/b/commit/c", "commitOid": repository.sha()}
        )

    def _file(self, repository: Repository, number: int, path: str) -> None:
        """Send a file, or only its description."""
        content = repository.commits[number].get(path)
        if content is None:
            return self._refuse(404, "EntryNotFound")
        sent: bytes | None = content
        if self.command == "GET":
            self.hub.downloads.append(path)
            sent = self.hub.spoil(path, content)
        self.send_response(200)
        self.send_header("ETag", f'"{_oid(content)}"')
        self.send_header("X-Repo-Commit", repository.sha(number))
        self.send_header("Content-Length", str(len(content if sent is None else sent)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content[: len(content) // 2] if sent is None else sent)
            self.close_connection = self.close_connection or sent is None
        return None

    def _known(self) -> bool:
        """Whether the request carries the token."""
        return self.headers.get("authorization") == f"Bearer {TOKEN}"

    def _json(self, content: object) -> None:
        data = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _refuse(self, status: int, code: str) -> None:
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        data = json.dumps({"url": f"{self.hub.url}/a/b"}).encode()
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)


def _oid(content: bytes) -> str:
    return hashlib.sha1(content).hexdigest()
