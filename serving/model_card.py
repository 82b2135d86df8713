"""MODEL_CARD.md: what a policy was trained on, what it is worth, and where its limits are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from routing_gym.serving.bundle_manifest import BundleManifest

_TITLES = {
    "reward": "reward",
    "accuracy": "verified accuracy",
    "reward_gap_closed": "gap closed (0 best single adapter, 1 oracle)",
    "tie_set_differ": "chose one of the most accurate adapters, where they differ",
    "tie_set_all": "the same on all queries",
    "reward_without_fallback": "reward without the fallback",
    "accuracy_without_fallback": "verified accuracy without the fallback",
    "regret": "mean regret",
    "entropy": "entropy of the arm usage over ln K",
    "fallback_share": "share of fallbacks",
    "best_single_reward": "reward of the best single adapter",
    "oracle_reward": "reward of the oracle",
    "best_single_accuracy": "accuracy of the best single adapter",
    "oracle_accuracy": "accuracy of the oracle",
}
_FEEDBACK = {
    "full": "every adapter's reward on each train query",
    "bandit": "the reward of the adapter that it chose, and of no other",
    "none": "nothing",
}


@dataclass(frozen=True)
class CardFacts:
    """What a card tells beside the manifest.

    Parameters
    ----------
    options
        The agent's configuration.
    validation
        Figure -> value, measured where the fallback was fitted.
    queries
        Split -> number of queries.
    """

    options: Mapping[str, Any]
    validation: Mapping[str, float]
    queries: Mapping[str, int]


def model_card(manifest: BundleManifest, facts: CardFacts) -> str:
    """Write the card.

    Parameters
    ----------
    manifest
        The bundle's.
    facts
        See `CardFacts`.

    Returns
    -------
    str
        Markdown.
    """
    sections = [
        "---\nlibrary_name: routing-gym\ntags: [routing, lora, contextual-bandit, onnx]\n---",
        f"# Router {manifest.name!r}",
        f"Reads a query and chooses which of {len(manifest.adapters)} adapters of "
        f"`{manifest.base_model or 'the base model'}` answers it. Agent `{manifest.agent}`, "
        f"exported to ONNX with its encoder `{manifest.encoder.name}` "
        f"({manifest.encoder.precision}); it needs no torch.",
        _training(manifest, facts),
        _reward(manifest),
        _results(manifest),
        _deciding(manifest, facts),
        _agreement(manifest),
        _limits(manifest),
    ]
    return "\n\n".join(sections) + "\n"


def _training(manifest: BundleManifest, facts: CardFacts) -> str:
    """Tell what it was trained on."""
    arms = [
        [str(i), name, (manifest.adapter_hashes[name] or "the base model")[:16], f"{share:.3f}"]
        for i, (name, share) in enumerate(
            zip(manifest.adapters, manifest.training.arm_shares, strict=True)
        )
    ]
    counts = ", ".join(f"{count} {name}" for name, count in facts.queries.items())
    options = ", ".join(f"{key}={value}" for key, value in facts.options.items()) or "none"
    return "\n\n".join(
        [
            "## Trained on",
            f"Outcome table `{manifest.table[:16]}` ({counts} queries) of the pool "
            f"`{manifest.pool_fingerprint[:16]}`. While training it saw "
            f"{_FEEDBACK.get(manifest.feedback, manifest.feedback)}.",
            _table(["action", "adapter", "sha256", "share of train queries"], arms),
            f"Settings: {options}.",
        ]
    )


def _reward(manifest: BundleManifest) -> str:
    """Tell what it maximises."""
    rows = [[name, f"{weight:g}"] for name, weight in manifest.reward.items()]
    return "\n\n".join(
        [
            "## Reward",
            "The weighted sum of the self-evaluator's scores, which never sees a reference answer:",
            _table(["score", "weight"], rows),
        ]
    )


def _results(manifest: BundleManifest) -> str:
    """Tell what it is worth."""
    rows = [
        [_TITLES[name], *_shown(manifest.test[name])] for name in _TITLES if name in manifest.test
    ]
    return "\n\n".join(
        [
            "## Test results",
            f"Greedy decisions of this bundle from the texts of {manifest.test.get('queries', 0)} "
            "test queries, paired bootstrap 95 % intervals; the best single adapter is chosen on "
            "the train split.",
            _table(["figure", "value", "95 % interval"], rows),
        ]
    )


def _deciding(manifest: BundleManifest, facts: CardFacts) -> str:
    """Tell how it decides."""
    rule, exploration = manifest.fallback, manifest.exploration
    lines = [
        f"- Exploration: {exploration.kind}, epsilon {exploration.epsilon:g}, temperature "
        f"{exploration.temperature:g} (fitted on validation: {manifest.temperature:g}).",
        f"- Confidence: sigmoid({rule.slope:.4g} x margin + {rule.intercept:.4g}), the probability "
        f"that the choice earns at least what {rule.adapter!r} does; margin is best minus "
        "second-best score; fitted on validation.",
    ]
    if rule.threshold > 0:
        lines.append(
            f"- Below confidence {rule.threshold:.4f} the best single adapter {rule.adapter!r} "
            f"answers: {facts.validation['fallback_share']:.3f} of the validation queries, whose "
            f"mean reward rises from {facts.validation['reward']:.4f} to "
            f"{facts.validation['reward_with_fallback']:.4f} (an optimistic figure: the threshold "
            "was chosen there). Such decisions are marked and left out of off-policy evaluation."
        )
    else:
        lines.append(
            f"- Fallback: none. On validation it pays at no confidence to let {rule.adapter!r} "
            "answer instead, or it was turned off."
        )
    return "## How it decides\n\n" + "\n".join(lines)


def _agreement(manifest: BundleManifest) -> str:
    """Tell how well the export reproduces the original."""
    rows = [[name, f"{value:.8g}"] for name, value in sorted(manifest.agreement.items())]
    return "\n\n".join(
        [
            "## Agreement with the original",
            "On the whole test split. `policy_`, `masked_`: the exported policy against the agent "
            "on the stored embeddings, all adapters allowed and random ones forbidden. `text_`: "
            "the whole way from the text (exported encoder and policy, float32) against original "
            "encoder and agent. `stored_`: against the embeddings that the table holds, which may "
            "be rounded to float16. `int8_`: an int8 encoder against the float32 one.",
            _table(["figure", "value"], rows),
        ]
    )


def _limits(manifest: BundleManifest) -> str:
    """Tell what not to expect."""
    reads = (
        f"It reads the first {manifest.encoder.max_tokens} tokens of a query and no conversation."
        if manifest.encoder.max_tokens
        else "It reads one query and no conversation."
    )
    return "\n".join(
        [
            "## Limits",
            "",
            "- It knows queries like those of its table. Elsewhere its confidence means little: "
            "watch the drift of embeddings and of arm shares.",
            f"- {reads}",
            "- It serves this pool alone: adapters of other weights need other training.",
            "- The reward comes from a self-evaluator, not from the truth; where both part, it "
            "follows the reward.",
            "- Who writes the query chooses the adapter: never route to an adapter that a user may "
            "not use; forbid it by the mask.",
        ]
    )


def _shown(figure: Any) -> list[str]:
    """Write a number, or a value with its interval."""
    if isinstance(figure, Mapping):
        return [f"{figure['value']:.4f}", f"{figure['low']:.4f} to {figure['high']:.4f}"]
    return [f"{figure:.4f}", ""]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Write a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
