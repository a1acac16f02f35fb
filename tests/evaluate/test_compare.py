import copy
import json

import pytest
from report_sample import a_method, make_report
from test_page import check

from palate.core import ConfigError, StorageError
from palate.evaluate.compare import compare_reports, lines, load_report, write_compare
from palate.evaluate.page_compare import render_compare

N = 40
BASE = [0.5 + 0.01 * (i % 30) for i in range(N)]


def a_report(gain=0.0, *, names=None, method="lore", schema="palate-report/2", pairs=10, **changes):
    """One section, the control and a method whose users' accuracies are BASE plus a known gain."""
    names = [f"u{i}" for i in range(N)] if names is None else names
    gains = gain if isinstance(gain, list) else [gain] * N
    accuracy = [b + g for b, g in zip(BASE, gains, strict=True)]
    place = {"dataset": "d", "protocol": "new-users", "encoder": "e"}
    mean = sum(accuracy) / N
    rows = [
        figure(place, "pooled", "accuracy", sum(BASE) / N),
        figure(place, method, "accuracy", mean),
        figure(place, method, "log_loss", 0.6 - mean / 10),
        {**figure(place, method, "accuracy", 0.3), "against": "pooled"},
        figure(place, method, "fit_seconds", 1.0),
    ]
    people = [[n, pairs, a, b, None] for n, a, b in zip(names, accuracy, BASE, strict=True)]
    users_at = {k: v for k, v in place.items() if schema == "palate-report/2" or k != "protocol"}
    return {
        "schema": schema, "palate": "0.1.0", "created": "2026-11-21T04:00:00Z", "command": "palate bench d",
        "config": {"methods": {method: {"rank": 8}}, "encoders": ["e"], "seed": 0, "bootstrap": 2000},
        "datasets": [{"name": "d", "digest": "abc", "scored_users": N, "target_pairs": N * pairs}],
        "methods": [a_method("pooled", 0, control=True, personal=False), a_method(method, 0)],
        "rows": rows, "users": [{**users_at, "method": method, "rows": people}],
        **changes,
    }  # fmt: skip


def figure(place, method, metric, value, half=0.02):
    return {**place, "method": method, "metric": metric, "value": value, "low": value - half,
            "high": value + half, "users": N, "pairs": 400, "against": None}  # fmt: skip


def find(values, method, metric="accuracy"):
    return next(r for r in values["rows"] if (r["method"], r["metric"]) == (method, metric))


# ---- differences --------------------------------------------------------------------------------------


def test_equal_reports_differ_in_nothing():
    a = a_report(0.1)
    values = compare_reports(a, copy.deepcopy(a))
    assert values["different"] == []
    assert values["only"] == []
    assert [r["difference"] for r in values["rows"]] == [0.0] * 3
    assert {r["stance"] for r in values["rows"]} == {"same"}


def test_users_are_matched_by_name_whatever_their_order():
    """Each user gains exactly a tenth; an unpaired comparison of these could not tell."""
    a, b = a_report(0.0), a_report(0.1)
    b["users"][0]["rows"].reverse()
    row = find(compare_reports(a, b), "lore")
    assert row["paired"]
    assert row["users"] == N
    assert row["difference"] == row["low"] == row["high"] == pytest.approx(0.1)
    assert row["stance"] == "better"
    assert row["remark"] == ""
    back = find(compare_reports(b, a), "lore")
    assert back["difference"] == pytest.approx(-0.1)
    assert back["stance"] == "worse"


def test_a_gain_of_some_has_an_interval():
    gains = [0.2 if i % 2 else 0.0 for i in range(N)]
    row = find(compare_reports(a_report(0.0), a_report(gains)), "lore")
    assert row["difference"] == pytest.approx(0.1)
    assert 0.05 < row["low"] < 0.1 < row["high"] < 0.15


def test_a_small_mixed_gain_is_not_told_apart():
    gains = [0.1 if i % 2 else -0.1 for i in range(N)]
    row = find(compare_reports(a_report(0.0), a_report(gains)), "lore")
    assert row["low"] < 0 < row["high"]
    assert row["stance"] == "same"


def test_the_control_is_matched_by_other_methods_rows():
    row = find(compare_reports(a_report(0.0), a_report(0.1)), "pooled")
    assert row["paired"]
    assert row["difference"] == 0.0


def test_users_in_one_report_alone_are_left_out_and_told():
    names = [f"u{i}" if i < 30 else f"new{i}" for i in range(N)]
    gains = [0.1] * 30 + [0.4] * 10
    row = find(compare_reports(a_report(0.0), a_report(gains, names=names)), "lore")
    assert row["users"] == 30
    assert row["difference"] == pytest.approx(0.1)
    assert row["remark"] == "over 30 users in both, of 40 and 40"


def test_other_target_pairs_are_told():
    row = find(compare_reports(a_report(), a_report(pairs=12)), "lore")
    assert "40 of them have another number of target pairs" in row["remark"]


def test_without_common_users_both_intervals_stand():
    other = [f"v{i}" for i in range(N)]
    row = find(compare_reports(a_report(0.0), a_report(0.01, names=other)), "lore")
    assert not row["paired"]
    assert row["low"] is None
    assert row["remark"] == "unpaired: no user is in both"
    assert row["stance"] == "same", "the intervals overlap"
    apart = find(compare_reports(a_report(0.0), a_report(0.1, names=other)), "lore")
    assert apart["stance"] == "better"
    none = find(compare_reports(a_report(0.0, names=other) | {"users": []}, a_report()), "lore")
    assert none["remark"] == "unpaired: no users to match in both"


