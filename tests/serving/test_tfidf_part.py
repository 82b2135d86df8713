from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from routing_gym.adapters.tfidf import ARRAYS, DESCRIPTION, TfidfConfig, TfidfEncoder
from routing_gym.serving.tfidf_part import TfidfPart

TRAIN = [
    "The quick brown fox jumps over the lazy dog.",
    "A quick answer: the dog is lazy, the fox is not!",
    "How many foxes jump over 12 dogs? 12 foxes.",
    "Über den Dächern wohnt der Fuchs, naïve as ever",
    "the the the the dog dog",
] * 2
ASKED = [*TRAIN, "", "unknown words alone", "DOG", "quick brown dog's fox_es 12 12", "the"]


@pytest.mark.parametrize("ngrams", [1, 2, 3])
def test_equals_the_fitted_encoder(tmp_path: Path, ngrams: int) -> None:
    encoder = TfidfEncoder(TfidfConfig(features=6, ngrams=ngrams))
    encoder.fit(TRAIN)
    encoder.save(tmp_path)
    part = TfidfPart((tmp_path / DESCRIPTION).read_bytes(), (tmp_path / ARRAYS).read_bytes())
    expected = encoder.encode(ASKED)
    np.testing.assert_allclose(part.encode(ASKED), expected, atol=1e-6)
    assert part.encode(ASKED).dtype == np.float32
    assert part.encode([]).shape == (0, part.width)
    assert not expected[len(TRAIN) + 1].any()


def test_refuses_files_that_do_not_belong_together(tmp_path: Path) -> None:
    for name, texts in (("one", TRAIN), ("two", [*TRAIN, "new words here", "new words here"])):
        encoder = TfidfEncoder(TfidfConfig(features=3))
        encoder.fit(texts)
        encoder.save(tmp_path / name)
    description = (tmp_path / "one" / DESCRIPTION).read_bytes()
    with pytest.raises(ValueError, match="different numbers of terms"):
        TfidfPart(description, (tmp_path / "two" / ARRAYS).read_bytes())
