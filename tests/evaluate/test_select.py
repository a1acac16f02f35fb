"""Choosing settings: the known best is found, nothing is lost or made twice, and test users are not seen."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import trial_methods
from trial_methods import Slope, short_likers

from palate import catalogue
from palate.core import ConfigError, DataError, EncoderError, Feedback, Population, as_conversation
from palate.evaluate import page_tried
from palate.evaluate.protocol import new_users
from palate.evaluate.select import Search, Selection, as_values, choose, planned, select
from palate.evaluate.space import possible, settings
from palate.evaluate.trials import Result, Trial, TrialShelf, measure
from palate.evaluate.workers import hand_over, take_up
from palate.models.features import embed, remember


@dataclass(kw_only=True, eq=False)
class Homeless(Slope):
    """A class that no other process can import under its name."""

    name = "homeless"


Homeless.__qualname__ = "nowhere.Homeless"


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    ours = {cls.name: f"trial_methods:{cls.__name__}" for cls in trial_methods.METHODS}
    monkeypatch.setattr(catalogue, "_known", lambda: {**catalogue._OURS, **ours})
    monkeypatch.setattr(trial_methods.Unfinished, "stop", True)


@pytest.fixture(scope="module")
def task():
    return new_users("likers", short_likers())


def fits(log):
    return [line.split("|") for line in log.read_text().splitlines()] if log.exists() else []


def truth(fit_on, values):
    """Mean log-loss over validation users of the share that takes the short answer, by formula."""
    rows = fit_on.with_role("val").with_split("target")
    short = [np.mean(rows.chosen[rows.row_user == u] == 0) for u in range(rows.n_users)]
    return [float(np.mean([s * np.log1p(np.exp(-x)) + (1 - s) * np.log1p(np.exp(x)) for s in short]))
            for x in values]  # fmt: skip


# ---- what is chosen -----------------------------------------------------------------------------------


def test_the_known_best_value_is_found(task):
    values = Slope.space["x"]
    exact = truth(task.fit_on, values)
    assert values[int(np.argmin(exact))] == 1.5
    found = select(task.fit_on, "slope", search=Search(trials=50))
    assert found.fields["x"] == 1.5
    assert len(found.tried) == found.possible == 12
    by_x = {one.fields["x"]: one.result.loss for one in found.tried}
    np.testing.assert_allclose([by_x[x] for x in values], exact, rtol=1e-12)


def test_the_gain_is_paired_over_users():
    task = new_users("many", short_likers(users=300, rows=20))
    found = select(task.fit_on, "slope", search=Search(trials=50))
    value, low, high, users = found.difference()
    default, best = found.tried[0].result.loss, found.tried[found.chosen].result.loss
    assert value == pytest.approx(best - default)
    assert low < value < high < 0
    assert users == task.fit_on.with_role("val").n_users
    gaps = found.tried[found.chosen].result.losses - found.tried[0].result.losses
    normal = value + 1.96 * gaps.std(ddof=1) / np.sqrt(users) * np.array([-1, 1])
    np.testing.assert_allclose([low, high], normal, atol=0.15 * (high - low))


def test_the_default_is_kept_where_nothing_is_better(task):
    best = {"idle": ("a", "b")}
    found = select(task.fit_on, "slope", {"x": 1.5}, search=Search(trials=9))
    assert found.possible == len(found.tried) == 2
    assert [one.fields["idle"] for one in found.tried] == list(best["idle"])
    assert found.tried[0].result.loss == found.tried[1].result.loss
    assert (found.chosen, dict(found.fields)) == (0, {"x": 1.5})
    assert found.difference()[:3] == (0.0, 0.0, 0.0)


def test_a_field_that_the_user_set_is_never_varied(task, tmp_path):
    log = tmp_path / "log"
    found = select(task.fit_on, "slope", {"x": 6.0, "log": str(log)}, search=Search(trials=50))
    assert {line[0] for line in fits(log)} == {"6.0"}
    assert found.fields["x"] == 6.0
    whole = select(task.fit_on, "slope", {"x": 6.0, "idle": "b"}, search=Search())
    assert (len(whole.tried), whole.note) == (0, "nothing to tune: every field of its space was set")


def test_an_empty_space_has_nothing_to_tune(task, tmp_path):
    log = tmp_path / "log"
    found = select(task.fit_on, "still", {"log": str(log)})
    assert (found.note, found.tried, dict(found.fields)) == ("nothing to tune", (), {"log": str(log)})
    assert fits(log) == []
    assert found.plain()["difference"] is None


def test_nothing_to_choose_by_is_said(task):
    bare = task.fit_on.take_rows((task.fit_on.split != 1) | (task.fit_on.role[task.fit_on.row_user] != 1))
    one_row_each = bare.take_rows((bare.rank < 1) | (bare.role[bare.row_user] != 1))
    found = select(one_row_each, "slope")
    assert "no validation user has a target choice" in found.note


# ---- the draw -----------------------------------------------------------------------------------------


def test_settings_come_once_each_and_the_start_first():
    space, start = {"x": (1, 2, 3), "y": ("a", "b")}, {"x": 2, "y": "b", "z": 0}
    drawn = list(settings(space, start, seed=3))
    assert drawn[0] == {"x": 2, "y": "b"}
    assert len(drawn) == possible(space, start) == 6
    assert len({tuple(one.values()) for one in drawn}) == 6
    assert list(settings(space, start, seed=3)) == drawn
    assert list(settings(space, start, seed=4)) != drawn


def test_a_start_outside_the_space_is_one_more():
    space = {"x": (1, 2, 3)}
    assert len(list(settings(space, {"x": 7}, 0))) == possible(space, {"x": 7}) == 4


def test_a_short_draw_covers_every_value():
    space = {name: tuple(range(8)) for name in "abcd"}
    drawn = list(islice(settings(space, dict.fromkeys("abcd", 0), 0), 1, 9))
    for name in space:
        assert len({one[name] for one in drawn}) >= 7


def test_what_is_planned_is_what_is_made(task):
    for fields, trials in (({}, 5), ({"x": 1.5}, 9), ({"x": 1.5, "idle": "b"}, 9)):
        search = Search(trials=trials)
        assert planned("slope", fields, search) == len(
            select(task.fit_on, "slope", fields, search=search).tried
        )


def test_lists_and_tuples_are_one_value():
    assert possible({"x": ((1, 2), (3,))}, {"x": [1, 2]}) == 2


# ---- what fails, what is kept -------------------------------------------------------------------------


def test_a_failing_trial_is_kept_and_never_chosen(task, tmp_path):
    log, folder = tmp_path / "log", tmp_path / "trials"
    fields, search = {"log": str(log), "idle": "a"}, Search(trials=9, folder=folder)
    found = select(task.fit_on, "steep", fields, search=search)
    failed = {one.fields["x"]: one.result.failure for one in found.tried if one.result.failure}
    assert set(failed) == {-1.0, 1.5, 3.0, 6.0}
    assert failed[6.0] == "steep: too steep; lower x"
    assert found.fields["x"] == 0.5
    assert found.plain()["failed"] == 4
    before = len(fits(log))
    again = select(task.fit_on, "steep", fields, search=search)
    assert [line[0] for line in fits(log)[before:]] == ["-1.0"]  # what lacks a package is tried again
    assert [one.result.failure for one in again.tried] == [one.result.failure for one in found.tried]


def test_where_every_trial_fails_the_defaults_stay_and_it_is_said(task):
    found = select(task.fit_on, "steep", {"idle": "a", "x": 3.0, "pause": 0.0}, search=Search(trials=3))
    assert found.note.startswith("nothing to tune")
    found = select(task.fit_on, "steep", {"x": 3.0}, search=Search(trials=3))
    assert "every trial failed; the first: steep: too steep" in found.note
    assert (found.chosen, found.difference()) == (0, None)
    assert json.loads(json.dumps(found.plain()))["best"] is None


def test_no_trial_is_made_twice(task, tmp_path):
    log = tmp_path / "log"
    fields = {"log": str(log)}
    first = select(task.fit_on, "slope", fields, search=Search(trials=4, folder=tmp_path / "t"))
    assert len(fits(log)) == 4
    more = select(task.fit_on, "slope", fields, search=Search(trials=7, folder=tmp_path / "t"))
    assert len(fits(log)) == 7
    assert [one.fields for one in more.tried[:4]] == [one.fields for one in first.tried]
    for old, new in zip(first.tried, more.tried, strict=False):
        np.testing.assert_array_equal(old.result.losses, new.result.losses)
        assert old.result.seconds == new.result.seconds
    other = replace(task.fit_on, chosen=1 - task.fit_on.chosen)
    select(other, "slope", fields, search=Search(trials=4, folder=tmp_path / "t"))
    assert len(fits(log)) == 11  # other data, other trials


def test_ctrl_c_leaves_finished_trials(task, tmp_path):
    log = tmp_path / "log"
    search = Search(trials=5, folder=tmp_path / "trials")
    with pytest.raises(KeyboardInterrupt):
        select(task.fit_on, "unfinished", {"log": str(log)}, search=search)
    assert len(list((tmp_path / "trials").glob("*.json"))) == 2
    trial_methods.Unfinished.stop = False
    assert len(select(task.fit_on, "unfinished", {"log": str(log)}, search=search).tried) == 5
    assert len(fits(log)) == 3 + 3


@pytest.mark.parametrize("damage", ["", "{", '{"losses": [1.0], "failure": null, "seconds": 1}', "[]", "\0"])
def test_a_damaged_trial_is_made_again(task, tmp_path, damage):
    log, folder = tmp_path / "log", tmp_path / "trials"
    search = Search(trials=2, folder=folder)
    first = select(task.fit_on, "slope", {"log": str(log)}, search=search)
    for file in folder.glob("*.json"):
        file.write_text(damage)
    again = select(task.fit_on, "slope", {"log": str(log)}, search=search)
    assert len(fits(log)) == 4
    np.testing.assert_array_equal(again.tried[1].result.losses, first.tried[1].result.losses)


def test_the_seconds_stop_the_search(task, tmp_path):
    log = tmp_path / "log"
    fields = {"log": str(log), "pause": 0.1}
    search = Search(trials=12, seconds=0.25, folder=tmp_path / "trials")
    found = select(task.fit_on, "slope", fields, search=search)
    assert 2 <= len(fits(log)) <= 3
    assert found.note == f"the seconds were spent after {len(found.tried)} of 12 trials"
    before = len(fits(log))
    again = select(task.fit_on, "slope", fields, search=search)  # the seconds of kept trials count
    assert len(fits(log)) == before
    assert len(again.tried) == len(found.tried)


def test_a_search_that_cannot_be_is_refused():
    for wrong in ({"trials": 0}, {"jobs": 0}, {"seconds": 0.0}, {"seconds": float("nan")}):
        with pytest.raises(ConfigError, match="cannot search"):
            Search(**wrong)


def test_a_space_with_a_wrong_name_is_refused(task):
    with pytest.raises(ConfigError, match=r"its space names \['y'\]"):
        select(task.fit_on, "misnamed")


def test_the_shelf_keeps_nothing_without_a_folder(tmp_path):
    shelf = TrialShelf(None)
    shelf.put("k", Trial(0, Slope, {}), Result(np.ones(2), 0.1))
    assert shelf.get("k", 2) is None


def test_trouble_around_a_trial_is_no_lasting_failure(task, monkeypatch):
    def short(self):
        raise MemoryError

    monkeypatch.setattr(Slope, "trouble", short)
    result = measure(Trial(0, Slope, {}), task.fit_on)
    assert "memory ran short" in result.failure
    assert not result.lasting


def test_log_odds_that_are_not_finite_fail(task, monkeypatch):
    monkeypatch.setattr(Slope, "_log_odds", lambda self, v, q: np.full(len(q.options), np.nan))
    result = measure(Trial(0, Slope, {}), task.fit_on)
    assert "is not finite" in result.failure
    assert result.loss == float("inf")


# ---- who is seen --------------------------------------------------------------------------------------


def test_test_users_are_refused(task):
    with pytest.raises(DataError, match=r"test users are among those.*Task\.fit_on"):
        select(task.people, "slope")


def test_nothing_of_the_test_users_reaches_a_trial(tmp_path):
    """Not a row, not a name, and not one of their texts."""
    log, people = tmp_path / "log", short_likers(users=12)
    rows = [Feedback("secret-ann", as_conversation(f"{i}?"), ("secret", "secret too"), chosen=0)
            for i in range(9)]  # fmt: skip
    both = Population.of([people.row(i) for i in range(people.n_rows)] + rows)
    task = new_users("d", replace(both, role=np.where(both.users == "secret-ann", 2, -1).astype(np.int8)))
    assert "secret" in "".join(task.fit_on.corpus.responses)  # the corpus is shared by all parts
    select(task.fit_on, "slope", {"log": str(log)}, search=Search(trials=2))
    assert [line[2:4] for line in fits(log)] == [["0", "False"]] * 2


def test_what_test_users_chose_changes_nothing(task):
    test = task.people.role[task.people.row_user] == 2
    turned = replace(task.people, chosen=np.where(test, 1 - task.people.chosen, task.people.chosen))
    other = turned.take_users(turned.role != 2)
    one, two = (select(p, "slope", search=Search(trials=6)) for p in (task.fit_on, other))
    assert one.chosen == two.chosen
    for a, b in zip(one.tried, two.tried, strict=True):
        np.testing.assert_array_equal(a.result.losses, b.result.losses)


# ---- several at a time --------------------------------------------------------------------------------


def test_two_jobs_choose_what_one_job_chooses(task, tmp_path):
    made = []
    for jobs in (1, 2):
        log, told = tmp_path / f"log{jobs}", []
        search = Search(trials=8, jobs=jobs)
        found = choose(
            {("d", "new-users"): task.fit_on},
            {"slope": {"log": str(log)}, "pooled": {}, "style": {}},
            ["lexical"],
            replace(search, trials=4),
            lambda *what, told=told: told.append(what),
        )["d", "new-users", "lexical"]
        workers = {line[4] for line in fits(log)}
        assert (str(os.getpid()) in workers) == (jobs == 1)
        assert told[-1] == ("d · new-users · lexical · choosing style", 4, 4)
        made.append(found)
    for method, one in made[0].items():
        two = made[1][method]
        assert (one.chosen, one.possible) == (two.chosen, two.possible)
        assert {k: v for k, v in one.fields.items() if k != "log"} == {
            k: v for k, v in two.fields.items() if k != "log"
        }
        for a, b in zip(one.tried, two.tried, strict=True):
            np.testing.assert_array_equal(a.result.losses, b.result.losses)


def test_a_killed_process_loses_its_trial_only(task, tmp_path):
    log = tmp_path / "log"
    search = Search(trials=9, jobs=2, folder=tmp_path / "trials")
    found = select(task.fit_on, "heavy", {"log": str(log), "idle": "a"}, search=search)
    failed = {one.fields["x"]: one.result.failure for one in found.tried if one.result.failure}
    assert set(failed) == {0.5}
    assert "killed twice" in failed[0.5]
    assert "too little memory" in failed[0.5]
    assert found.fields["x"] == 1.5
    assert sum(line[0] == "0.5" for line in fits(log)) == 2
    assert len(list((tmp_path / "trials").glob("*.json"))) == 5  # the killed one is tried again next time


def test_a_killed_trial_that_fits_alone_counts(task, tmp_path):
    log = tmp_path / "log"
    found = select(task.fit_on, "crowded", {"log": str(log), "idle": "a"}, search=Search(trials=9, jobs=2))
    assert [one.result.failure for one in found.tried] == [None] * 6
    assert sum(line[0] == "0.5" for line in fits(log)) == 2


SCRIPT = """
import sys
from pathlib import Path
from palate import catalogue
from palate.evaluate.protocol import new_users
from palate.evaluate.select import Search, select
from trial_methods import short_likers

