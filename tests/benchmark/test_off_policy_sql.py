from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from routing_gym.benchmark.off_policy_evaluation import evaluate_log
from routing_gym.benchmark.off_policy_files import read_log
from routing_gym.benchmark.off_policy_result import OffPolicySettings
from routing_gym.benchmark.off_policy_sql import LogPart, read_sql_log
from routing_gym.benchmark.off_policy_tables import database_url, hide_password, is_database
from tests.benchmark.off_policy_logs import logged
from tests.postgres import fresh_database, needs_postgres
from tests.serving.decision_rows import ADAPTERS, START, record, records_of, written
from tests.synthetic import identity_table

REWARDS = [("d0", 0.25, "self_evaluation"), ("d1", 0.5, "self_evaluation"), ("d1", 1.0, "user")]
ALONE = {"eligible": (False, True, False), "propensity": 1.0, "propensities": (0.0, 1.0, 0.0)}


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=needs_postgres)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A place for a log."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'decisions.db'}"
    else:
        with fresh_database() as fresh:
            yield fresh


def test_a_log_survives_the_database(url: str) -> None:
    log = logged(identity_table(n=60).data("test"), decisions=40)
    assert log.observations is not None
    log.rewards[3] = np.nan
    log.fallbacks[5] = True
    names = log.decision_ids.tolist()
    given = [(n, float(r), "user") for n, r in zip(names, log.rewards, strict=True) if r == r]
    written(url, records_of(log), given)
    again = read_log(url)
    assert again.adapters == log.adapters
    assert again.pool_fingerprint == log.pool_fingerprint
    for name in ("decision_ids", "actions", "fallbacks", "propensities", "rewards"):
        np.testing.assert_array_equal(getattr(again, name), getattr(log, name))
    for name in ("all_propensities", "observations"):
        np.testing.assert_array_equal(getattr(again, name), getattr(log, name))
    assert again.times[1] == "2025-01-31T12:00:01.000000+00:00"
    assert again.policy_versions.tolist() == ["0123456789ab"] * 40
    assert again.encoder == "stand-in"
    assert again.queries is None
    assert again.query_ids is not None
    assert again.query_ids[0] == hashlib.sha256(b"query of d0").hexdigest()
    assert again.eligible is not None
    assert again.eligible.all()


@pytest.mark.parametrize(
    ("rewards", "expected"),
    [
        ("any", [0.25, 1.0, None]),
        ("user", [None, 1.0, None]),
        ("self_evaluation", [0.25, 0.5, None]),
    ],
)
def test_a_users_reward_outranks_the_evaluators(
    url: str, rewards: str, expected: list[float | None]
) -> None:
    written(url, [record(f"d{i}") for i in range(3)], REWARDS)
    found = read_sql_log(url, LogPart(rewards=rewards)).rewards
    assert [None if value != value else value for value in found.tolist()] == expected


