"""A fuzz of the whole API: every operation of openapi.json, with bodies that fit it and bodies that do not.

    python benchmarks/serve_fuzz.py [--examples 200] [--seed 1] [--model FOLDER]

A real server with a real store and a small fitted model runs in this process, with the fake language model
as its upstream. Schemathesis makes the cases from the API's own description, and of each answer is checked
that it is no fault of the server, has a status and a shape that the description names, is refused where the
body does not fit (query parameters that are not known are passed over), and that it says 405 to a method
that is not there. Prints how many cases each operation got and
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
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import CHECKS, load_all_checks
from schemathesis.config import SchemathesisConfig
from schemathesis.core.failures import Failure, FailureGroup

from palate.fakes.server import Server as Fake

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "serve"))
from serve_live import choice, fit_small, serving

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
CONFIG = {
    "checks": {
        # 502: the fake upstream knows no model of a name that was made up
        "not_a_server_error": {"expected-statuses": ["2xx", "3xx", "4xx", 502]},
        "negative_data_rejection": {"expected-statuses": [400, 401, 403, 404, 409, 413, 414, 415, 422, 431]},
    }
}
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
    schema = schemathesis.openapi.from_dict(live.app.openapi(), config=SchemathesisConfig.from_dict(CONFIG))
    tally = Tally()
    with requests.Session() as session, live.client() as client:
        run = Run(live.url, session, live.key(), examples, seed, tally)
        for found in schema.get_all_operations():
            operation = found.ok()
            about: list[dict[str, Any]] = [{}]
            if "{user}" in operation.path:
                about.append({"path_parameters": {"user": USER}})
            for mode in GenerationMode:
                for fixed in about:
                    if fixed:
                        client.post("/v1/feedback", json={"choices": [choice(USER, n) for n in range(6)]})
                    run(operation, operation.as_strategy(generation_mode=mode, **fixed), mode.value)
            tell(f"{operation.label}: {tally.cases[operation.label]} cases")
    return tally


@dataclass
class Run:
    """How cases are sent and checked."""

    url: str
    session: requests.Session
    key: str
    examples: int
    seed: int | None
    tally: Tally

    def __call__(self, operation: Any, strategy: Any, kind: str) -> None:
        """Send cases of one operation, and note the first that fails, made small."""
        bodiless = operation.method.upper() in ("GET", "DELETE")
        named = [n for n in NAMED if not (bodiless and n == "negative_data_rejection")]
        checks = [CHECKS.get_one(name) for name in named]
        headers = {"Authorization": f"Bearer {self.key}"}

        @settings(
            max_examples=self.examples,
            deadline=None,
            database=None,
            derandomize=self.seed is None,
            phases=[Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=strategy)
        def send(case: Any) -> None:
            response = case.call(base_url=self.url, session=self.session, headers=headers, timeout=30)
            self.tally.cases[operation.label] += 1
            self.tally.statuses[response.status_code] += 1
            case.validate_response(
                response, checks=checks, headers=headers, transport_kwargs={"session": self.session}
            )

        try:
            (send if self.seed is None else seeded(self.seed)(send))()
        except Unsatisfiable:  # it takes nothing that could be wrong
            return
        except (Failure, FailureGroup, ExceptionGroup, AssertionError) as error:
            self.tally.failures.append(f"{operation.label} ({kind}): {error}")


def main() -> int:
    """Run the fuzz by the command line's options; return the exit status."""
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
