"""What a person sees who types ``import palate``."""

import ast
import inspect
import json
import subprocess
import sys
import textwrap

import pytest

import palate
from palate import World, new_users


def run(code):
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


HEAVY = [
    "numpy",
    "scipy",
    "torch",
    "transformers",
    "sentence_transformers",
    "duckdb",
    "rich",
    "typer",
    "yaml",
]


def test_importing_palate_is_light():
    out = run(f"import palate, sys, json; print(json.dumps([m for m in {HEAVY} if m in sys.modules]))")
    assert json.loads(out) == []


def test_the_nouns_and_the_checks_need_numpy_alone():
    out = run(
        f"""
        import json, sys
        from palate import Feedback, History, Persona, Population, Query
        import palate.checks
        print(json.dumps([m for m in {HEAVY} if m in sys.modules]))
        """
    )
    assert json.loads(out) == ["numpy"]


def test_looking_up_methods_loads_none_of_them():
    out = run(
        """
        import json, sys
        from palate import catalogue
        catalogue.names()
        loaded = [m for m in sys.modules if m.startswith(("palate.reward", "palate.persona", "scipy"))]
        print(json.dumps(loaded))
        """
    )
    assert json.loads(out) == []


def test_fitting_on_lexical_features_needs_no_torch():
    out = run(
        """
        import json, sys
        from palate import Gate, build
        from palate.checks import people
        gate = Gate(method=build("lore", {"ranks": [2], "ridges": [1.0]}), control=build("pooled"))
        gate.fit(people()).adapt(people(seed=1).history(0))
        print(json.dumps([m for m in ("torch", "transformers", "sentence_transformers") if m in sys.modules]))
        """
    )
    assert json.loads(out) == []


@pytest.mark.parametrize("name", palate.__all__)
def test_every_public_name_resolves(name):
    value = getattr(palate, name)
    assert value is not None
    if inspect.isclass(value) or inspect.isfunction(value):
        assert value.__module__.startswith("palate.")
        assert value.__doc__


def test_public_names_are_unique_and_the_homes_are_right():
    assert len(set(palate.__all__)) == len(palate.__all__)
    assert set(palate.__all__) == {"__version__", *palate._HOME}


def test_an_unknown_name_says_what_there_is():
    with pytest.raises(AttributeError, match="palate has no 'Taste'; it has Feedback, Gate"):
        _ = palate.Taste


def test_the_version_is_the_packages():
    from importlib.metadata import version

    assert palate.__version__ == version("palate")


def test_the_example_of_the_docstring_runs_on_the_world(tmp_path):
    """The lines of the docstring, with the world's choices in the place of a file, and fewer candidates."""
    from palate.feedback.write import write_jsonl

    population = World.two_tastes(users=60).sample().population
    file = tmp_path / "choices.jsonl"
    write_jsonl(population, file)
    example = palate.__doc__.split("\n\n", 1)[1]
    ast.parse(textwrap.dedent(example))
    assert len(example.strip().splitlines()) <= 10
    example = example.replace('"choices.jsonl"', repr(str(file)))
    assert 'build("mixed")' in example
    quick = '{"ranks": (1,), "personals": (1.0,), "shareds": (1.0,), "inducing": 200}'
    example = example.replace('build("mixed")', f'build("mixed", {quick})')
    history = new_users("world", population).context.history(0)
    names = {"history": history}
    exec(compile(example, "docstring", "exec"), names)
    persona = names["persona"]
    assert persona.user == history.user
    assert persona.verdict.accuracy > 0.8
    assert persona.provenance.feedback == tuple(row.id for row in history.feedback)
    scores = names["model"].score(
        persona, "Plan my week", ["Rest.", "Begin with a long list of all that waits. " * 5]
    )
    likes_short = history.feedback[0].chosen_response == min(history.feedback[0].responses, key=len)
    assert (scores[0] > scores[1]) == likes_short
