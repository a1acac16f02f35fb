"""The verbs that ask a language model, as a person runs them."""

import json
import sys

import pytest

from palate import cli

FAKE = "fake:world?error=0.1"


@pytest.fixture
def palate(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PALATE_LM_STORE", str(tmp_path / "lm"))
    monkeypatch.delenv("PALATE_LM", raising=False)

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["palate", *map(str, words)])
        code = 0
        try:
            cli.main()
        except SystemExit as stop:
            code = stop.code or 0
        seen = capsys.readouterr()
        return code, seen.out, seen.err

    assert (
        run("data", "world", "w.jsonl", "--set", "users=30", "--set", "pairs=8", "--set", "episodes=2")[0]
        == 0
    )
    return run


def test_fit_explain_and_trace(palate):
    code, out, err = palate("fit", "w.jsonl", "-m", "pi", "--lm", FAKE, "-o", "m")
    assert code == 0
    assert "pi+gate on 15 users" in out
    assert "language models" in err
    code, out, _ = palate("explain", "m", "w.jsonl", "-u", "u000003")
    assert code == 0
    assert "a fake language model wrote this" in out
    assert "Does it hold?" in out
    code, out, _ = palate("trace", "--user", "u000003", "--program", "judge", "--json", "--limit", "1")
    call = json.loads(out)
    assert "<first>" in call["messages"][1][1]
    code, out, _ = palate("trace", call["key"][:12])
    assert "temperature" in out
    assert call["text"].splitlines()[0] in out
    assert palate("trace", "--forget", "u000003")[1].endswith("that served u000003 alone\n")


def test_personas_are_exported_and_compared(palate, tmp_path):
    palate("fit", "w.jsonl", "-m", "memory", "--lm", FAKE, "-o", "m", "--no-gate")
    assert palate("adapt", "m", "w.jsonl", "-o", "p.jsonl")[0] == 0
    code, out, _ = palate("persona", "export", "p.jsonl", "-u", "u000001")
    assert code == 0
    assert "What they like" in out
    code, _, err = palate(
        "persona", "export", "p.jsonl", "--as", "preference", "--history", "w.jsonl", "-o", "rows.jsonl"
    )
    assert code == 0
    assert "rows" in err
    row = json.loads((tmp_path / "rows.jsonl").read_text().splitlines()[0])
    assert row["prompt"][0]["role"] == "system"
    code, out, _ = palate("persona", "diff", "p.jsonl", "p.jsonl", "-u", "u000001")
    assert code == 0
    assert palate("persona", "export", "no.jsonl")[0] == 3
    assert palate("persona", "export", "p.jsonl", "--as", "sft")[0] == 2


def test_judge_says_what_both_orders_say(palate):
    code, out, _ = palate(
        "judge", "-p", "How?", "-r", "Short.", "-r", "A long answer. " * 20,
        "--persona", "Likes short answers.",
        "--lm", "fake:world",
    )  # fmt: skip
    assert code == 0
    assert "is a fake" in out
    assert "as given" in out
    assert "exchanged" in out
    assert "for the first response" in out
    assert palate("judge", "-p", "How?", "-r", "One", "--lm", "fake:world")[0] == 2


def test_no_model_no_key_and_no_word(palate, monkeypatch, tmp_path):
    words = ("judge", "-p", "How?", "-r", "a", "-r", "b")
    code, _, err = palate(*words)
    assert code == 2
    assert "--lm" in err
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    code, _, err = palate(*words, "--lm", "openai/gpt-4o-mini")
    assert code == 7
    assert "OPENAI_API_KEY" in err
    monkeypatch.setenv("OPENAI_API_KEY", "sk-not-to-be-seen")
    code, out, err = palate("bench", "-m", "default", "--set", "world.users=20", "--lm", "openai/gpt-4o-mini")
    assert code == 2
    assert "--yes" in err
    assert "calls" in out
    code, out, err = palate(*words, "--lm", "openai/x@http://127.0.0.1:9/v1")
    assert code == 7
    assert "sk-not-to-be-seen" not in out + err
    kept = [path for path in (tmp_path / "lm").rglob("*") if path.is_file()]
    assert kept
    assert all(b"sk-not-to-be-seen" not in path.read_bytes() for path in kept)


def test_bench_with_a_fake_says_so_and_stops_at_its_budget(palate, tmp_path):
    small = ("--set", "world.users=24", "--set", "world.pairs=4", "--set", "world.targets=2",
             "--set", "world.episodes=2", "--suite", "none")  # fmt: skip
    words = ("bench", "-m", "default,retrieval", "--lm", FAKE, "--out", "out", *small)
    code, _, err = palate(*words, "--budget", "60calls")
    assert code == 7
    assert "the same command goes on" in err
    assert palate(*words)[0] == 0
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert "a fake, no language model" in report["fakes"][0]
    assert "a fake, no language model" in (tmp_path / "out" / "report.html").read_text()
    assert {"default", "retrieval"} <= {row["method"] for row in report["rows"]}
    assert palate("bench", "--config", "out/run.yaml", "--lm", FAKE, "--users", "5")[0] == 2


def test_curate_attack_and_optimize_run(palate, tmp_path):
    code, out, _ = palate(
        "data", "curate", "w.jsonl", "-o", "c", "--judge", FAKE, "--judge", "fake:world?error=0.1&seed=2"
    )
    assert code == 0
    assert "judges differ" in out
    assert (tmp_path / "c" / "decisions.jsonl").exists()
    code, out, _ = palate("attack", "w.jsonl", "--lm", FAKE, "--most", "4")
    assert code == 0
    assert "a fake, no language model" in out
    code, out, _ = palate(
        "optimize", "w.jsonl", "-o", "mine.json", "--lm", FAKE, "--candidates", "3", "--trials", "2",
        "--users", "4", "--validation", "4",
    )  # fmt: skip
    assert code == 0
    assert (tmp_path / "mine.json").exists()
