"""A whole run from its settings: protocols, seeds, and what is told of both."""

import json

import pytest

from palate.core import ConfigError, DataError
from palate.evaluate import facets
from palate.evaluate.study import Study, load_study

SMALL = {"users": 40, "pairs": 10, "targets": 5}


@pytest.fixture(autouse=True)
def without_facets(monkeypatch):
    monkeypatch.setattr(facets, "registered", lambda: [])


def test_protocols_and_seeds_run_into_one_report_and_back(tmp_path):
    study = Study(
        world=SMALL,
        methods={"pooled": {}, "individual": {}},
        seeds=2,
        protocols=("new-users", "seen-users:100,9000"),
    )
    prepared = study.prepare()
    assert [task.setting for task in prepared.bench.tasks] == ["new-users", "seen-users:100"]
    assert prepared.bench.seeds == (0, 1)
    done = prepared.run(tmp_path / "one")
    report = json.loads(done.json.read_text())
    assert report["config"]["protocols"] == ["new-users", "seen-users:100"]
    assert "without the size of 9,000" in report["notes"][0]
    assert {(row["protocol"], row["method"]) for row in report["rows"]} >= {
        ("seen-users:100", "individual"),
        ("seen-users:100", "oracle"),
        ("new-users", "ideal"),
    }
    again = load_study(tmp_path / "one" / "run.yaml")
    assert (again.seeds, again.protocols) == (2, study.protocols)
    assert "0 of 8 cells to run" in again.prepare().estimate(tmp_path / "one")
    assert "seen users, 100 training pairs" in done.html.read_text()


@pytest.mark.parametrize(("seeds", "expected"), [((), (7,)), (3, (7, 8, 9)), ((4, 2, 4), (4, 2)), (1, (7,))])
def test_seeds_are_a_number_or_a_list(seeds, expected):
    assert Study(world=SMALL, seed=7, seeds=seeds).prepare().bench.seeds == expected


def test_a_file_may_list_seeds_and_one_protocol(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text("seeds: [3, 1]\nprotocols: seen-users:50\n")
    study = load_study(path)
    assert (study.seeds, study.protocols) == ((3, 1), ("seen-users:50",))


def test_what_cannot_be_run_is_refused():
    with pytest.raises(ConfigError, match="seeds is 0; expected how many seeds"):
        Study(world=SMALL, seeds=0).prepare()
    with pytest.raises(ConfigError, match="protocol is 'both'"):
        Study(world=SMALL, protocols=("both",)).prepare()
    with pytest.raises(DataError, match=r"without the size of 5,000,000\. Nothing is left to run"):
        Study(world=SMALL, protocols=("seen-users:5000000",)).prepare()
