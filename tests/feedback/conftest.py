"""Helpers of the feedback tests: files made of rows, and real data."""

import os
from dataclasses import replace
from pathlib import Path

import pytest
from feedback_rows import as_lines

from palate.core import Feedback, Population, Turn, as_conversation
from palate.feedback import read

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def jsonl(tmp_path):
    """Return a function that writes rows into a file and returns its path."""

    def write(*rows, name="rows.jsonl"):
        path = tmp_path / name
        path.write_bytes(as_lines(rows))
        return path

    return write


@pytest.fixture
def read_rows(jsonl):
    """Return a function that reads rows through a file."""
    return lambda *rows, **options: read(jsonl(*rows), **options)


@pytest.fixture
def real():
    """Return a function from a name to a real file, or a skip that says why."""

    def find(name):
        folder = Path(os.environ.get("PALATE_DATA", ROOT.parent / "shared" / "data"))
        path = folder / name
        if not path.is_file():
            pytest.skip(f"no real data: {path} is missing; set PALATE_DATA to its folder")
        return path

    return find


@pytest.fixture
def mixed():
    """Return a population with everything: two-way, n-way, ties, turns, times, reasons, profiles, roles."""
    turns = (Turn("system", "Be kind."), Turn("user", "Hi"), Turn("assistant", "Hello"), Turn("user", "Why?"))
    population = Population.of(
        [
            Feedback("bob", turns, ("Because.", "لأن 🙂", "Who knows"), chosen=1, id="b1", time=20.5),
            Feedback("ann", as_conversation("Hi"), ("Yo.", "Hello!"), chosen=1, time=3.0, reason="warmer"),
            Feedback("bob", as_conversation("Hi"), ("Yo.", "Hello!"), chosen=None, id="b0", time=10.0),
            Feedback("ann", as_conversation("Hi"), ("Hello!", "Hey"), chosen=0),
            Feedback("ann", (), ("one", "two"), chosen=0, time=1.0),
        ]
    )
    population.role[:] = [2, 0]
    population.split[:] = [0, 1, 0, -1, 1]
    profiles = {"bob": {"age": "40", "town": "Łódź"}}
    return replace(population, profiles=profiles)
