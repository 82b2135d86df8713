"""A table's answers scored again: new columns, and everything else as it was."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from routing_gym.envs.columns import OUTCOME_DTYPES, QUERY_DTYPES
from routing_gym.envs.manifest import MetricRecord
from routing_gym.envs.scoring import (
    LEARNED,
    TABLE_METRICS,
    answers_of,
    cells_of,
    columns_to_score,
    metric_records,
    queries_of,
    score_in_parts,
    stored_judgement,
    with_scores,
)
from routing_gym.envs.table import OutcomeTable
from routing_gym.rewards.evaluator import SelfEvaluator
from routing_gym.rewards.registry import METRICS
from tests.synthetic import identity_table

NAMES = ("safety", "p_true", "base_likelihood", "tokens")


@pytest.fixture(scope="module")
def table() -> OutcomeTable:
    made = identity_table(n=20, k=3)
    columns = {"quality": made.scores["accuracy"], "outside": made.scores["safety"]}
    metrics = {**made.manifest.metrics, **{name: MetricRecord() for name in columns}}
    return replace(
        made, scores={**made.scores, **columns}, manifest=replace(made.manifest, metrics=metrics)
    )


def test_learned_metrics_enter_a_table_later() -> None:
    assert set(LEARNED) <= set(METRICS)
    assert set(TABLE_METRICS) | set(LEARNED) == set(METRICS)


def test_queries_and_cells_are_read_back(table: OutcomeTable) -> None:
    queries, cells = queries_of(table), cells_of(table)
    for name in QUERY_DTYPES:
        assert [getattr(q, name) for q in queries] == getattr(table, name).tolist()
    assert tuple(cells) == table.adapters
    for arm, own in enumerate(cells.values()):
        assert [cell.query_id for cell in own.values()] == table.query_id.tolist()
        assert [cell.response for cell in own.values()] == table.responses[:, arm].tolist()
        for name in set(OUTCOME_DTYPES) - {"responses"}:
            found = [getattr(cell, name) for cell in own.values()]
            assert found == getattr(table, name)[:, arm].tolist()


def test_answers_carry_every_measurement(table: OutcomeTable) -> None:
    queries, cells = queries_of(table), cells_of(table)
    first = cells["adapter_1"][queries[0].query_id]
    cells["adapter_1"][queries[0].query_id] = replace(
        first, token_log_probs=(-0.5, -1.0), token_entropies=(0.1, 0.2)
    )
    shape = (len(table), 3)
    likelihoods = -np.arange(60, dtype=np.float64).reshape(shape) + 1e-9
    p_true = np.arange(60).reshape(shape) / 60
    answers = answers_of(queries, cells, likelihoods=likelihoods, p_true=p_true)
    assert [a.response for a in answers] == table.responses.ravel().tolist()
    assert [a.query for a in answers[:4]] == [queries[0].text] * 3 + [queries[1].text]
    assert [a.log_likelihood for a in answers[:3]] == [0.0, -1 + 1e-9, -2 + 1e-9]
    assert [a.p_true for a in answers] == p_true.ravel().tolist()
    assert answers[1].token_log_probs == (-0.5, -1.0)
    assert answers[1].token_entropies == (0.1, 0.2)
    assert answers[0].token_log_probs is None
    assert answers[5].completion_tokens == table.completion_tokens[1, 2]
    bare = answers_of(queries, cells)[7]
    assert bare.p_true is None
    assert bare.log_likelihood is None


def test_parts_give_the_same_scores(table: OutcomeTable) -> None:
    evaluator = SelfEvaluator(("completeness", "safety", "tokens"))
    answers = answers_of(queries_of(table), cells_of(table))
    ticks: list[int] = []
    parts = score_in_parts(evaluator, answers, rows=25, on_rows=ticks.append)
    assert ticks == [25, 25, 10]
    for name, values in evaluator.evaluate_batch(answers).items():
        np.testing.assert_array_equal(parts[name], values)


def test_only_the_scored_columns_change(table: OutcomeTable, tmp_path: Path) -> None:
    evaluator = SelfEvaluator(NAMES)
    scores = {name: np.full((20, 3), 0.25) for name in NAMES}
    scored = with_scores(
        table,
        scores,
        records=metric_records(evaluator),
        keep=["relevance"],
        note={"metrics": list(NAMES)},
    )
    for name in (*QUERY_DTYPES, *OUTCOME_DTYPES, "embeddings"):
        np.testing.assert_array_equal(getattr(scored, name), getattr(table, name))
    for name in ("accuracy", "accuracy_strict", "relevance", "outside"):
        np.testing.assert_array_equal(scored.scores[name], table.scores[name])
    for name in NAMES:
        assert (scored.scores[name] == 0.25).all()
    assert set(scored.scores) == {
        *NAMES,
        "accuracy",
        "accuracy_strict",
        "relevance",
        "outside",
    }  # what was neither scored nor kept is gone, the learned column too
    assert scored.directions["tokens"] == "lower"
    assert scored.manifest.metrics["tokens"].role == "cost"
    assert scored.manifest.generation["scored_after"] == {"metrics": list(NAMES)}
    saved = scored.save(tmp_path / "table")
    assert saved.fingerprint == scored.fingerprint != table.fingerprint
    kept = with_scores(table, scores, records=metric_records(evaluator), keep=["quality"], note={})
    np.testing.assert_array_equal(kept.scores["quality"], table.scores["quality"])


def test_what_the_base_said_is_read_back(table: OutcomeTable) -> None:
    chances = np.array([[0.0, 0.25, 1.0]] * 20)
    scored = with_scores(
        table,
        {"p_true": chances, "base_likelihood": chances},
        records=metric_records(SelfEvaluator(("p_true", "base_likelihood"))),
        keep=[],
        note={},
    )
    assert stored_judgement(scored, "p_true")[3].tolist() == [0.0, 0.25, 1.0]
    expected = [-np.inf, np.log(0.25), 0.0]
    assert stored_judgement(scored, "base_likelihood")[3].tolist() == pytest.approx(expected)


def test_kept_columns_are_not_computed(table: OutcomeTable) -> None:
    assert columns_to_score(table, []) == TABLE_METRICS
    names = columns_to_score(table, ["safety", "outside", "quality"])
    assert names == tuple(name for name in TABLE_METRICS if name != "safety")
    with pytest.raises(ValueError, match="keep='safty' is no column of the table: it has"):
        columns_to_score(table, ["safty"])
    full = replace(
        table,
        scores={**table.scores, **{name: table.scores["safety"] for name in TABLE_METRICS}},
        manifest=replace(
            table.manifest,
            metrics={
                **table.manifest.metrics,
                **{name: MetricRecord() for name in TABLE_METRICS},
            },
        ),
    )
    with pytest.raises(ValueError, match="leaves no metric to compute: keep fewer"):
        columns_to_score(full, TABLE_METRICS)
