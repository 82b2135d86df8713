from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from routing_gym.serving.bundle import PolicyBundle
from routing_gym.serving.bundle_files import GOLDEN_ARRAYS, GOLDEN_TEXTS, POLICY_FILE, Golden
from routing_gym.serving.bundle_manifest import MANIFEST_FILE, BundleManifest
from routing_gym.serving.exploration import Exploration
from routing_gym.serving.policy_export import ExportOptions
from tests.serving.bundles import rewrite_manifest, small_bundle, small_source, texts

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("export")
    small_bundle(made, export=ExportOptions("small", fallback=True, resamples=100))
    return made / "bundle"


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    shutil.copytree(folder, tmp_path / "bundle")
    return tmp_path / "bundle"


@pytest.fixture(scope="module")
def bundle(folder: Path) -> PolicyBundle:
    return PolicyBundle.load(folder)


def renew(folder: Path, name: str, content: bytes) -> None:
    """Replace a file as a forger would: with its hash, size and the seal of the manifest."""
    (folder / name).write_bytes(content)
    described = json.loads((folder / MANIFEST_FILE).read_text())
    described["files"][name] = {
        "sha256": hashlib.sha256(content).hexdigest(),
        "bytes": len(content),
    }
    seal(folder, described)


def seal(folder: Path, described: dict) -> None:
    """Write a manifest with a seal that fits."""
    for _ in range(2):  # the first reading says which seal it should have
        (folder / MANIFEST_FILE).write_text(json.dumps(described))
        try:
            BundleManifest.from_json((folder / MANIFEST_FILE).read_text())
        except ValueError as error:
            if "its content is" in str(error):
                described["version"] = str(error).split("its content is '")[1][:12]


def test_decides_from_texts(bundle: PolicyBundle) -> None:
    decision = bundle.decide(texts(40))
    assert len(decision) == 40
    assert decision.names == tuple(f"adapter_{i % 4}" for i in range(40))
    assert decision.actions.dtype == np.int64
    np.testing.assert_array_equal(decision.propensities, 1.0)
    assert ((decision.confidences > 0.5) & (decision.confidences <= 1)).all()
    assert (bundle.name, len(bundle.version)) == ("small", 12)


def test_one_text_is_decided_as_many_are(bundle: PolicyBundle) -> None:
    many = texts(9)
    alone = np.concatenate([bundle.decide([text]).actions for text in many])
    np.testing.assert_array_equal(bundle.decide(many).actions, alone)
    empty = bundle.decide([])
    assert (len(empty), empty.probabilities.shape, empty.names) == (0, (0, 4), ())


def test_explores_with_exact_propensities(bundle: PolicyBundle) -> None:
    rng, exploration = np.random.default_rng(0), Exploration("epsilon", epsilon=0.4)
    many = texts(4) * 2500
    decision = bundle.decide(many, rng=rng, exploration=exploration)
    np.testing.assert_allclose(np.sort(decision.probabilities[0]), [0.1, 0.1, 0.1, 0.7])
    counts = np.bincount(decision.actions[::4], minlength=4) / 2500
    np.testing.assert_allclose(counts, decision.probabilities[0], atol=0.04)
    np.testing.assert_allclose(
        decision.propensities, decision.probabilities[np.arange(10_000), decision.actions]
    )
    greedy = bundle.decide(many[:4], exploration=exploration)  # nothing to draw with
    np.testing.assert_array_equal(greedy.propensities, 1.0)


@pytest.mark.parametrize("kind", ["greedy", "epsilon", "softmax", "policy"])
def test_respects_masks(bundle: PolicyBundle, kind: str) -> None:
    many, rng = texts(64), np.random.default_rng(0)
    mask = rng.random((64, 4)) < 0.5
    mask[:, 3] |= ~mask.any(axis=1)
    exploration = Exploration(kind, epsilon=0.5, temperature=0.1)  # type: ignore[arg-type]
    decision = bundle.decide(many, rng=rng, mask=mask, exploration=exploration)
    assert mask[np.arange(64), decision.actions].all()
    assert (decision.probabilities[~mask] == 0).all()
    only = bundle.decide(many, mask=np.array([False, False, True, False]))
    assert set(only.names) == {"adapter_2"}
    np.testing.assert_array_equal(only.confidences, 1.0)  # there was no choice


