"""The commands as a person runs them: what they print, what they write, and how they fail."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest

from palate import cli

SMALL = ("--set", "world.users=40", "--set", "world.pairs=8", "--set", "world.targets=4")


@pytest.fixture
def palate(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["palate", *map(str, words)])
        code = 0
        try:
            cli.main()
        except SystemExit as stop:
            code = stop.code or 0
        seen = capsys.readouterr()
        return code, seen.out, seen.err

    return run


@pytest.fixture
def choices(tmp_path, palate):
    code, _, _ = palate("data", "world", "choices.jsonl", "--set", "users=60", "--preset", "two_tastes")
    assert code == 0
    return tmp_path / "choices.jsonl"


def test_help_is_quick():
    started = time.perf_counter()
    done = subprocess.run([sys.executable, "-m", "palate.cli", "--help"], capture_output=True, check=True)
    assert time.perf_counter() - started < 3.0
    assert b"bench" in done.stdout
    heavy = "import sys, palate.cli; print([m for m in ('numpy', 'scipy', 'rich.table') if m in sys.modules])"
    light = subprocess.run([sys.executable, "-c", heavy], capture_output=True, check=True, text=True)
    assert "scipy" not in light.stdout


def test_bench_writes_a_report_and_goes_on_from_what_is_finished(palate, tmp_path):
    words = ("bench", "--methods", "pooled,style", "--out", "out", *SMALL)
    code, out, _ = palate(*words)
    assert code == 0
    assert "2 of 2 cells to run" in out
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["schema"] == "palate-report/2"
    assert out.strip().splitlines()[-1].endswith("report.html")
    row = report["rows"][0]
    expected = [
        "dataset",
        "protocol",
        "encoder",
        "method",
        "metric",
        "value",
        "low",
        "high",
        "users",
        "pairs",
        "against",
    ]
    assert list(row) == expected
    seen = {(r["method"], r["metric"]) for r in report["rows"]}
    assert {
        ("style", "accuracy"),
        ("style+gate", "helped"),
        ("oracle", "accuracy"),
        ("ideal", "log_loss"),
    } <= seen
    stamps = {p: p.stat().st_mtime_ns for p in (tmp_path / "out" / "cells").iterdir()}
    code, out, _ = palate(*words)
    assert "0 of 2 cells to run (2 finished before)" in out
    assert stamps == {p: p.stat().st_mtime_ns for p in (tmp_path / "out" / "cells").iterdir()}


def test_a_saved_run_replays(palate, tmp_path):
    palate("bench", "--methods", "pooled,individual", "--out", "one", *SMALL)
    code, _, _ = palate("bench", "--config", tmp_path / "one" / "run.yaml", "--out", "two")
    assert code == 0
    first, second = (json.loads((tmp_path / d / "report.json").read_text()) for d in ("one", "two"))
    figures = [
        [r for r in run["rows"] if not re.search("seconds|peak", r["metric"])] for run in (first, second)
    ]
    assert figures[0] == figures[1]


def test_the_parts_of_the_main_job(palate, choices, tmp_path):
    code, out, _ = palate("fit", choices, "--out", "model", "--method", "individual")
    assert code == 0
    assert "individual+gate" in out
    code, out, _ = palate("adapt", "model", choices, "--out", "personas.jsonl")
    lines = (tmp_path / "personas.jsonl").read_text().splitlines()
    assert code == 0
    assert len(lines) == 60
    persona = json.loads(lines[0])
    assert persona["verdict"]["choices"] > 0
    assert len(persona["provenance"]["feedback"]) == persona["verdict"]["choices"]
    user = persona["user"]
    answers = (
        "-r",
        "Sleep more.",
        "-r",
        "Sleep more, and keep to the same hours every day of the week. " * 9,
    )
    code, ranked, _ = palate(
        "rank", "model", "-p", "Tips?", *answers, "-u", user, "--personas", "personas.jsonl"
    )
    assert code == 0
    code, again, _ = palate("rank", "model", "-p", "Tips?", *answers, "-u", user, "--history", choices)
    assert ranked == again
    code, told, _ = palate("explain", "model", choices, "--user", user)
    assert code == 0
    assert re.search(r"Prefers (shorter|longer) answers: \d+ of \d+ choices", told)
    assert "chose" in told
    assert "held-back choices" in told


def test_looking_at_data(palate, choices):
    code, out, _ = palate("data", "check", choices)
    assert code == 0
    assert "longer" in out
    code, out, _ = palate("data", "check", choices, "--json")
    assert json.loads(out)["read"]["rows"] > 1000
    code, out, _ = palate("data", "describe", choices)
    assert code == 0
    code, out, _ = palate("methods")
    assert all(name in out for name in ("random", "pooled", "mixed", "lore", "style"))


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("bench", "nowhere.jsonl"), 3, "nowhere.jsonl"),
        (("bench", "--methods", "mixd"), 2, "did you mean 'mixed'"),
        (("bench", "--encoder", "lexcal"), 2, "lexical"),
        (("bench", "--set", "mixed.rnk=1", "--methods", "mixed"), 2, "rnk"),
        (("bench", "--set", "nonsense"), 2, "METHOD.FIELD=VALUE"),
        (("bench", "--world", "flat"), 2, "two_tastes"),
        (("bench", "--config", "none.yaml"), 2, "none.yaml"),
        (("bench", "--config", "none.yaml", "--methods", "mixed"), 2, "already says"),
        (("rank", "nothing", "-p", "Hi", "-r", "a", "-r", "b"), 6, "palate fit"),
        (("report", "nothing"), 2, "palate bench"),
        (("data", "check", "nowhere.csv"), 3, "nowhere.csv"),
    ],
)
def test_mistakes_get_a_message_and_a_code(palate, words, code, says):
    got, _, error = palate(*words)
    assert got == code
    assert error.strip().startswith("palate: ")
    assert says in error
    assert "Traceback" not in error


def test_unknown_users_and_single_responses(palate, choices):
    palate("fit", choices, "--out", "model", "--method", "pooled")
    code, _, error = palate("explain", "model", choices, "--user", "nobody")
    assert (code, "no user 'nobody'" in error) == (3, True)
    code, _, error = palate("rank", "model", "-p", "Hi", "-r", "only one")
    assert (code, "two or more" in error) == (2, True)


def test_a_failing_method_leaves_the_others(palate, tmp_path):
    planet = ("--set", "conditional.on=planet")
    code, _, error = palate("bench", "--methods", "conditional,style", *planet, *SMALL)
    assert code == 0
    assert "conditional" in error
    assert "planet" in error
    report = json.loads((tmp_path / "palate-out" / "report.json").read_text())
    assert [f["method"] for f in report["failures"]] == ["conditional"]
    assert any(r["method"] == "style" for r in report["rows"])


def test_bad_rows_are_told_and_the_good_ones_used(palate, choices, tmp_path):
    with choices.open("a") as file:
        file.write('{"user": "x", "prompt": "p", "chosen": "a"}\nnot json\n')
    code, _, _ = palate("bench", choices, "--methods", "pooled")
    assert code == 0
    report = json.loads((tmp_path / "palate-out" / "report.json").read_text())
    assert report["datasets"][0]["rows_set_aside"] == 2
    assert any("2 of" in note for note in report["notes"])


def test_no_room_for_the_report(palate, tmp_path, monkeypatch):
    (tmp_path / "out").write_text("a file where the folder should be")
    code, _, error = palate("bench", "--methods", "pooled", "--out", "out", *SMALL)
    assert code == 6
    assert "out" in error


@pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them")
def test_ctrl_c_keeps_what_is_finished(tmp_path):
    words = [sys.executable, "-m", "palate.cli", "bench", "--out", str(tmp_path / "out")]
    words += ["--set", "world.users=300", "--methods", "pooled,individual,mixed"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    cells = tmp_path / "out" / "cells"
    for _ in range(600):
        if cells.is_dir() and any(p.suffix == ".npz" and p.name[0] != "." for p in cells.iterdir()):
            break
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "goes on" in error
    assert any(p.suffix == ".npz" for p in cells.iterdir())
