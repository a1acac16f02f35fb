"""A fuzz of the whole API: every operation of openapi.json, with bodies that fit it and bodies that do not.

    python benchmarks/serve_fuzz.py [--examples 200] [--seed 1] [--model FOLDER]

A real server with a real store and a small fitted model runs in this process, with the fake language model
as its upstream. Schemathesis makes the cases from the API's own description, and of each answer is checked
that it is no fault of the server, has a status and a shape that the description names, is refused where the
body does not fit, and says 405 to a method that is not there. Prints how many cases each operation got and
how they were answered; ends with 1 if a check failed.
"""

import argparse
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as seeded
from schemathesis import GenerationMode
from schemathesis.checks import CHECKS, load_all_checks
from schemathesis.core.failures import Failure, FailureGroup

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "serve"))
load_all_checks()
NAMED = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
    "unsupported_method",
)
USER = "ann"


@dataclass
class Tally:
    """What was sent and what came back."""

    cases: Counter[str] = field(default_factory=Counter)
    statuses: Counter[int] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)

    @property
    def total(self) -> int:
        return sum(self.cases.values())


def fuzz(live: Any, examples: int, seed: int | None = None, tell: Any = lambda _: None) -> Tally:
    """Fuzz a running server.

    Args:
        live: A server of ``serve_live.serving``.
        examples: Cases of each operation and kind: fitting or not, about anybody or about a known user.
        seed: Of the cases; None takes the same ones each time.
        tell: Is told each operation when it is done.
    """
    from serve_live import choice

    schema = schemathesis.openapi.from_dict(live.app.openapi())
    checks = [CHECKS.get_one(name) for name in NAMED]
    tally, session, client = Tally(), requests.Session(), live.client()
    key = {"Authorization": f"Bearer {live.key()}"}

    for found in schema.get_all_operations():
        operation = found.ok()
        kinds: list[dict[str, Any]] = [{}]
        if "{user}" in operation.path:
            kinds.append({"path_parameters": {"user": USER}})
        for mode in GenerationMode:
            for kind in kinds:
                if kind:
                    client.post("/v1/feedback", json={"choices": [choice(USER, n) for n in range(6)]})
                try:
                    strategy = operation.as_strategy(generation_mode=mode, **kind)
                    _run(strategy, operation.label, live.url, session, key, checks, tally, examples, seed)
                except (Failure, FailureGroup, ExceptionGroup, AssertionError) as error:
                    tally.failures.append(f"{operation.label} ({mode.value}): {error}")
        tell(f"{operation.label}: {tally.cases[operation.label]} cases")
    return tally


def _run(strategy, label, url, session, key, checks, tally, examples, seed):
    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=seed is None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=strategy)
    def run(case: Any) -> None:
        response = case.call(base_url=url, session=session, headers=key, timeout=30)
        tally.cases[label] += 1
        tally.statuses[response.status_code] += 1
        case.validate_response(response, checks=checks, headers=key, transport_kwargs={"timeout": 30})

    (run if seed is None else seeded(seed)(run))()


def main() -> int:
    """Run the fuzz by the command line's options; return the exit status."""
    from serve_live import fit_small, serving

    from palate.fakes.server import Server as Fake

    options = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    options.add_argument("--examples", type=int, default=200)
    options.add_argument("--seed", type=int, default=None)
    options.add_argument("--model", default="")
    given_ = options.parse_args()
    with tempfile.TemporaryDirectory() as folder, Fake("fake:world") as fake:
        model = given_.model or fit_small(Path(folder))
        with serving(f"sqlite:///{folder}/a.db", model, upstream=fake.url, body_limit=1 << 22) as live:
            tally = fuzz(live, given_.examples, given_.seed, print)
    print(f"{tally.total:,} cases of {len(tally.cases)} operations")
    print("answers:", ", ".join(f"{status}: {count:,}" for status, count in sorted(tally.statuses.items())))
    print(*tally.failures, sep="\n\n")
    return int(bool(tally.failures))


if __name__ == "__main__":
    sys.exit(main())
