from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from routing_gym.envs.manifest import MetricRecord
from routing_gym.envs.scoring import answers_of, cells_of, queries_of
from routing_gym.envs.table import OutcomeTable
from routing_gym.rewards.evaluator import SelfEvaluator
from routing_gym.rewards.quality import Quality, QualityModel
from routing_gym.rewards.quality_features import NEEDS
from routing_gym.scripts import train_quality
from tests.rewards.quality_problem import HashEncoder
from tests.synthetic import identity_table

Capture = pytest.CaptureFixture[str]
QUICK = ("--epochs", "4", "--hidden", "8", "--members", "2", "--batch_size", "64",
         "--query_axes", "3", "--response_axes", "3", "--folds", "2")  # fmt: skip


def scored_table() -> OutcomeTable:
    """The identity problem with live scores of all that the model reads, and token signals."""
    table = identity_table(n=60, d=12)
    encoder = HashEncoder()
    cells = cells_of(table)
    for arm, adapter in enumerate(table.adapters):
        for row, query_id in enumerate(table.query_id):
            sure = 0.05 if table.scores["accuracy"][row, arm] else 1.0
            cells[adapter][query_id] = dataclasses.replace(
                cells[adapter][query_id],
                token_log_probs=(-sure, -sure / 2),
                token_entropies=(sure, sure),
            )
    evaluator = SelfEvaluator(NEEDS, encoder=encoder)
    found = evaluator.evaluate_batch(answers_of(queries_of(table), cells))
    scores = {name: values.reshape(60, -1) for name, values in found.items()}
    metrics = {name: MetricRecord(direction=evaluator.directions[name]) for name in NEEDS}
    manifest = dataclasses.replace(table.manifest, metrics={**table.manifest.metrics, **metrics})
    return dataclasses.replace(
        table,
        scores={**table.scores, **scores},
        manifest=manifest,
        embeddings=encoder.encode(table.text.tolist()),
    )


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(train_quality, "Encoder", lambda name: HashEncoder())
    scored_table().save(tmp_path / "table")
    return tmp_path


def run(folder: Path, *more: str) -> int:
    places = ("--table", str(folder / "table"), "--output", str(folder / "model"))
    return train_quality.main([*places, "--work", str(folder / "work"), *QUICK, *more])


def test_writes_model_and_column(folder: Path, capsys: Capture) -> None:
    before = OutcomeTable.load(folder / "table")
    assert run(folder) == 0
    printed = capsys.readouterr().out
    assert "validation: AUROC" in printed
    assert "test" not in printed.replace(str(folder), "")
    table, model = OutcomeTable.load(folder / "table"), QualityModel.load(folder / "model")
    assert table.manifest.metrics["quality"].role == "score"
    note = table.manifest.generation["quality"]
    assert note["train"] == "cross-fitted by query in 2 folds"
    for name in before.scores.keys() - {"quality"}:
        values = before.scores[name]
        np.testing.assert_array_equal(table.scores[name], values)
    np.testing.assert_array_equal(table.embeddings, before.embeddings)
    inputs = train_quality.table_inputs(
        table, train_quality.embed_responses(table, folder / "work")
    )
    predicted = model.predict(model.feature_map.apply(inputs)).reshape(60, -1)
    unseen = table.split != "train"
    np.testing.assert_allclose(table.scores["quality"][unseen], predicted[unseen], atol=1e-6)
    assert (table.scores["quality"][~unseen] != predicted[~unseen].astype(np.float32)).any()


def test_live_answers_have_the_features_of_the_table(folder: Path) -> None:
    assert run(folder, "--write_column", "false") == 0
    table, model = OutcomeTable.load(folder / "table"), QualityModel.load(folder / "model")
    responses = train_quality.embed_responses(table, folder / "work")
    stored = model.feature_map.apply(train_quality.table_inputs(table, responses))
    answers = answers_of(queries_of(table), cells_of(table))
    sure = np.where(table.scores["accuracy"].ravel() > 0.5, 0.05, 1.0)
    live = [
        dataclasses.replace(a, token_log_probs=(-s, -s / 2), token_entropies=(s, s))
        for a, s in zip(answers, sure, strict=True)
    ]
    scores = SelfEvaluator(NEEDS, encoder=HashEncoder()).evaluate_batch(live)
    quality = Quality(HashEncoder(), model=model)
    np.testing.assert_allclose(quality.features(live, scores), stored, atol=1e-4)


def test_embeddings_are_kept(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(folder, "--write_column", "false") == 0

    def refuse(name: str) -> None:
        raise AssertionError("embedded again")

    monkeypatch.setattr(train_quality, "Encoder", refuse)
    assert run(folder, "--write_column", "false", "--seed", "1") == 0


def test_the_test_split_teaches_nothing(folder: Path) -> None:
    assert run(folder, "--write_column", "false") == 0
    one = (folder / "model" / "model.safetensors").read_bytes()
    table = OutcomeTable.load(folder / "table")
    accuracy = table.scores["accuracy"].copy()
    accuracy[table.split == "test"] = 1 - accuracy[table.split == "test"]
    changed = dataclasses.replace(table, scores={**table.scores, "accuracy": accuracy})
    changed.save(folder / "table", overwrite=True)
    assert run(folder, "--write_column", "false") == 0
    assert (folder / "model" / "model.safetensors").read_bytes() == one


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--see_adapter", "true"), 2, "needs see_adapter=False"),
        (("--seed", "-1"), 2, "seed=-1 is negative"),
        (("--hiden", "3"), 2, "hidden"),
        (("--folds", "1"), 2, "folds=1"),
        (("--table", "no/such/table"), 1, "no/such/table"),
    ],
)
def test_wrong_settings(
    folder: Path, capsys: Capture, arguments: tuple[str, ...], code: int, message: str
) -> None:
    assert run(folder, *arguments) == code
    assert message in capsys.readouterr().err


def test_a_table_without_the_columns_is_refused(folder: Path, capsys: Capture) -> None:
    identity_table(n=60).save(folder / "table", overwrite=True)
    assert run(folder) == 1
    assert "lacks the score 'consistency': run scripts/score_table.py" in capsys.readouterr().err
