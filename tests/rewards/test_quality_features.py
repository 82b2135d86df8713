from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from routing_gym.rewards.metric import Answer
from routing_gym.rewards.quality_features import (
    COLUMNS,
    NEEDS,
    RECORDED,
    VOID,
    FeatureMap,
    QualityInputs,
    is_void,
    read_columns,
    read_inputs,
)
from tests.rewards.quality_problem import WIDTH, verified

QUERY = "Name the biggest of: cat, whale, mouse."


def scores(**changed: float) -> dict[str, np.ndarray]:
    return {name: np.array([changed.get(name, 0.25)]) for name in NEEDS}


def column(answer: Answer, name: str, **changed: float) -> float:
    return float(read_columns([answer], scores(**changed))[0, COLUMNS.index(name)])


def fitted(**options: bool) -> tuple[FeatureMap, QualityInputs]:
    inputs = verified().inputs
    settings = {"query_axes": 3, "response_axes": 2, "see_adapter": False} | options
    return FeatureMap.fit(inputs, **settings), inputs  # type: ignore[arg-type]


def test_columns_by_hand() -> None:
    answer = Answer(QUERY, "the whale swims", form="word", form_size=3, finished=False)
    assert column(answer, "relevance", relevance=0.7) == pytest.approx(0.7)
    assert column(answer, "finished") == 0
    assert column(answer, "form_size") == pytest.approx(0.6)
    assert column(answer, "log_words") == pytest.approx(math.log(4))
    assert column(answer, "log_characters") == pytest.approx(math.log(16))
    assert column(answer, "log_query_words") == pytest.approx(math.log(8))
    assert column(answer, "grounded") == pytest.approx(2 / 3)
    assert (column(answer, "form_word"), column(answer, "form_number")) == (1, 0)
    assert column(answer, "root_surprise_consistency", consistency=math.exp(-4)) == pytest.approx(2)


def test_a_probability_of_zero_stays_finite() -> None:
    given = column(Answer(QUERY, "whale"), "root_surprise_consistency", consistency=0.0)
    assert 8 < given < 9


def test_unmeasured_signals_and_forms_are_missing() -> None:
    answer = Answer(QUERY, "whale", form="sonnet")
    assert math.isnan(column(answer, "certainty", certainty=0.5, weakest_token=0.5))
    assert math.isnan(column(answer, "consistency", certainty=0.5, weakest_token=0.5))
    assert column(answer, "consistency", certainty=0.5) == 0.25
    assert math.isnan(column(answer, "form_word"))


def test_no_answers_have_no_rows() -> None:
    assert read_columns([], {name: np.zeros(0) for name in NEEDS}).shape == (0, len(COLUMNS))


@pytest.mark.parametrize(
    ("response", "void"), [("", True), (" ... ", True), (QUERY, True), ("whale", False)]
)
def test_void(response: str, void: bool) -> None:
    assert is_void(Answer(QUERY, response)) is void


def test_features_are_standardised() -> None:
    feature_map, inputs = fitted()
    features = feature_map.apply(inputs)
    assert features.dtype == np.float32
    assert features.shape == (480, feature_map.num_features)
    assert np.isfinite(features).all()
    place = COLUMNS.index("completeness")
    assert features[:, place].mean() == pytest.approx(0, abs=1e-4)
    assert features[:, place].std() == pytest.approx(1, abs=1e-3)
    axes = features[:, VOID + 1 : VOID + 4]
    np.testing.assert_allclose(np.cov(axes, rowvar=False), np.eye(3), atol=1e-2)


def test_a_column_that_never_varied_says_nothing() -> None:
    feature_map, inputs = fitted()
    place = COLUMNS.index("finished")
    columns = inputs.columns.copy()
    columns[:, place] = 0.0  # never seen in training
    assert (feature_map.apply(dataclasses.replace(inputs, columns=columns))[:, place] == 0).all()


def test_missing_signals_are_flagged_and_zero() -> None:
    feature_map, inputs = fitted()
    columns = inputs.columns.copy()
    signals, forms = feature_map.optional
    columns[:3, signals[:-1]] = np.nan
    features = feature_map.apply(dataclasses.replace(inputs, columns=columns))
    assert signals[-1] == RECORDED
    assert (features[:3, signals] == 0).all()
    assert (features[3:, RECORDED] == 1).all()
    assert [COLUMNS[place] for place in forms] == [
        n for n in COLUMNS if n in set(COLUMNS[f] for f in forms)
    ]


def test_adapters_are_read_only_if_asked() -> None:
    blind, inputs = fitted()
    seeing, _ = fitted(see_adapter=True)
    swapped = dataclasses.replace(inputs, adapters=inputs.adapters[::-1])  # type: ignore[index]
    np.testing.assert_array_equal(blind.apply(inputs), blind.apply(swapped))
    assert seeing.num_features == blind.num_features + 4
    assert (seeing.apply(inputs) != seeing.apply(swapped)).any()
    with pytest.raises(ValueError, match="give one of arm_0, arm_1"):
        seeing.apply(dataclasses.replace(inputs, adapters=None))


def test_axes_do_not_depend_on_the_order_of_answers() -> None:
    feature_map, inputs = fitted()
    order = np.random.default_rng(0).permutation(len(inputs))
    again = FeatureMap.fit(inputs.rows(order), query_axes=3, response_axes=2, see_adapter=False)
    np.testing.assert_allclose(again.query_axes, feature_map.query_axes, atol=1e-3)


def test_refusals() -> None:
    feature_map, inputs = fitted()
    answer = Answer(QUERY, "whale")
    with pytest.raises(ValueError, match=r"lack 'certainty'.*score_table"):
        read_columns([answer], {k: v for k, v in scores().items() if k != "certainty"})
    with pytest.raises(ValueError, match=r"scores\['tokens'\] has shape \(2,\)"):
        read_columns([answer], scores() | {"tokens": np.zeros(2)})
    with pytest.raises(ValueError, match=r"responses has shape \(1, 5\)"):
        read_inputs([answer], scores(), queries=np.zeros((1, WIDTH)), responses=np.zeros((1, 5)))
    with pytest.raises(ValueError, match="embeddings have width 5, not 12"):
        feature_map.apply(
            dataclasses.replace(
                inputs, queries=inputs.queries[:, :5], responses=inputs.responses[:, :5]
            )
        )
    with pytest.raises(ValueError, match="adapters has 1 names"):
        dataclasses.replace(inputs, adapters=np.array(["a"]))
    with pytest.raises(ValueError, match="needs the inputs' adapters"):
        FeatureMap.fit(
            dataclasses.replace(inputs, adapters=None),
            query_axes=2,
            response_axes=2,
            see_adapter=True,
        )
