"""Read methods against a real server on loopback: real HTTP, a real tokenizer, a model made here.

The model understands nothing: it has learned the forms of answers alone. What is tested is the path.
"""

import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

NEEDED = ("torch", "transformers", "accelerate", "fastapi", "uvicorn", "dspy")
SCRIPT = Path(__file__).parents[1] / "benchmarks" / "real_server.py"


@pytest.mark.skipif(
    any(find_spec(name) is None for name in NEEDED), reason=f"a real server needs {', '.join(NEEDED)}"
)
def test_read_methods_run_against_a_real_server(tmp_path):
    words = [
        sys.executable,
        str(SCRIPT),
        "--users",
        "6",
        "--steps",
        "200",
        "--no-facets",
        "--methods",
        "default,memory",
    ]
    done = subprocess.run(words, capture_output=True, text=True, timeout=400, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    lines = {line.split()[0]: line for line in done.stdout.splitlines() if line.strip()}
    for name in ("default", "memory"):
        found = re.match(rf"{name}\s+(0\.\d+|1\.0+)\s+(\d+)", lines[name])
        assert found, f"{name} did not come through: {lines[name]}"
        assert int(found.group(2)) > 0
