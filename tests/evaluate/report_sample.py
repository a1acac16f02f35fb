"""Synthetic reports for the tests of the page; ``python report_sample.py`` writes ``report_sample.json``."""

import json
import random
from pathlib import Path

SAMPLE = Path(__file__).with_name("report_sample.json")


def make_report(
    users=40, seed=0, places=(("toy-real", "hash", False), ("toy-world", "hash", True)), extra=()
):
    """A synthetic report: users and answers are drawn, then every figure is counted from them."""
    rng = random.Random(seed)
    methods = [
        a_method("pooled", 0.0, control=True, personal=False, summary="One model for everybody."),
        a_method("random", -0.24, personal=False, summary="A coin."),
        a_method(
            "mixed", 0.06, summary="Each user a small step from the average user, as far as evidence goes."
        ),
        a_method("mixed+gate", 0.055, gated=True, base="mixed", summary="mixed, applied where it helps."),
        a_method("lore", 0.03, summary="A few shared directions, weighed for every user."),
        a_method("similar-user", 0.004, summary="The nearest neighbours' votes."),
        a_method("individual", -0.12, summary="A model for every user alone."),
        *(a_method(name, 0.01, summary="One more.") for name in extra),
        a_method("oracle", 0.14, bound=True, summary="Knows each taste."),
    ]
    report = {
        "schema": "palate-report/2",
        "palate": "0.1.0",
        "created": "2026-11-21T04:00:00Z",
        "command": "palate bench toy.jsonl --methods mixed,lore --encoder hash --seed 0",
        "config": {"methods": [m["name"] for m in methods], "seed": 0, "seeds": [0], "bootstrap": 2000},
        "datasets": [],
        "methods": [{k: v for k, v in m.items() if k != "gain"} for m in methods],
        "rows": [], "curves": [], "calibration": [], "users": [], "facets": [], "failures": [],
        "cards": [], "tried": [],
        "notes": ["All numbers of this report are synthetic."],
    }  # fmt: skip
    for number, (name, encoder, simulated) in enumerate(places):
        _fill(report, rng, name, encoder, simulated, users, methods, damp=1 - 0.85 * (number % 2))
    return report


def a_method(name, gain, *, personal=True, control=False, gated=False, bound=False, base=None, summary=""):
    return {
        "name": name,
        "label": name,
        "paper": "synthetic 2026",
        "personal": personal,
        "control": control,
        "gated": gated,
        "bound": bound,
        "base": base,
        "fields": {"rank": 8},
        "summary": summary,
        "gain": gain,
    }