def test_falls_back_below_the_threshold(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "bundle")
    described = json.loads((tmp_path / "bundle" / MANIFEST_FILE).read_text())
    described["fallback"] |= {"adapter": "adapter_2", "threshold": 1.01}
    seal(tmp_path / "bundle", described)
    doubting = PolicyBundle.load(tmp_path / "bundle")
    rng, exploration = np.random.default_rng(0), Exploration("epsilon", epsilon=0.4)
    decision = doubting.decide(texts(40), rng=rng, exploration=exploration)
    assert decision.fallbacks.all()  # whatever was drawn: the mark depends on the query alone
    assert set(decision.names) == {"adapter_2"}
    np.testing.assert_allclose(np.sort(decision.probabilities[0]), [0.1, 0.1, 0.1, 0.7])
    assert decision.propensities[2] == pytest.approx(0.7)  # a text for adapter 2
    mask = np.array([True, True, False, True])
    masked = doubting.decide(texts(40), mask=mask)
    assert not masked.fallbacks.any()
    assert "adapter_2" not in masked.names
    described["fallback"]["threshold"] = 0.0
    seal(tmp_path / "bundle", described)
    sure = PolicyBundle.load(tmp_path / "bundle").decide(texts(40))
    assert not sure.fallbacks.any()


def test_loading_twice_gives_the_same(folder: Path, bundle: PolicyBundle) -> None:
    again = PolicyBundle.load(folder, threads=2, verify=False)
    assert again.version == bundle.version
    np.testing.assert_array_equal(
        again.decide(texts(20)).probabilities, bundle.decide(texts(20)).probabilities
    )


def flip(folder: Path, name: str, *, at: float = 0.5) -> None:
    content = bytearray((folder / name).read_bytes())
    content[int(at * (len(content) - 1))] ^= 0xFF
    (folder / name).write_bytes(bytes(content))


