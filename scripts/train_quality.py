"""Train the quality model on an outcome table and write its column into the table.

Learns P(correct) from the verified accuracy of the train split, stops and calibrates on validation,
and never looks at the test split's accuracy. In the column, train answers have the predictions of
models that saw no answer to their query (cross-fitting), because policies are trained on them.
"""

from __future__ import annotations

import dataclasses
import hashlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file
from sklearn.metrics import roc_auc_score
from tqdm import tqdm

from routing_gym.adapters.encoder import Encoder
from routing_gym.envs.manifest import MetricRecord
from routing_gym.envs.scoring import answers_of, cells_of, queries_of
from routing_gym.envs.table import OutcomeTable
from routing_gym.rewards.quality import WEIGHTS_FILE, Quality, response_texts
from routing_gym.rewards.quality_features import NEEDS, QualityInputs, read_inputs
from routing_gym.rewards.quality_training import (
    QualityConfig,
    TrainedQuality,
    VerifiedAnswers,
    train_quality,
)
from routing_gym.rewards.registry import METRICS
from routing_gym.scripts.command import run_command

CACHE = "responses.safetensors"


@dataclass(frozen=True)
class TrainQualityConfig(QualityConfig):
    """Settings of the command; the model's own are those of `QualityConfig`.

    Parameters
    ----------
    table
        Folder of the outcome table, scored on every metric that the model reads.
    output
        Folder of the model; one that is there is replaced.
    write_column
        Write the quality column into the table, in place.
    work
        Folder that keeps the responses' embeddings between runs.
    seed
        Seed of the training.
    """

    table: Path = Path("results/table")
    output: Path = Path("rewards/weights/quality")
    write_column: bool = True
    work: Path = Path("runs/quality")
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.seed < 0:
            raise ValueError(f"seed={self.seed} is negative: give 0 or more.")
        if self.write_column and self.see_adapter:
            raise ValueError(
                "write_column=True needs see_adapter=False: the table's quality is what the "
                "self-evaluator measures, which never learns who answered."
            )


def train(config: TrainQualityConfig) -> None:
    """Train, save, write the column and print."""
    table = OutcomeTable.load(config.table)
    if missing := [name for name in NEEDS if name not in table.scores]:
        raise ValueError(
            f"the table lacks the score {missing[0]!r}: run scripts/score_table.py "
            f"--table {config.table} first."
        )
    inputs = table_inputs(table, embed_responses(table, config.work))
    answers = VerifiedAnswers(
        inputs,
        table.scores["accuracy"].ravel().astype(np.float64),
        np.repeat(table.query_id.astype(np.str_), len(table.adapters)),
    )
    split = np.repeat(table.split, len(table.adapters))
    with tqdm(total=1 + config.folds, desc="training", unit="fit") as bar:
        trained = train_quality(
            answers.rows(split == "train"),
            answers.rows(split == "validation"),
            config=_model_config(config),
            seed=config.seed,
            encoder=table.manifest.encoder,
            record={"pool_fingerprint": table.manifest.pool_fingerprint},
            on_fit=bar.update,
        )
    trained.model.save(config.output)
    column = quality_column(trained, inputs, split).reshape(len(table), -1)
    print(summary(table, column))
    print(f"model -> {config.output}")
    if config.write_column:
        exact = np.array_equal(table.embeddings.astype(np.float16), table.embeddings)
        with_column(table, column, model=config.output, config=config).save(
            config.table, overwrite=True, embedding_dtype="float16" if exact else "float32"
        )
        print(f"column 'quality' -> {config.table}")


def table_inputs(table: OutcomeTable, responses: np.ndarray) -> QualityInputs:
    """Gather the quality model's inputs of every answer of a table.

    Parameters
    ----------
    table
        N queries by K adapters.
    responses
        float32 (N * K, E), from `embed_responses`.

    Returns
    -------
    QualityInputs
        N * K answers, the adapters of each query together.
    """
    return read_inputs(
        answers_of(queries_of(table), cells_of(table)),
        {name: table.scores[name].ravel() for name in NEEDS},
        queries=np.repeat(table.embeddings, len(table.adapters), axis=0),
        responses=responses,
        adapters=list(table.adapters) * len(table),
    )