def _fill(report, rng, name, encoder, simulated, users, methods, damp):
    sizes = [rng.randint(5, 26) for _ in range(users)]
    levels = [min(0.97, max(0.35, rng.gauss(0.73, 0.11))) for _ in range(users)]
    total = sum(sizes)
    report["datasets"].append({
        "name": name, "protocol": "new-users", "users": users * 2,
        "train_users": users * 4 // 5, "val_users": users // 5,
        "test_users": users, "scored_users": users, "context_pairs": total, "target_pairs": total,
        "rows_set_aside": 3, "rule": None, "simulated": simulated,
    })  # fmt: skip
    hit = {m["name"]: _hits(rng, sizes, levels, m, damp) for m in methods if simulated or not m["bound"]}
    place = {"dataset": name, "protocol": "new-users", "encoder": encoder}
    shared = random.Random(f"{name} before any choice")
    told = {"title": "How many they are", "sentence": f"On {name} {users} users were scored."}
    report["facets"].append({"facet": "made-up", **place, "users": users, **told})
    for method, accs in hit.items():
        base = {**place, "method": method, "users": users, "pairs": total, "against": None}
        _rows(report, base, accs, hit["pooled"])
        where = {**place, "method": method}
        about = next(m for m in methods if m["name"] == method)
        gain = about["gain"]
        if about["personal"] and not about["bound"]:
            _from_choices(report, base, accs, _hits(shared, sizes, levels, {**about, "gain": 0.0}, damp))
        report["curves"].append(
            {**where, "points": [_point(n, gain * damp, users, rng) for n in (0, 1, 2, 4, 8, 16, 30)]}
        )
        report["calibration"].append(
            {
                **where,
                "bins": [
                    {
                        "confidence": c / 100,
                        "accuracy": round(min(1, c / 100 + rng.gauss(-0.01, 0.02)), 4),
                        "pairs": max(1, total // 14 - 3 * i),
                    }
                    for i, c in enumerate(range(52, 100, 5))
                ],
            }
        )
        if method != "pooled" and method != "oracle":
            report["users"].append(
                {
                    **where,
                    "rows": [
                        [f"user-{i:04d}", sizes[i], a, b, round(rng.random(), 2)]
                        for i, (a, b) in enumerate(zip(accs, hit["pooled"], strict=True))
                    ],
                }
            )


def _hits(rng, sizes, levels, method, damp):
    gain = method["gain"] * (1 if method["bound"] or method["gain"] < 0 else damp)
    out = []
    for size, level in zip(sizes, levels, strict=True):
        chance = min(0.99, max(0.05, level + gain + rng.gauss(0, abs(gain))))
        out.append(round(sum(rng.random() < chance for _ in range(size)) / size, 4))
    return out


def _interval(values):
    mean = sum(values) / len(values)
    half = 1.96 * (sum((v - mean) ** 2 for v in values) / len(values) ** 2) ** 0.5
    return {"value": round(mean, 4), "low": round(mean - half, 4), "high": round(mean + half, 4)}


def _rows(report, base, accs, pooled):
    gaps = [a - b for a, b in zip(accs, pooled, strict=True)]
    add = lambda metric, numbers, **more: report["rows"].append({**base, "metric": metric, **numbers, **more})  # noqa: E731
    mean = _interval(accs)["value"]
    add("accuracy", _interval(accs))
    add("accuracy_pairs", _interval(accs))
    add(
        "log_loss",
        {
            "value": round(1.1 - mean * 0.8, 4),
            "low": round(1.08 - mean * 0.8, 4),
            "high": round(1.12 - mean * 0.8, 4),
        },
    )
    add("calibration_error", {"value": 0.021, "low": 0.012, "high": 0.034})
    add("worst_tenth", _interval(sorted(accs)[: max(2, len(accs) // 10)]))
    for metric, value in (
        ("fit_seconds", 4.2),
        ("adapt_seconds_per_1000", 0.31),
        ("score_seconds_per_1000", 0.04),
    ):
        add(metric, {"value": value, "low": None, "high": None})
    if base["method"] != "pooled":
        add("accuracy", _interval(gaps), against="pooled")
        loss = _interval([-0.8 * g for g in gaps])
        add("log_loss", loss, against="pooled")
        for metric, picked in (("helped", [g > 0 for g in gaps]), ("unchanged", [g == 0 for g in gaps]),
                               ("harmed", [g < 0 for g in gaps])):  # fmt: skip
            add(metric, _interval([float(p) for p in picked]), against="pooled")


def _from_choices(report, base, accs, before):
    gaps = [a - b for a, b in zip(accs, before, strict=True)]
    for metric, numbers in (("from_choices", gaps), ("from_choices_log_loss", [-0.8 * g for g in gaps]),
                            ("choices_helped", [float(g > 0) for g in gaps]),
                            ("choices_harmed", [float(g < 0) for g in gaps])):  # fmt: skip
        report["rows"].append({**base, "metric": metric, **_interval(numbers)})


def _point(pairs, gain, users, rng):
    value = 0.73 + gain * (1 - 2.0 ** (-pairs / 6)) + rng.gauss(0, 0.002)
    return {
        "pairs": pairs,
        "value": round(value, 4),
        "low": round(value - 0.016, 4),
        "high": round(value + 0.016, 4),
        "users": users,
    }


if __name__ == "__main__":
    SAMPLE.write_text(json.dumps(make_report(), separators=(",", ":")) + "\n", "utf-8")