def shorten(folder: Path, name: str) -> None:
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[: len(content) // 2])


TAMPERINGS: dict[str, tuple[Callable[[Path], object], str]] = {
    "flipped policy": (lambda f: flip(f, POLICY_FILE), "policy.onnx is not the file"),
    "flipped golden": (lambda f: flip(f, GOLDEN_ARRAYS, at=0.99), "is not the file"),
    "flipped card": (lambda f: flip(f, "MODEL_CARD.md"), "MODEL_CARD.md is not the file"),
    "truncated policy": (
        lambda f: shorten(f, POLICY_FILE),
        r"policy.onnx has \d+ bytes, .* \(truncated",
    ),
    "truncated manifest": (lambda f: shorten(f, MANIFEST_FILE), "is not JSON"),
    "binary manifest": (lambda f: (f / MANIFEST_FILE).write_bytes(b"\xff\xfe"), "not UTF-8"),
    "missing policy": (lambda f: (f / POLICY_FILE).unlink(), "lacks the file 'policy.onnx'"),
    "missing golden": (lambda f: (f / GOLDEN_TEXTS).unlink(), "lacks the file 'golden.json'"),
    "unknown file": (lambda f: (f / "policy.pkl").touch(), "holds 'policy.pkl', which its"),
    "unknown folder": (lambda f: (f / "more").mkdir(), "holds 'more', which its manifest"),
    "foreign json": (lambda f: (f / MANIFEST_FILE).write_text('{"a": 1}'), "no bundle's manifest"),
    "a list": (lambda f: (f / MANIFEST_FILE).write_text("[]"), "no bundle's manifest"),
    "other format": (lambda f: rewrite_manifest(f, format=2), "has format 2, this version reads"),
    "extra adapter": (
        lambda f: rewrite_manifest(f, adapters=[*"abcde"], adapter_hashes=dict.fromkeys("abcde")),
        "adapter_hashes.a=None is not str",
    ),
    "renamed adapter": (
        lambda f: rewrite_manifest(f, fallback__adapter="gpt"),
        "fallback.adapter='gpt' is none of",
    ),
    "unknown entry": (lambda f: rewrite_manifest(f, licence="MIT"), "manifest.licence is unknown"),
    "threshold by hand": (
        lambda f: rewrite_manifest(f, fallback__threshold=0.123),
        "it was changed by hand",
    ),
    "a path": (
        lambda f: rewrite_manifest(f, files={"../x": {"sha256": "0" * 64, "bytes": 1}}),
        "'../x' is no name of a file",
    ),
    "no hash": (
        lambda f: rewrite_manifest(f, files={"x": {"sha256": "0", "bytes": 1}}),
        "is not 64 hex digits",
    ),
}


@pytest.mark.parametrize("name", list(TAMPERINGS))
def test_refuses_a_tampered_bundle(copy: Path, name: str) -> None:
    tamper, message = TAMPERINGS[name]
    tamper(copy)
    with pytest.raises(ValueError, match=message) as caught:
        PolicyBundle.load(copy)
    assert str(caught.value).rstrip().endswith(".")


def test_refuses_a_folder_without_bundle(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"manifest.json is missing: give a folder"):
        PolicyBundle.load(tmp_path / "nowhere")


def test_forged_hashes_do_not_pass_the_golden_replay(copy: Path, tmp_path: Path) -> None:
    other = small_bundle(tmp_path / "other", agent="best_single")
    policy = (tmp_path / "other" / "bundle" / POLICY_FILE).read_bytes()
    assert other.adapters == PolicyBundle.load(copy).adapters
    renew(copy, POLICY_FILE, policy)
    with pytest.raises(ValueError, match="golden probabilities differ"):
        PolicyBundle.load(copy)
    assert len(PolicyBundle.load(copy, verify=False).decide(texts(2))) == 2  # as asked


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (POLICY_FILE, b"no model", "policy.onnx is no model that onnxruntime runs"),
        (GOLDEN_TEXTS, b"{", "golden files are unreadable"),
        (GOLDEN_TEXTS, b'["one text"]', "different numbers of rows"),
        (GOLDEN_ARRAYS, b"\x00" * 40, "golden files are unreadable"),
    ],
)
def test_refuses_what_is_not_what_it_should_be(
    copy: Path, name: str, content: bytes, message: str
) -> None:
    renew(copy, name, content)
    with pytest.raises(ValueError, match=message):
        PolicyBundle.load(copy)


def test_refuses_another_encoder_s_embeddings(copy: Path, folder: Path) -> None:
    files = {name: (folder / name).read_bytes() for name in (GOLDEN_TEXTS, GOLDEN_ARRAYS)}
    golden = Golden.read(files)
    moved = Golden(golden.texts, golden.embeddings + 0.01, golden.probabilities, golden.actions)
    renew(copy, GOLDEN_ARRAYS, moved.files()[GOLDEN_ARRAYS])
    with pytest.raises(ValueError, match=r"golden embeddings differ by 0\.01"):
        PolicyBundle.load(copy)


def test_refuses_a_policy_of_other_sizes(copy: Path, tmp_path: Path) -> None:
    small_bundle(tmp_path / "other", encoder="surface")
    renew(copy, POLICY_FILE, (tmp_path / "other" / "bundle" / POLICY_FILE).read_bytes())
    with pytest.raises(ValueError, match="it is another bundle's"):
        PolicyBundle.load(copy)


