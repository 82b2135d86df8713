"""Turn a trained agent into a bundle: policy and encoder as ONNX, verified, with a model card.

The run is one of scripts/train_ppo.py, train_router.py or train_agent.py. What is exported must
decide every test query as the agent does (probabilities to 1e-5, choices exactly), from the stored
embeddings, with random adapters forbidden, and from the text; otherwise nothing is written.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import yaml

from routing_gym.adapters.base_model import cache_folder
from routing_gym.adapters.embedding import QueryEncoder
from routing_gym.adapters.encoder_folder import load_encoder, named_encoder
from routing_gym.agents import load_agent
from routing_gym.agents.agent import Agent
from routing_gym.benchmark.runs import Splits
from routing_gym.scripts.command import run_command
from routing_gym.scripts.training_run import ENCODER_FOLDER, Problem, load_problem, observed
from routing_gym.serving.bundle import PolicyBundle
from routing_gym.serving.exploration import Exploration
from routing_gym.serving.hub import push_bundle
from routing_gym.serving.policy_export import ExportOptions, ExportSource, export_bundle

_LOW = 0.98  # share of equal choices below which int8 deserves a word
_SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class ExportPolicyConfig:
    """Settings of the command.

    Parameters
    ----------
    run
        Folder of the training run.
    output
        Folder of the bundle; replaced if it holds one.
    table
        Folder of the outcome table; empty takes the run's.
    name
        Of the policy, as in model="router:<name>"; empty takes the agent's.
    int8
        Whether the encoder's weights take 8 bits; how far that changes decisions is measured.
    exploration
        How the server explores unless it is told otherwise: greedy, epsilon, softmax or policy.
    epsilon
        Share of uniform decisions of the exploration "epsilon", in [0, 1].
    temperature
        Of the exploration "softmax", above 0; 0 takes the one that is fitted on validation.
    fallback
        Whether the best single adapter answers below the confidence that is fitted on validation.
    preference
        Weight of the cost at which a preference-conditioned agent is exported; null takes the
        run's.
    push
        Where to push the bundle as well: hf://owner/name or a folder; empty pushes nowhere.
    resamples
        Bootstrap resamples behind the card's intervals, at least 100.
    """

    run: Path = Path("runs/ppo")
    output: Path = Path("bundles/ppo")
    table: str = ""
    name: str = ""
    int8: bool = False
    exploration: Literal["greedy", "epsilon", "softmax", "policy"] = "greedy"
    epsilon: float = 0.0
    temperature: float = 0.0
    fallback: bool = True
    preference: float | None = None
    push: str = ""
    resamples: int = 2000

    def __post_init__(self) -> None:
        if self.resamples < 100:
            raise ValueError(f"resamples={self.resamples} must be at least 100 for 95 % intervals.")
        Exploration(self.exploration, self.epsilon, self.temperature or 1.0)  # its own checks
        if self.epsilon and self.exploration != "epsilon":
            raise ValueError(
                f"epsilon={self.epsilon} is of no use to exploration={self.exploration!r}: set "
                "exploration to 'epsilon'."
            )

    @property
    def options(self) -> ExportOptions:
        """How the bundle is to behave."""
        return ExportOptions(
            name=self.name,
            precision="int8" if self.int8 else "float32",
            exploration=self.exploration,
            epsilon=self.epsilon,
            temperature=self.temperature,
            fallback=self.fallback,
            resamples=self.resamples,
        )


def export(config: ExportPolicyConfig) -> None:
    """Load the run, export, push and print."""
    source = load_run(config.run, table=config.table, preference=config.preference)
    bundle = export_bundle(source, config.output, config.options)
    print("\n".join(_summary(bundle)))
    print(f"bundle: {config.output}")
    if config.push:
        push_bundle(config.output, config.push)
        print(f"pushed: {config.push}")


def load_run(run: Path, *, table: str = "", preference: float | None = None) -> ExportSource:
    """Read a training run: agent, encoder, and the splits as the agent saw them.

    Parameters
    ----------
    run
        What a training command wrote.
    table
        Folder of the outcome table; empty takes the run's.
    preference
        Weight of the cost, for agents that take one; None takes the run's.

    Raises
    ------
    FileNotFoundError
        If the run, its table or its encoder is not there.
    ValueError
        If the table is not the one of the training, the encoder has no export, or the agent takes
        no preference.
    """
    agent = load_agent(run / "policy")
    if preference is not None:
        if not hasattr(agent, "at"):
            raise ValueError(
                f"preference={preference}: agent {agent.name!r} takes none; leave it out."
            )
        agent = agent.at(preference)
    settings = yaml.safe_load((run / "config.yaml").read_text("utf-8"))
    problem = load_problem(Path(table or settings["table"]), agent.metadata.get("reward", {}))
    if agent.metadata.get("table") != problem.table.fingerprint:
        raise ValueError(
            f"{table or settings['table']} is not the table that {run} was trained on (its "
            "fingerprint differs): give that one, or train again."
        )
    encoder, splits = _load_encoder(run, agent, problem)
    texts = {
        name: [str(text) for text in problem.table.text[problem.table.split == name]]
        for name in _SPLITS
    }
    records = problem.table.manifest.adapters
    return ExportSource(
        agent=agent,
        encoder=encoder,
        splits=splits,
        texts=texts,
        adapter_hashes={record.name: record.sha256 for record in records},
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command."""
    return run_command(
        ExportPolicyConfig,
        export,
        description=__doc__,
        default_config="configs/export_policy.yaml",
        argv=argv,
    )


def _load_encoder(run: Path, agent: Agent, problem: Problem) -> tuple[QueryEncoder, Splits]:
    """Return the encoder, and the splits as the agent saw them."""
    if (run / ENCODER_FOLDER).is_dir():
        encoder = load_encoder(run / ENCODER_FOLDER, cache=cache_folder())
        return encoder, observed(problem, encoder)
    fitted = problem.folder.with_name(f"{problem.folder.name}-tfidf")
    return named_encoder(str(agent.metadata.get("encoder", "")), fitted=fitted), problem.splits


def _summary(bundle: PolicyBundle) -> list[str]:
    """Tell what was exported."""
    manifest, figures = bundle.manifest, bundle.manifest.agreement
    reward, rule = manifest.test["reward"], manifest.fallback
    lines = [
        f"router {manifest.name!r}, version {manifest.version}: {manifest.agent} over "
        f"{', '.join(manifest.adapters)}",
        f"encoder: {manifest.encoder.name} ({manifest.encoder.precision})",
        f"test reward {reward['value']:.4f} [{reward['low']:.4f}, {reward['high']:.4f}], best "
        f"single adapter {manifest.test['best_single_reward']:.4f}, "
        f"{manifest.test['queries']} queries",
        f"agreement with the agent: probabilities to {figures['policy_probability_max']:.1e}, "
        f"from the text to {figures['text_probability_max']:.1e}, all choices equal",
        f"choices equal to those on the table's own embeddings: "
        f"{figures['stored_argmax_share']:.4f}",
        f"fallback to {rule.adapter!r} below confidence {rule.threshold:.4f}"
        if rule.threshold
        else "fallback: never",
    ]
    if "int8_argmax_share" in figures:
        share = figures["int8_argmax_share"]
        lines.append(
            f"int8: least cosine {figures['int8_cosine_min']:.4f}, choices equal {share:.4f}, "
            f"reward {figures['int8_reward_difference']:+.4f}"
            + (" (few: consider the float32 encoder)" if share < _LOW else "")
        )
    return lines


if __name__ == "__main__":
    raise SystemExit(main())
