"""Write what the reports say into the README, between its markers."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from routing_gym.scripts.command import run_command

PARTS = {"train": "train_ppo/comparison.md", "scaling": "scaling/model.md"}
"""Marker -> the part of a report that stands there."""
BLOCKS = ("figures", *PARTS)
FIGURES: dict[str, dict[str, str]] = {
    "pool": {
        "own_over_base_min": "each adapter's accuracy on its own domain over the base's, the least",
        "own_minus_next_low_min": "lower end of an owner's interval minus the highest upper end "
        "of any other adapter's, the least",
        "memory_over_separate_models": "memory of the pool over that of five separate models",
    },
    "routing": {
        "best_full_gap_closed": "share of the gap between best single adapter and oracle that the "
        "best agent with full information closes",
        "best_full_minus_knn": "its reward minus kNN's",
        "best_full_minus_task_lookup": "its reward minus that of the (privileged) task look-up",
        "best_bandit_gap_closed": "the same gap, the best agent with bandit feedback",
        "best_bandit_minus_knn": "its reward minus kNN's",
        "best_bandit_minus_task_lookup": "its reward minus that of the task look-up",
        "best_bandit_over_full": "reward of the best bandit that paid for at most 40 % of the "
        "outcomes, over that of the best agent with full information",
        "ppo_minus_best_single": "PPO's reward minus the best single adapter's",
        "ppo_over_supervised": "PPO's reward over the supervised router's",
        "accuracy_gain_over_best_single": "relative gain in verified accuracy over the best single "
        "adapter: the router of the highest accuracy on validation, whichever reward it was "
        "trained on",
        "routing_accuracy": "its choices in the tie set of most accurate adapters, where they "
        "differ",
        "routing_accuracy_all": "the same over all queries",
        "quality_gain_over_best_single": "relative gain in the plain mean of the quality metrics",
        "seconds_over_best_single": "seconds per answer over the best single adapter's",
        "gumbel_minus_softmax": "ablation: reward with the Gumbel-Softmax sample in the loss minus "
        "that with plain softmax",
        "gumbel_minus_regression": "the same, minus that of score regression",
        "accuracy_lost_to_reward_ppo": "PPO's accuracy when trained on accuracy minus that when "
        "trained on the self-evaluated reward",
    },
    "self_evaluator": {
        "auroc_overall": "self-evaluator: the quality model's AUROC against verified accuracy",
        "auroc_domain_min": "the same in its weakest domain",
        "auroc_plain": "the same of the plain weighted sum of metrics",
        "auroc_best_single_metric": "the same of the best single metric",
        "adversarial_right": "adversarial pairs in which quality prefers the right answer",
        "adversarial_right_without_signals": "the same without token probabilities",
        "ece": "expected calibration error of the quality model",
        "conformal_coverage": "coverage of the 90 % sets of adapters that could be best",
        "conformal_mean_size": "their mean size, of five adapters",
        "error_auroc": "how well uncertainty foretells the quality model's errors, the least of "
        "MC dropout and ensemble",
        "accuracy_kept": "PPO's accuracy trained on the self-evaluated reward over that trained on "
        "verified accuracy",
        "accuracy_kept_plain": "the same with the plain weighted sum as the reward",
        "scoring_over_generation": "time of scoring an answer over that of generating it",
    },
    "routellm": {
        "apgr_mmlu": "RouteLLM's MMLU table: average performance gap recovered, interval over "
        "seeds",
        "apgr_mmlu_corrected": "the same, the interval corrected for halves that overlap",
        "apgr_gsm8k": "on its GSM8K table, interval over seeds",
        "apgr_gsm8k_corrected": "the same, corrected",
    },
    "serving": {
        "decision_over_encoder": "served policy: a decision, text in and adapter out, over the "
        "encoder's own forward pass",
        "overhead_ms_p50": "milliseconds of a request beyond the encoder: policy, log, HTTP",
        "batch32_over_batch1": "texts per second in batches of 32 over one by one",
        "openai_peak_mb": "peak memory of the server with the openai back end, MB",
        "local_server_over_base": "memory of the server with the local pool of four adapters over "
        "the base alone",
        "separate_models_over_base": "the same of four separate models",
        "overload_p99_ratio": "p99 of the accepted requests at fifteen times the capacity over "
        "that of an idle server",
        "overload_crashes": "crashes under it",
        "propensity_p_value": "p-value of the test that choices fit the logged propensities",
        "schemathesis_failures": "failures of the API under Schemathesis",
        "faults_lost": "acknowledged decisions and rewards lost in the fault matrix",
        "faults_doubled": "decisions logged twice in it",
    },
    "speed": {
        "linucb_rounds_over_vw": "bandit rounds per second, LinUCB over Vowpal Wabbit's SquareCB",
        "linucb_regret_minus_vw": "its regret minus Vowpal Wabbit's on the same stream",
        "linucb_rounds_over_vw_k": "the same against Vowpal Wabbit's form for a fixed number of "
        "arms, whose regret is far higher",
        "linucb_rounds_over_contextualbandits": "the same against contextualbandits' LinUCB, round "
        "by round",
        "linucb_batched_rounds_over_contextualbandits": "the same in batches of 16",
        "env_native_over_dummy": "environment steps per second, native over SB3's DummyVecEnv(8)",
        "env_index_over_dummy": "the same with observations that are indices",
        "env_cost_1e6_over_1e3": "cost of a step at a million queries over that at a thousand",
        "ppo_time_to_95_ratio": "seconds until PPO has closed 95 % of the gap, SB3's defaults on "
        "DummyVecEnv(8) over our fastest settings",
        "ppo_final_gap_difference": "what it closes in the end minus what SB3's defaults close",
        "collection_over_loop": "answers per second, ours over a plain loop of generate",
        "collection_identical": "share of its answers that are the plain loop's",
        "table_open_seconds_1e7": "seconds to open ten million queries",
        "table_train_mb_1e7": "megabytes of memory while PPO trains on them",
    },
    "off_policy": {
        "snips_rmse_over_bound": "off-policy evaluation: SNIPS's error over its asymptotic bound, "
        "worst scenario at 4,000 decisions",
        "dr_rmse_over_bound": "the same, doubly robust with cluster means, over the bound given "
        "the clusters",
        "dr_ridge_rmse_over_bound": "the same with the ridge on embeddings",
        "coverage_min": "least coverage of the 95 % normal intervals, over the pairs of scenario "
        "and size at which at least half of the logs overlap safely",
        "coverage_max": "the greatest",
        "coverage_everywhere_min": "the least over all logs, those with too little overlap, of "
        "which the command warns, as well",
        "coverage_bootstrap_min": "the least of the percentile bootstrap's",
    },
    "scenarios": {
        "budget_ppo_minus_best_rule": "Budget-v0: PPO's return minus the best tuned rule's",
        "budget_ppo_over_hindsight": "PPO's return over the hindsight bound",
        "adapter_cache_ppo_minus_best_rule": "AdapterCache-v0: PPO minus the best tuned rule",
        "cascade_ppo_minus_best_rule": "Cascade-v0: PPO minus the best tuned rule",
        "cascade_ppo_over_hindsight": "PPO's return over the oracle's",
        "drift_ppo_minus_best_rule": "Drift-v0: PPO minus the best tuned rule",
        "drift_recurrent_minus_best_rule": "the same, RecurrentPPO",
        "preference_ppo_minus_best_rule": "Preference-v0: PPO minus the best tuned rule",
    },
    "improvement": {
        "weakest_gain": "one cycle of `scripts/improve.py`: verified accuracy in the weakest "
        "region on the test split, new pool and router minus old, paired",
        "weakest_gain_low": "lower end of its interval",
        "overall_gain": "the same over all test queries",
        "overall_gain_low": "lower end of its interval",
        "seen_gain": "in the weakest region, on test queries whose content is in the made data too",
        "unseen_gain": "on those whose content is not",
        "domains_worse": "domains whose interval lies below zero",
        "leaks": "near duplicates between the made data and any evaluation query",
        "minutes": "minutes of the cycle on two cores",
        "kills_survived": "kills at random moments of a cycle and a collection, out of twenty, "
        "after which nothing was lost, doubled or half promoted",
    },
    "improvement/training": {
        "alliteration_sft_gain": "*alliteration*, a budget of 200 CPU seconds: accuracy gained by "
        "supervised fine-tuning",
        "alliteration_grpo_gain": "gained by GRPO on the same budget",
        "alliteration_grpo_minus_sft": "GRPO minus supervised fine-tuning",
        "ordering_sft_gain": "*ordering*, a budget of 200 CPU seconds: accuracy gained by "
        "supervised fine-tuning",
        "ordering_grpo_gain": "gained by GRPO on the same budget",
        "ordering_grpo_minus_sft": "GRPO minus supervised fine-tuning",
        "rhyme_sft_gain": "*rhyme*, a budget of 200 CPU seconds: accuracy gained by "
        "supervised fine-tuning",
        "rhyme_grpo_gain": "gained by GRPO on the same budget",
        "rhyme_grpo_minus_sft": "GRPO minus supervised fine-tuning",
    },
    "improvement/training_sorting": {
        "sorting_sft_gain": "*sorting*, a budget of 700 CPU seconds: accuracy gained by supervised "
        "fine-tuning",
        "sorting_grpo_gain": "gained by GRPO on the same budget",
        "sorting_grpo_minus_sft": "GRPO minus supervised fine-tuning",
    },
    "scaling": {
        "ray_speedup": "collection with Ray on two workers over one worker of one thread, answers "
        "per second",
        "ray_identical": "1 if every outcome is the same to the byte",
        "ray_speedup_with_start": "the same with the start of Ray and its workers",
        "local_speedup": "two local processes over one",
        "local_identical": "1 if every outcome is the same to the byte",
        "http_answers_per_second": "answers per second that the HTTP client takes from a server "
        "that answers at once",
    },
    "ablation": {
        "accuracy_all_linear_rank_8": "code adapter, short training: LoRA of rank 8 on all layers",
        "accuracy_attention_rank_16": "the same, of rank 16 on attention alone",
    },
}


@dataclass(frozen=True)
class Config:
    """What is read and written.

    Parameters
    ----------
    readme
        The file with the markers.
    results
        Folder of the reports.
    reports
        Which reports, by name.
    """

    readme: str = "README.md"
    results: str = "results"
    reports: list[str] = field(default_factory=lambda: list(FIGURES))


def render(results: Path, reports: Sequence[str] = tuple(FIGURES)) -> str:
    """Make the table of figures from the reports' summaries.

    Raises
    ------
    FileNotFoundError
        If a report has no ``summary.json``.
    """
    lines = ["| figure | value | 95 % interval | what it is |", "|---|---|---|---|"]
    for report in reports:
        path = results / report / "summary.json"
        if not path.is_file():
            raise FileNotFoundError(f"{path} is missing: run `make reports` first.")
        summary = json.loads(path.read_text(encoding="utf-8"))
        for name, meaning in FIGURES[report].items():
            if name in summary:
                lines.append(
                    f"| [`{name}`](results/{report}) | {_cells(summary[name])} | {meaning} |"
                )
    return "\n".join(lines)


def _cells(figure: float | dict[str, float]) -> str:
    """Write a figure's value and interval."""
    if isinstance(figure, dict):
        return f"{figure['value']:.3f} | {figure['low']:.3f} to {figure['high']:.3f}"
    return f"{figure:.3f} | "


def render_block(block: str, results: Path, reports: Sequence[str] = tuple(FIGURES)) -> str:
    """Make one block of the page: the table of figures, or a part of a report."""
    if block == "figures":
        return render(results, reports)
    path = results / PARTS[block]
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: run `make reports` first.")
    return path.read_text(encoding="utf-8").strip()


def marks(block: str) -> tuple[str, str]:
    """Return a block's markers."""
    return f"<!-- {block}: begin -->", f"<!-- {block}: end -->"


def update(config: Config) -> None:
    """Replace what stands between the markers."""
    path = Path(config.readme)
    text = path.read_text(encoding="utf-8")
    for block in BLOCKS:
        begin, end = marks(block)
        if text.count(begin) != 1 or text.count(end) != 1:
            raise ValueError(f"{path} must hold {begin!r} and {end!r} once each.")
        head, rest = text.split(begin)
        tail = rest.split(end)[1]
        content = render_block(block, Path(config.results), config.reports)
        text = f"{head}{begin}\n\n{content}\n\n{end}{tail}"
    path.write_text(text, encoding="utf-8")
    print(f"{path} shows what {config.results} says.")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command."""
    return run_command(Config, update, description=__doc__, argv=argv)


if __name__ == "__main__":
    sys.exit(main())