def embed_responses(table: OutcomeTable, work: Path) -> np.ndarray:
    """Embed every response with the table's encoder, float32 (N * K, E); kept in a folder.

    Parameters
    ----------
    table
        N queries by K adapters.
    work
        Embeddings of the same texts that lie here are read instead.
    """
    texts = response_texts(answers_of(queries_of(table), cells_of(table)))
    key = hashlib.sha256("\x00".join([table.manifest.encoder, *texts]).encode()).hexdigest()
    path = work / f"{key[:16]}-{CACHE}"
    if path.is_file():
        return load_file(path)["responses"]
    distinct = sorted(set(texts), key=len)
    place = {text: row for row, text in enumerate(distinct)}
    encoder = Encoder(table.manifest.encoder)
    parts = []
    with tqdm(total=len(distinct), desc="embedding responses", unit="text") as bar:
        for start in range(0, len(distinct), 512):
            parts.append(encoder.encode(distinct[start : start + 512]))
            bar.update(len(parts[-1]))
    embedded = np.concatenate(parts)[[place[text] for text in texts]]
    work.mkdir(parents=True, exist_ok=True)
    save_file({"responses": np.ascontiguousarray(embedded, dtype=np.float32)}, path)
    return embedded


def quality_column(trained: TrainedQuality, inputs: QualityInputs, split: np.ndarray) -> np.ndarray:
    """Predict every answer, the train split's by cross-fitting.

    Parameters
    ----------
    trained
        From `train_quality`.
    inputs
        N answers.
    split
        str (N,).

    Returns
    -------
    ndarray
        float64 (N,) in [0, 1].
    """
    model = trained.model
    column = model.predict(model.feature_map.apply(inputs))
    column[split == "train"] = trained.cross_fitted
    return column


def with_column(
    table: OutcomeTable, column: np.ndarray, *, model: Path, config: TrainQualityConfig
) -> OutcomeTable:
    """Put the column (N, K) into the table, with its origin in the manifest."""
    note: dict[str, Any] = {
        "train": f"cross-fitted by query in {config.folds} folds",
        "others": "trained on the train split's accuracy, calibrated on validation",
        "seed": config.seed,
        "model_sha256": hashlib.sha256((model / WEIGHTS_FILE).read_bytes()).hexdigest(),
    }
    record = MetricRecord(direction=Quality.direction, role="score")
    records = {**table.manifest.metrics, "quality": record}
    ordered = [name for name in METRICS if name in records]
    ordered += [name for name in records if name not in METRICS]
    manifest = dataclasses.replace(
        table.manifest,
        metrics={name: records[name] for name in ordered},
        generation={**table.manifest.generation, "quality": note},
        files={},
    )
    return dataclasses.replace(table, scores={**table.scores, "quality": column}, manifest=manifest)


def summary(table: OutcomeTable, column: np.ndarray) -> str:
    """Describe a column (N, K) on train (cross-fitted) and validation; never on test.

    Returns
    -------
    str
        AUROC overall and by domain, and the accuracy of the arm with the highest quality.
    """
    lines = []
    for split in ("train", "validation"):
        rows = table.split == split
        right, quality = table.scores["accuracy"][rows] > 0.5, column[rows]
        domain = table.domain[rows]
        parts = {name: domain == name for name in sorted(set(domain))}
        areas = {name: _auroc(right[rows], quality[rows]) for name, rows in parts.items()}
        picked = right[np.arange(len(right)), quality.argmax(axis=1)].mean()
        lines += [
            f"{split}: AUROC {_auroc(right, quality):.3f} ("
            + ", ".join(f"{name} {area:.3f}" for name, area in areas.items())
            + f"); highest quality is right in {picked:.3f}, any answer in "
            f"{right.any(axis=1).mean():.3f}, best single adapter in {right.mean(axis=0).max():.3f}"
        ]
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command."""
    return run_command(
        TrainQualityConfig,
        train,
        description=__doc__,
        default_config="configs/train_quality.yaml",
        argv=argv,
    )


def _model_config(config: TrainQualityConfig) -> QualityConfig:
    """Take the model's own settings out of the command's."""
    names = [part.name for part in dataclasses.fields(QualityConfig)]
    return QualityConfig(**{name: getattr(config, name) for name in names})


def _auroc(right: np.ndarray, quality: np.ndarray) -> float:
    """Area under the ROC curve; NaN where all are right or all wrong."""
    if right.all() or not right.any():
        return float("nan")
    return float(roc_auc_score(right.ravel(), quality.ravel()))


if __name__ == "__main__":
    sys.exit(main())
