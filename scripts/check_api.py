"""Try the API of a running server with generated requests, valid and invalid.

    python scripts/check_api.py --url http://127.0.0.1:8000 --cases 2000

Schemathesis reads the server's own OpenAPI document and looks for any answer that the document
does not foresee. The exit code is 1 if there is one.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from routing_gym.scripts.command import RUN_FAILED, run_command
from routing_gym.serving.api_check import check_api


@dataclass(frozen=True)
class CheckConfig:
    """Settings of the check.

    Parameters
    ----------
    url
        Of the server, without a path.
    cases
        At least so many requests.
    seed
        Of the generated data.
    key_env
        Environment variable that holds a bearer key with all scopes; empty sends none.
    """

    url: str = "http://127.0.0.1:8000"
    cases: int = 2000
    seed: int = 0
    key_env: str = ""

    def __post_init__(self) -> None:
        if self.cases < 1:
            raise ValueError(f"cases={self.cases} must be at least 1.")
        if not self.url.startswith(("http://", "https://")):
            raise ValueError(f"url={self.url!r} must begin with http:// or https://.")
        if self.key_env and not os.environ.get(self.key_env):
            raise ValueError(f"key_env={self.key_env!r} is not set: put the key there.")


def check(config: CheckConfig) -> int:
    """Check and print; failures make the exit code."""
    result = check_api(
        config.url.rstrip("/"),
        cases=config.cases,
        seed=config.seed,
        key=os.environ.get(config.key_env, "") if config.key_env else "",
    )
    for failure in result.failures:
        print(f"{failure}\n")
    print(
        f"{result.cases} cases ({result.positive} valid, {result.negative} invalid), "
        f"statuses {result.statuses}, {len(result.failures)} failures"
    )
    return RUN_FAILED if result.failures else 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command."""
    return run_command(CheckConfig, check, description=__doc__, argv=argv)


if __name__ == "__main__":
    raise SystemExit(main())
