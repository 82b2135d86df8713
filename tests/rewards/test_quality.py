from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from routing_gym.rewards.evaluator import SelfEvaluator
from routing_gym.rewards.metric import Answer
from routing_gym.rewards.quality import DEFAULT_QUALITY, Quality, QualityModel
from routing_gym.rewards.quality_features import NEEDS
from routing_gym.rewards.quality_training import train_quality
from tests.rewards.quality_problem import QUICK, HashEncoder, verified

QUERY = "Name the biggest of: cat, whale, mouse."


@pytest.fixture(scope="module")
def model() -> QualityModel:
    config = dataclasses.replace(QUICK, epochs=6)
    return train_quality(verified(60), verified(30, seed=1), config=config, seed=0).model


@pytest.fixture(scope="module")
def features(model: QualityModel) -> np.ndarray:
    return model.feature_map.apply(verified(30, seed=2).inputs)


def test_shapes_and_ranges(model: QualityModel, features: np.ndarray) -> None:
    chances = model.predict(features)
    assert chances.shape == (120,)
    assert ((chances >= 0) & (chances <= 1)).all()
    assert model.logits(features).shape == (3, 120)
    draws = model.logits(features, passes=7, rng=np.random.default_rng(0))
    assert draws.shape == (7, 120)
    assert (draws.std(axis=0) > 0).all()
    np.testing.assert_array_equal(
        draws, model.logits(features, passes=7, rng=np.random.default_rng(0))
    )
    np.testing.assert_allclose(
        chances, model.calibration.from_logits(model.logits(features).mean(axis=0))
    )


def test_saying_nothing_is_never_likely_right(model: QualityModel) -> None:
    answers = [Answer(QUERY, response) for response in ("", QUERY, "whale")]
    best = {name: np.array([0.95] * 3) for name in NEEDS}
    embedded = HashEncoder().encode(["a", "b", "c"])
    made = model.features(answers, best, queries=embedded, responses=embedded)
    chances = model.predict(made)
    assert chances[0] < 0.1
    assert chances[1] < 0.1
    assert chances[2] > 0.5


def test_saved_and_loaded_alike(model: QualityModel, features: np.ndarray, tmp_path: Path) -> None:
    model.save(tmp_path / "quality")
    model.save(tmp_path / "quality")  # replaces its own kind
    loaded = QualityModel.load(tmp_path / "quality")
    np.testing.assert_array_equal(loaded.predict(features), model.predict(features))
    assert loaded.record == model.record
    files = sorted(file.name for file in (tmp_path / "quality").iterdir())
    assert files == ["config.json", "model.safetensors"]


def test_damaged_files_are_refused(model: QualityModel, tmp_path: Path) -> None:
    folder = tmp_path / "quality"
    model.save(folder)
    weights, config = folder / "model.safetensors", folder / "config.json"
    whole, text = weights.read_bytes(), config.read_text("utf-8")
    weights.write_bytes(whole[:-4] + b"\0\0\0\1")
    with pytest.raises(ValueError, match="truncated or edited"):
        QualityModel.load(folder)
    weights.write_bytes(whole)
    for change, message in (
        ({"format": 9}, "another version"),
        ({"columns": ["a"]}, "another version"),
        ({"calibration": {"method": "magic"}}, "'magic' is unknown"),
    ):
        config.write_text(json.dumps(json.loads(text) | change), "utf-8")
        with pytest.raises(ValueError, match=message):
            QualityModel.load(folder)
    record = json.loads(text)
    del record["dropout"]
    config.write_text(json.dumps(record), "utf-8")
    with pytest.raises(ValueError, match="lacks the entry 'dropout'"):
        QualityModel.load(folder)
    config.write_text("{", "utf-8")
    with pytest.raises(ValueError, match="is not readable"):
        QualityModel.load(folder)
    config.unlink()
    with pytest.raises(FileNotFoundError, match=r"config\.json is missing.*train_quality"):
        QualityModel.load(folder)


def test_other_files_are_never_replaced(model: QualityModel, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine", "utf-8")
    with pytest.raises(ValueError, match="holds other files"):
        model.save(tmp_path)
    assert (tmp_path / "mine.txt").read_text("utf-8") == "mine"


def test_refusals(model: QualityModel, features: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"features has shape \(120, 2\)"):
        model.predict(features[:, :2])
    with pytest.raises(ValueError, match="needs an rng"):
        model.logits(features, passes=3)
    feature_map = dataclasses.replace(model.feature_map, adapters=("a", "b"))
    with pytest.raises(ValueError, match="belong to two models"):
        dataclasses.replace(model, feature_map=feature_map)


def test_a_metric_refuses_a_model_that_sees_the_adapter() -> None:
    config = dataclasses.replace(QUICK, epochs=1, see_adapter=True)
    seeing = train_quality(verified(30), verified(20, seed=1), config=config, seed=0).model
    with pytest.raises(ValueError, match="never learns who answered"):
        Quality(model=seeing)


def test_in_the_evaluator(model: QualityModel, tmp_path: Path) -> None:
    model.save(tmp_path / "quality")
    encoder = HashEncoder()
    evaluator = SelfEvaluator(
        ["relevance", Quality(encoder, model=tmp_path / "quality")], encoder=encoder
    )
    answer = {"query": QUERY, "response": "whale", "form": "word"}
    given = evaluator.evaluate(**answer, adapter_used="base")
    assert set(given) == {"relevance", "quality"}
    assert 0 <= given["quality"] <= 1
    assert given == evaluator.evaluate(**answer, adapter_used="creative")
    signals = {"token_log_probs": (-0.1, -0.2), "token_entropies": (0.2, 0.1)}
    assert evaluator.evaluate(**answer, **signals)["quality"] != given["quality"]


def test_answers_of_a_batch_do_not_touch_each_other(model: QualityModel) -> None:
    encoder = HashEncoder()
    evaluator = SelfEvaluator([Quality(encoder, model=model)], encoder=encoder)
    answers = [Answer(QUERY, text, form="word") for text in ("whale", "", "cat", "a mouse")]
    together = evaluator.evaluate_batch(answers)["quality"]
    alone = [evaluator.evaluate_batch([answer])["quality"][0] for answer in answers]
    np.testing.assert_allclose(together, alone, atol=1e-6)


def test_nothing_to_score(model: QualityModel) -> None:
    scores = {name: np.zeros(0) for name in NEEDS}
    assert Quality(HashEncoder(), model=model).score([], scores=scores).shape == (0,)


def test_the_embedded_model_is_small_and_blind() -> None:
    embedded = QualityModel.load()
    size = sum(file.stat().st_size for file in DEFAULT_QUALITY.iterdir())
    assert size < 1_000_000
    assert not embedded.see_adapter
    assert embedded.num_members == 5
    assert embedded.encoder == "sentence-transformers/all-MiniLM-L6-v2"
