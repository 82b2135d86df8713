"""The activation probe for servers that show no logits: it compares texts with the base's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

PROBE_TOKENS = 16


def check_activation(
    answers: Mapping[str, Sequence[str]],
    *,
    base: str,
    source: str,
    control: Sequence[str] | None = None,
) -> None:
    """Refuse an adapter whose answers all are the base's, and two whose answers are the same.

    Parameters
    ----------
    answers
        Name -> greedy answers to the same probes in the same order, the base's among them.
    base
        The base's name; it is exempt.
    source
        Who answered, for the error's sentence.
    control
        The base's answers to the same probes, once more: rounding may change a token of the one
        or of the other, so that an answer is the base's if it equals either.

    Raises
    ------
    ValueError
        If an adapter changes no answer, or two adapters answer as one; the message names them.
    """
    usual = list(answers[base])
    pairs = list(zip(usual, usual if control is None else control, strict=True))
    adapters = {name: list(texts) for name, texts in answers.items() if name != base}
    for name, texts in adapters.items():
        if all(text in pair for text, pair in zip(texts, pairs, strict=True)):
            raise ValueError(
                f"adapter {name!r} answers all {len(texts)} probes of {source} as {base!r} does: "
                "the base would answer under its name. Load the adapter there under the model "
                "name that is configured for it, or leave it out."
            )
    for first, second in combinations(adapters, 2):
        if adapters[first] == adapters[second]:
            raise ValueError(
                f"adapters {first!r} and {second!r} answer all {len(pairs)} probes of {source} "
                "with the same texts: one would answer under both names. Load each there under "
                "the model name that is configured for it, or leave one out."
            )