@pytest.mark.parametrize(
    ("adapters", "fingerprint", "message"),
    [
        (("adapter_0", "adapter_1", "adapter_3", "adapter_2"), "", "was trained on"),
        (("a", "b"), "", "serve that pool"),
        (tuple(f"adapter_{i}" for i in range(4)), "another", "adapters have other weights"),
    ],
)
def test_refuses_another_pool(
    bundle: PolicyBundle, adapters: tuple[str, ...], fingerprint: str, message: str
) -> None:
    bundle.check_pool(bundle.adapters, bundle.manifest.pool_fingerprint)
    bundle.check_pool(bundle.adapters)
    with pytest.raises(ValueError, match=message):
        bundle.check_pool(adapters, fingerprint)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda b: b.decide("one text"), "texts is one text: give a list"),
        (lambda b: b.decide(["a", None]), r"texts\[1\] is a NoneType"),
        (lambda b: b.decide(["a"], mask=np.zeros(4, dtype=bool)), "forbids every adapter"),
        (lambda b: b.decide(["a"], mask=np.ones(3, dtype=bool)), "True where an adapter"),
        (lambda b: b.decide_embedded(np.zeros((1, 3))), r"shape \(1, 3\), not \(N, 22\)"),
        (lambda b: b.decide_embedded(np.full((1, 22), np.nan)), "not finite"),
    ],
)
def test_refuses_bad_queries(
    bundle: PolicyBundle, call: Callable[[PolicyBundle], object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        call(bundle)


@pytest.mark.parametrize(
    "text", ["", " ", "\x00", "half a character \ud800", "🙂" * 5000, "\u202eright to left"]
)
def test_takes_any_text(bundle: PolicyBundle, text: str) -> None:
    assert bundle.decide([text, "Query number 5 is for adapter 1."]).names[1] == "adapter_1"


def test_no_threads_are_too_few(folder: Path) -> None:
    with pytest.raises(ValueError, match="threads=0 is too small"):
        PolicyBundle.load(folder, threads=0)


PROGRAM = """
import sys
from routing_gym.serving.bundle import PolicyBundle
import routing_gym.serving.hub
decision = PolicyBundle.load(sys.argv[1]).decide(["Query number 7 is for adapter 3."])
assert decision.names == ("adapter_3",), decision
heavy = {"torch", "transformers", "sklearn", "pandas", "onnx", "scipy", "pickle5"}
loaded = heavy & set(sys.modules)
sys.exit(f"loaded {loaded}" if loaded else 0)
"""


def test_needs_no_torch(folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(folder)],
        capture_output=True, text=True, cwd=ROOT, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_no_file_is_a_pickle(folder: Path) -> None:
    names = {file.name for file in folder.iterdir()}
    assert names == {
        "manifest.json", "policy.onnx", "golden.json", "golden.safetensors", "MODEL_CARD.md",
    }  # fmt: skip
    assert not any(file.read_bytes().startswith(b"\x80") for file in folder.iterdir())


@pytest.mark.parametrize("encoder", ["tfidf+surface+position", "surface_kernel+position"])
def test_encoders_without_a_network_are_bundled(tmp_path: Path, encoder: str) -> None:
    source = small_source(tmp_path, encoder=encoder)
    made = small_bundle(tmp_path / "again", encoder=encoder)
    embedded = source.encoder.encode(source.texts["test"])
    np.testing.assert_allclose(made.encode(source.texts["test"]), embedded, atol=1e-6)
    assert [part.kind for part in made.manifest.encoder.parts] == encoder.split("+")


@pytest.mark.parametrize("agent", ["squarecb", "exp4", "random", "knn"])
def test_distributions_under_masks_are_the_agent_s(tmp_path: Path, agent: str) -> None:
    source = small_source(tmp_path, agent=agent)
    made = small_bundle(tmp_path / "again", agent=agent)
    rng = np.random.default_rng(0)
    mask = rng.random(source.splits.test.rewards.shape) < 0.6
    mask[:, 0] |= ~mask.any(axis=1)
    decision = made.decide(
        source.texts["test"], rng=rng, mask=mask, exploration=Exploration("policy")
    )
    expected = source.agent.decide(source.splits.test.observations, rng=rng, mask=mask)
    np.testing.assert_allclose(decision.probabilities, expected.probabilities, atol=1e-5)


EXAMPLE = """from routing_gym.serving.bundle import PolicyBundle

router = PolicyBundle.load("bundles/ppo")  # hashes, sizes and golden answers are checked
decision = router.decide(["What is 17 times 23?", "Write a poem about rain."])
print(decision.names, decision.propensities, decision.confidences, decision.fallbacks)
"""


def test_the_library_is_five_lines(folder: Path, tmp_path: Path) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    if "PolicyBundle" in readme:
        assert EXAMPLE in readme
    shutil.copytree(folder, tmp_path / "bundles" / "ppo")
    done = subprocess.run(
        [sys.executable, "-c", EXAMPLE],
        capture_output=True, text=True, cwd=tmp_path, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("('adapter_")