if __name__ == "__main__":
    catalogue._OURS["slope"] = "trial_methods:Slope"
    task = new_users("likers", short_likers())
    search = Search(trials=12, jobs=2, folder=Path(sys.argv[1]))
    select(task.fit_on, "slope", {"pause": 0.3, "log": sys.argv[2]}, search=search)
"""


def start_and_stop(tmp_path, how):
    """Run the script until two trials are kept, send its process group a signal, return what it said."""
    script, folder, log = tmp_path / "script.py", tmp_path / "trials", tmp_path / "log"
    script.write_text(SCRIPT)
    home = str(Path(trial_methods.__file__).parent)
    path = os.pathsep.join([home, os.environ.get("PYTHONPATH", "")])
    (tmp_path / "handed").mkdir()
    running = subprocess.Popen(
        [sys.executable, script, folder, log],
        start_new_session=True,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": path, "TMPDIR": str(tmp_path / "handed")},
    )
    until = time.monotonic() + 60
    while len(list(folder.glob("*.json"))) < 2 and running.poll() is None and time.monotonic() < until:
        time.sleep(0.02)
    assert len(list((tmp_path / "handed").iterdir())) == 1
    how(running)
    told = running.communicate(timeout=20)[1].decode()
    assert 2 <= len(list(folder.glob("*.json"))) < 12
    workers = {int(line[4]) for line in fits(log)}
    assert len(workers) == 2
    return told, workers


def gone(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    stat = Path(f"/proc/{pid}/stat")  # one that nobody has buried yet counts as gone
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] == "Z"


def test_ctrl_c_ends_every_process_at_once(tmp_path):
    told, workers = start_and_stop(tmp_path, lambda running: os.killpg(running.pid, signal.SIGINT))
    assert told.count("KeyboardInterrupt") == 1, told  # the workers say nothing
    assert all(map(gone, workers))
    assert list((tmp_path / "handed").iterdir()) == []


def test_a_call_to_terminate_leaves_nothing_behind(tmp_path):
    _, workers = start_and_stop(tmp_path, lambda running: os.killpg(running.pid, signal.SIGTERM))
    assert all(map(gone, workers))
    assert list((tmp_path / "handed").iterdir()) == []


def test_workers_do_not_outlive_who_asked(tmp_path):
    _, workers = start_and_stop(tmp_path, lambda running: running.kill())
    until = time.monotonic() + 10
    while not all(map(gone, workers)) and time.monotonic() < until:
        time.sleep(0.05)
    assert all(map(gone, workers))
    assert list((tmp_path / "handed").iterdir()) == []


def test_a_method_that_cannot_be_handed_over_is_told(task, monkeypatch):
    monkeypatch.setattr(catalogue, "find", lambda name: Homeless)
    with pytest.raises(ConfigError, match="homeless cannot be handed to another process"):
        select(task.fit_on, "homeless", search=Search(trials=2, jobs=2))


def test_workers_that_cannot_start_are_told(task, monkeypatch):
    monkeypatch.setattr("palate.evaluate.workers.hand_over", lambda people, encoder, folder: None)
    with pytest.raises(ConfigError, match=r"ended before its first .*__main__"):
        select(task.fit_on, "slope", search=Search(trials=2, jobs=2))


def test_features_are_handed_over(task, tmp_path):
    people = task.fit_on.compact()
    matrix = embed(people.corpus, "lexical")
    hand_over(people, "lexical", tmp_path)
    (tmp_path / "0.npy").unlink()
    np.save(tmp_path / "0.npy", matrix + 1)
    taken = take_up(tmp_path)
    assert taken.digest == people.digest
    np.testing.assert_array_equal(embed(taken.corpus, "lexical"), matrix + 1)  # not encoded again
    np.testing.assert_array_equal(embed(taken.corpus, "style"), embed(people.corpus, "style"))
    with pytest.raises(EncoderError, match="features of shape"):
        remember(taken.corpus, "lexical", matrix[:-1])


# ---- all methods --------------------------------------------------------------------------------------


def test_one_method_that_cannot_be_searched_does_not_stop_the_others(task):
    methods = {"misnamed": {}, "nobody": {}, "slope": {}}
    found = choose({("d", "new-users"): task.fit_on}, methods, ["lexical"], Search(trials=12))[
        "d", "new-users", "lexical"
    ]
    assert "its space names" in found["misnamed"].note
    assert "no method 'nobody'" in found["nobody"].note
    assert found["slope"].fields == {"x": 1.5, "idle": found["slope"].fields["idle"]}


def test_every_space_of_the_catalogue_names_fields_and_can_be_built():
    for name in catalogue._OURS:
        if catalogue.available()[name]:
            continue
        cls = catalogue.find(name)
        config = catalogue.build(name).config
        assert set(cls.space) <= set(config), name
        for field, values in cls.space.items():
            for value in values:
                rebuilt = catalogue.build(name, {field: value}).config[field]
                assert rebuilt == value, (name, field)


# ---- the picture --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def value():
    def one(x, loss, failure=None):
        return trial_methods_tried(x, loss, failure)

    tried = [one(0.0, 0.69), one(1.5, 0.5), one(3.0, None, "<b>diverged</b>"), one(6.0, 2.5)]
    slope = {
        **Selection("slope", {"x": 1.5}).plain(), "trials": 4, "possible": 6, "failed": 1, "seconds": 2.0,
        "chosen": 1, "default": 0.69, "best": 0.5, "difference": -0.19, "low": -0.25, "high": -0.1,
        "users": 12, "tried": tried,
    }  # fmt: skip
    still = Selection("still", {}, note="nothing to tune").plain()
    return {"dataset": "d", "protocol": "new-users", "encoder": "e", "methods": [slope, still]}


def trial_methods_tried(x, loss, failure):
    return {"fields": {"x": x}, "log_loss": loss, "seconds": 0.5, "failure": failure}


def test_the_picture_shows_every_trial_and_marks_the_chosen(value):
    page = page_tried.draw(value)
    ElementTree.fromstring(f"<main>{page}</main>")  # every tag is closed where it must be
    assert page.count("<circle") + page.count('class="dot') == 3
    assert page.count("trial 0 (the defaults): 0.6900") == 1
    assert "trial 1 (taken): 0.5000; x=1.5" in page
    assert "&lt;b&gt;diverged" in page
    assert "<b>diverged" not in page
    assert "nothing to tune" in page


def test_the_sentence_says_what_was_tried(value):
    told = page_tried.tell(value)
    assert "slope: 4 of 6 settings" in told
    assert "1 failed" in told
    assert "−0.190 [−0.250, −0.100]" in told
    assert "still: nothing to tune" in told


def test_what_a_real_search_gives_can_be_drawn(task):
    found = choose(
        {("d", "new-users"): task.fit_on}, {"slope": {}, "still": {}}, ["lexical"], Search(trials=4)
    )
    (plain,) = json.loads(json.dumps(as_values(found)))
    assert (plain["dataset"], plain["protocol"], plain["encoder"]) == ("d", "new-users", "lexical")
    assert page_tried.draw(plain).count("<tr>") >= 5
    assert page_tried.tell(plain)
    assert page_tried.draw({**plain, "methods": []}) == ""