def test_fallbacks_are_marked_and_their_propensity_may_be_anything(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    stand_in = {"fallback": True, "propensities": (0.0, 0.5, 0.5), "action": 0}
    rows = [
        record("d0"),
        record("d1", propensity=0.0, **stand_in),
        record("d2", propensity=float("nan"), **stand_in),
        record("d3", fallback=True),
    ]
    written(str(path), rows)
    log = read_log(path)
    assert log.fallbacks.tolist() == [False, True, True, True]
    np.testing.assert_array_equal(log.propensities, [0.5, np.nan, np.nan, 0.5])


def test_where_one_adapter_was_eligible_nobody_decided(tmp_path: Path) -> None:
    path = tmp_path / "log.sqlite"
    written(str(path), [record("d0"), record("d1", **ALONE, embedding=None), record("d2")])
    assert read_log(path).decision_ids.tolist() == ["d0", "d2"]


def test_parts_of_a_log(tmp_path: Path) -> None:
    path = str(tmp_path / "log.db")
    rows = [
        record("d0", policy_name="first"),
        record("d1", policy_version="another", time=START + timedelta(hours=1)),
        record("d2", pool_fingerprint="foreign", time=START + timedelta(hours=2)),
    ]
    written(path, rows)
    with pytest.raises(ValueError, match=r"mixes decisions of 2 pools: 'foreign' of .*'pool' of"):
        read_sql_log(path)

    def names(**part: Any) -> list[str]:
        return list(read_sql_log(path, LogPart(**part)).decision_ids)

    assert names(pool="pool") == ["d0", "d1"]
    assert names(pool="foreign") == ["d2"]
    assert names(pool="pool", policy="first") == ["d0"]
    assert names(policy="another") == ["d1"]
    assert names(since="2025-01-31T15:00:00+01:00") == ["d2"]
    with pytest.raises(ValueError, match="holds no decision policy='third': log"):
        names(policy="third")


def test_encoders_are_not_mixed(tmp_path: Path) -> None:
    path = str(tmp_path / "log.db")
    later = {"encoder": "other", "policy_version": "v2", "time": START + timedelta(hours=1)}
    written(path, [record("d0"), record("d1", **later)])
    with pytest.raises(ValueError, match=r"mixes encoders 'other', 'stand-in': .* by 'policy' or"):
        read_sql_log(path)
    assert read_sql_log(path, LogPart(policy="v2")).encoder == "other"


def test_a_log_without_embeddings_may_mix_encoders(tmp_path: Path) -> None:
    path = str(tmp_path / "log.db")
    bare = {"embedding": None}
    written(path, [record("d0", **bare), record("d1", encoder="other", **bare)])
    assert len(read_sql_log(path)) == 2


def test_clocks_may_step(tmp_path: Path) -> None:
    path = str(tmp_path / "log.db")
    hours = [3, 1, 2, -5]
    rows = [record(f"d{i}", time=START + timedelta(hours=h)) for i, h in enumerate(hours)]
    written(path, rows)
    assert read_sql_log(path).decision_ids.tolist() == ["d0", "d1", "d2", "d3"]


def test_texts_are_kept_where_they_were_asked_for(tmp_path: Path) -> None:
    path = str(tmp_path / "log.db")
    written(path, [record("d0", query="Wie viel ist 2 + 2? \U0001f600"), record("d1")])
    log = read_sql_log(path)
    assert log.queries is not None
    assert log.queries.tolist() == ["Wie viel ist 2 + 2? \U0001f600", ""]


def test_a_target_is_held_to_the_eligible_adapters(tmp_path: Path) -> None:
    path = str(tmp_path / "log.db")
    rng, rows, given = np.random.default_rng(0), [], []
    for i in range(400):
        eligible = (True, True, i % 2 == 0)
        chances = np.array(eligible) / sum(eligible)
        action = int(rng.choice(3, p=chances))
        chosen = {"propensity": float(chances[action]), "propensities": tuple(chances.tolist())}
        rows.append(record(f"d{i}", eligible=eligible, action=action, **chosen, embedding=None))
        given.append((f"d{i}", (0.0, 0.25, 1.0)[action], "user"))
    written(path, rows, given)
    log = read_sql_log(path)
    always = np.eye(3)[np.full(400, 2)]  # where the third is down, the others share its mass
    settings = OffPolicySettings(resamples=100)
    found = evaluate_log(log, always, settings=settings)
    assert found.refusals == ()
    assert found.best.normal.low < (1.0 + 0.125) / 2 < found.best.normal.high
    assert found.overlap.unsupported == 0


def test_all_forms_of_an_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    written("sqlite:///log.sqlite3", [record("d0")])
    for form in ("log.sqlite3", "sqlite:///log.sqlite3", f"sqlite:///{tmp_path}/log.sqlite3"):
        assert len(read_log(form)) == 1
    assert database_url("postgresql://me@host/db").drivername == "postgresql+psycopg"
    assert database_url("postgres://me@host/db").drivername == "postgresql+psycopg"
    assert not is_database("log.jsonl")


@pytest.mark.parametrize(
    ("log", "message"),
    [
        ("nothing.db", "log .*nothing.db' does not exist"),
        ("foreign.db", "foreign.db is no decision log: it holds the tables shop of something else"),
        ("text.db", "text.db is no readable database: file is not a database"),
        ("empty.db", "empty.db holds no decision: log some"),
        ("begun.db", "begun.db holds no decision: log some"),
        ("alone.db", "alone.db holds no choice: in all 2 decisions a single adapter was eligible"),
        ("version.db", "is a decision log of schema version 99, this program reads and writes ver"),
        ("damaged.db", "damaged.db is a damaged decision log: it lacks the tables feedback"),
        ("lengths.db", "embeddings of different lengths"),
        ("some.db", "or of some decisions only"),
        ("mysql://me:secret@host/db", "log 'mysql://...' is of an unknown kind: give a file"),
        ("sqlite://", "names no file: an in-memory log is lost"),
        ("sqlite:///:memory:", "names no file"),
        ("postgresql://me:secret@host:port/db", "log 'postgresql://...' is no database URL"),
    ],
)
def test_what_cannot_be_read_is_refused(broken: Path, log: str, message: str) -> None:
    place = log if "://" in log else str(broken / log)
    with pytest.raises((ValueError, OSError), match=message) as caught:
        read_log(place)
    assert "secret" not in str(caught.value)


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Databases that are no logs, or no good ones."""
    folder = tmp_path_factory.mktemp("broken")
    with sqlite3.connect(folder / "foreign.db") as foreign:
        foreign.execute("CREATE TABLE shop (price REAL)")
    (folder / "text.db").write_text("This is no database. " * 100)
    sqlite3.connect(folder / "empty.db").close()
    (folder / "empty.db").touch()
    for name in ("begun", "version", "damaged"):
        written(str(folder / f"{name}.db"), [])
    with sqlite3.connect(folder / "version.db") as other:
        other.execute("UPDATE routing_gym_log SET version = 99")
    with sqlite3.connect(folder / "damaged.db") as damaged:
        damaged.execute("DROP TABLE feedback")
    longer = np.zeros(8, dtype="<f4").tobytes()
    written(str(folder / "lengths.db"), [record("d0"), record("d1", embedding=longer)])
    written(str(folder / "alone.db"), [record("d0", **ALONE), record("d1", **ALONE)])
    written(str(folder / "some.db"), [record("d0"), record("d1", embedding=None)])
    return folder


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ({"rewards": "users"}, "rewards='users' must be one of user, self_evaluation, any"),
        ({"since": "yesterday"}, "since='yesterday' must be ISO 8601 with an offset"),
        ({"since": "2025-01-31T12:00:00"}, "must be ISO 8601 with an offset"),
    ],
)
def test_wrong_parts(part: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LogPart(**part)


def test_a_file_has_no_parts(tmp_path: Path) -> None:
    message = "is read whole: only a database has parts; leave out rewards='user'"
    with pytest.raises(ValueError, match=message):
        read_log(tmp_path / "log.jsonl", LogPart(rewards="user"))


@pytest.mark.parametrize(
    ("log", "shown"),
    [
        ("runs/decisions.db", "runs/decisions.db"),
        ("sqlite:///decisions.db", "sqlite:///decisions.db"),
        ("postgresql://me@host/db", "postgresql://me@host/db"),
        ("postgresql://me:secret@host/db", "postgresql://me:***@host/db"),
        ("postgresql://host/db?user=me&password=secret", "postgresql://host/db?password=***&"),
        ("postgresql://host/db?sslpassword=secret", "postgresql://host/db?sslpassword=***"),
        ("postgresql://host/db?SSLPassword=secret", "postgresql://host/db?SSLPassword=***"),
        ("postgresql://host/db?sslpass%77ord=secret", "postgresql://host/db?sslpassword=***"),
        ("postgresql://host/db?sslpassword=secret&sslpassword=secret2", "postgresql://host/db?"),
        ("postgresql://host/db?sslmode=require", "postgresql://host/db?sslmode=require"),
        ("postgresql://me:secret@host:port/db", "postgresql://***"),
    ],
)
def test_passwords_are_not_shown(log: str, shown: str) -> None:
    assert hide_password(log).startswith(shown) or "secret" not in hide_password(log)
    assert "secret" not in hide_password(log)


def test_the_pool_is_that_of_the_log(tmp_path: Path) -> None:
    written(str(tmp_path / "log.db"), [record("d0")])
    assert read_log(tmp_path / "log.db").adapters == ADAPTERS
