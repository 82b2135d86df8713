"""A real PostgreSQL, where the environment names one: `.ci/postgres.sh` starts it."""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Iterator

import pytest

URL = os.environ.get("ROUTING_GYM_POSTGRES_URL", "")
needs_postgres = pytest.mark.skipif(
    not URL, reason="ROUTING_GYM_POSTGRES_URL names no server: see .ci/postgres.sh"
)


@contextlib.contextmanager
def fresh_database() -> Iterator[str]:
    """Make an empty database and drop it afterwards; yields its URL."""
    import psycopg

    name = f"test_{uuid.uuid4().hex}"
    with psycopg.connect(URL, autocommit=True) as server:
        server.execute(f"CREATE DATABASE {name}")
    try:
        yield f"{URL.rsplit('/', 1)[0]}/{name}"
    finally:
        with psycopg.connect(URL, autocommit=True) as server:
            server.execute(f"DROP DATABASE {name} WITH (FORCE)")