def test_log_loss_is_unpaired_and_lower_is_better():
    row = find(compare_reports(a_report(0.0), a_report(0.1)), "lore", "log_loss")
    assert row["remark"] == "unpaired: reports hold no user's own log-loss"
    assert row["difference"] == pytest.approx(-0.01)
    assert row["stance"] == "same"
    far = a_report(0.0)
    for r in far["rows"]:
        if r["metric"] == "log_loss":
            r.update(value=0.4, low=0.39, high=0.41)
    assert find(compare_reports(a_report(0.0), far), "lore", "log_loss")["stance"] == "better"


def test_differences_to_a_control_are_not_taken_for_figures():
    row = find(compare_reports(a_report(0.0), a_report(0.1)), "lore")
    assert row["a"]["value"] == pytest.approx(sum(BASE) / N)


# ---- what differs -------------------------------------------------------------------------------------


def test_what_differs_is_told_data_first():
    b = a_report(datasets=[{"name": "d", "digest": "xyz", "scored_users": N, "target_pairs": 400}],
                 palate="0.2.0")  # fmt: skip
    b["config"] = {"methods": {"lore": {"rank": 4}}, "encoders": ["e", "f"], "seed": 1, "bootstrap": 2000}
    told = [(d["what"], d["a"], d["b"]) for d in compare_reports(a_report(), b)["different"]]
    assert told == [
        ("data of d, new-users", "abc", "xyz"),
        ("encoders", '["e"]', '["e", "f"]'),
        ("seed", "0", "1"),
        ("seeds", "[0]", "[1]"),
        ("version of Palate", "0.1.0", "0.2.0"),
        ("lore: rank", "8", "4"),
    ]


def test_reports_of_both_schemas_are_compared():
    old = a_report(0.0, schema="palate-report/1")
    new = a_report(0.1)
    new["config"] |= {"seeds": [0], "protocols": ["new-users"]}
    old["config"] |= {"protocol": "new-users"}
    values = compare_reports(old, new)
    assert find(values, "lore")["paired"]
    assert [d["what"] for d in values["different"]] == ["schema"]


def test_what_one_alone_has_is_told():
    b = a_report(0.0, method="gpo")
    b["rows"].append(
        figure({"dataset": "x", "protocol": "new-users", "encoder": "e"}, "gpo", "accuracy", 0.6)
    )
    assert compare_reports(a_report(0.0), b)["only"] == [
        {"report": 0, "where": "d · new-users · e", "section": False, "methods": ["lore"]},
        {"report": 1, "where": "d · new-users · e", "section": False, "methods": ["gpo"]},
        {"report": 1, "where": "x · new-users · e", "section": True, "methods": ["gpo"]},
    ]


def test_what_is_no_report_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"schema of B is 'palate-report/9', expected 'palate-report/1' or"):
        compare_reports(a_report(), a_report(schema="palate-report/9"))
    with pytest.raises(ConfigError, match="schema of A is 'list'"):
        compare_reports([], a_report())
    with pytest.raises(StorageError, match=r"give a report\.json, or the folder"):
        load_report(tmp_path / "none")
    (tmp_path / "report.json").write_text("{")
    with pytest.raises(StorageError, match="is no JSON"):
        load_report(tmp_path)


# ---- telling and drawing ------------------------------------------------------------------------------


def test_lines_for_a_terminal():
    b = a_report(0.1, palate="0.2.0")
    told = lines(compare_reports(a_report(0.0), b, ("old", "new")))
    assert told[0] == "new against old: a difference is new - old"
    assert told[1] == "differs: version of Palate: 0.1.0 -> 0.2.0"
    where = "d · new-users · e"
    assert f"{where} · pooled: accuracy 62.0 -> 62.0, 0.00 points [0.00, 0.00], paired over 40 users" in told
    assert (
        f"{where} · lore: accuracy 62.0 -> 72.0, +10.00 points [+10.00, +10.00], paired over 40 users" in told
    )
    loss = "log_loss 0.538 [0.518, 0.558] -> 0.528 [0.508, 0.548], −0.010 nats, unpaired: "
    assert any(f"{where} · lore: {loss}" in line for line in told)
    nothing = lines(compare_reports(a_report(), a_report(rows=[], users=[])))
    assert any("no method was scored on the same" in t for t in nothing)


@pytest.mark.parametrize("change", [{}, {"rows": [], "users": []}, {"users": []}])
def test_the_page_is_sound(change):
    values = json.loads(json.dumps(compare_reports(a_report(0.0), a_report(0.1, **change))))
    page = render_compare(values)
    check(page)
    assert page.startswith("<!doctype html>")
    assert ("Change in accuracy" in page) == (not change)


def test_a_larger_page_is_sound_and_escaped():
    a = make_report(seed=0)
    b = make_report(seed=1, extra=("<i>",))
    page = render_compare(
        compare_reports(a | {"schema": "palate-report/1"}, b | {"schema": "palate-report/2"})
    )
    check(page)
    assert "<i>," not in page
    assert "&lt;i&gt;" in page


def test_it_is_written(tmp_path):
    for name, report in (("old", a_report(0.0)), ("new", a_report(0.1))):
        (tmp_path / name).mkdir()
        (tmp_path / name / "report.json").write_text(json.dumps(report))
    path, page, values = write_compare(tmp_path / "old", tmp_path / "new" / "report.json", tmp_path / "out")
    assert json.loads(path.read_text()) == json.loads(json.dumps(values))
    assert "Palate: new against old" in page.read_text()
    assert [head["name"] for head in values["reports"]] == ["old", "new"]
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="free some room"):
        write_compare(tmp_path / "old", tmp_path / "new", tmp_path / "file")
