"""Learning curves as a picture, drawn from the ``curves.csv`` of a run."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator

# Okabe and Ito's palette, safe for colour-blind readers
_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442")
_STYLES = {"train": "-", "validation": "--"}
_PANELS = ("reward", "accuracy", "share")

Curve = tuple[list[int], list[float]]


def draw_curves(
    curves: Path, *, path: Path, x_label: str, references: Mapping[str, float] | None = None
) -> None:
    """Draw reward, accuracy and the adapters' shares over training.

    Parameters
    ----------
    curves
        A ``curves.csv`` that `routing_gym.agents.curves.CurveLog` wrote.
    path
        PNG file to write.
    x_label
        What a step is: ``"queries answered"`` or ``"epoch"``.
    references
        Name -> reward on validation, drawn as horizontal lines in the reward's panel.
    """
    read = read_curves(curves)
    figure = Figure(figsize=(11.5, 3.6), layout="constrained")
    for axes, panel in zip(figure.subplots(1, 3), _PANELS, strict=True):
        quantities = sorted({name for _, name in read if name.split("/")[0] == panel})
        for colour, quantity in zip(_COLOURS, quantities, strict=False):
            for split, style in _STYLES.items():
                if panel == "share" and split == "train":
                    continue
                label = split if quantity == panel else quantity.removeprefix("share/")
                axes.plot(*read[split, quantity], ls=style, color=colour, lw=1.6, label=label)
        if panel == "reward":
            for (name, level), style in zip((references or {}).items(), ("-.", ":"), strict=False):
                axes.axhline(level, color="black", lw=1.1, ls=style, alpha=0.7, label=name)
        axes.set_title("share of each adapter, validation" if panel == "share" else panel)
        axes.set_ylim(bottom=0 if panel == "share" else None)
        axes.set_xlabel(x_label)
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.legend(fontsize=8, frameon=False)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=130)


def read_curves(curves: Path) -> dict[tuple[str, str], Curve]:
    """Read a ``curves.csv``: (split, quantity) -> steps and values.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    """
    read: dict[tuple[str, str], Curve] = {}
    with curves.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            steps, values = read.setdefault((row["split"], row["quantity"]), ([], []))
            steps.append(int(row["step"]))
            values.append(float(row["value"]))
    return read
