"""A fuzz of the whole API by its own description, on a real server with a real store and model; bounded.

`python benchmarks/serve_fuzz.py` runs the same with as many cases as one likes.
"""

import importlib.util
from pathlib import Path

import pytest
from serve_live import serving

pytest.importorskip("schemathesis")
SCRIPT = Path(__file__).parents[2] / "benchmarks" / "serve_fuzz.py"
EXAMPLES = 6


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("serve_fuzz", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_nothing_breaks_and_answers_are_as_described(model, tmp_path, script):
    from palate.fakes.server import Server as Fake

    with Fake("fake:world") as fake, serving(f"sqlite:///{tmp_path}/a.db", model, upstream=fake.url) as live:
        tally = script.fuzz(live, EXAMPLES)
        operations = sum(len(item) for item in live.app.openapi()["paths"].values())
    assert tally.failures == []
    assert 500 not in tally.statuses
    assert len(tally.cases) == operations
    assert tally.total > 400
    assert tally.statuses[200] > 80  # it is not all refused at the door
    assert tally.statuses[422] > 40
