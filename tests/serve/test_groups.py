"""The map of the people: groups found, in words that name nobody, whom personas help."""

import json

import numpy as np
import pytest
from serve_keeping import TENANT, body, opened, served, world

from palate.serve.keeper import Keeper, Served, Shelf, groups
from palate.serve.keeper.groups import grouped, mapped
from palate.serve.store import choices, personas
from palate.serve.store.choices import Kept


@pytest.fixture(scope="module")
def keeper(tmp_path_factory):
    """A tenant whose users are those of the world: three fifths like short answers, two fifths long ones."""
    where = tmp_path_factory.mktemp("groups")
    (where / "report.json").write_text(
        json.dumps({"datasets": [1], "methods": [2], "rows": [3], "cells": [4]})
    )
    keeper = opened(where)
    keeper._groups._report = str(where / "report.json")
    rows = [
        Kept(h.user, f"{h.user}-{n}", body(row), 1e9 + n)
        for h in world()[1]
        for n, row in enumerate(h.feedback[:20])
    ]
    keeper.store.write(lambda c: choices.add(c, TENANT, rows))
    keeper.readapt(TENANT, [h.user for h in world()[1]])
    keeper.store.write(lambda c: choices.add(c, TENANT, [Kept("new", "1", rows[0].body)]))
    keeper.readapt(TENANT, ["new"])
    yield keeper
    keeper.store.close()


def test_the_two_tastes_are_two_groups(keeper):
    people = keeper.people(TENANT)
    assert (people.users, people.shown, len(people.points)) == (61, 61, 61)
    taste = dict(zip((h.user for h in world()[1]), world()[0].taste, strict=True))
    group = {p.user: p.group for p in people.points if p.user != "new"}
    table = np.zeros((2, len(people.groups)))
    for user, number in group.items():
        table[taste[user], number] += 1
    assert table.max(axis=0).sum() >= 55, "nearly every user stands with their kind"
    assert [g.users for g in people.groups] == sorted((g.users for g in people.groups), reverse=True)
    assert sum(g.users for g in people.groups) == 61
    assert sum(g.share for g in people.groups) == pytest.approx(1.0)
    words = {word for g in people.groups for word in g.words}
    assert {"Prefers shorter answers", "Prefers longer answers"} <= words
    of_short = {g.number for g in people.groups if "Prefers shorter answers" in g.words}
    assert of_short == {n for n in range(len(people.groups)) if table[0, n] > table[1, n]}


def test_the_first_direction_is_the_taste(keeper):
    people = keeper.people(TENANT)
    taste = dict(zip((h.user for h in world()[1]), world()[0].taste, strict=True))
    x = np.array([p.x for p in people.points if p.user in taste])
    t = np.array([taste[p.user] for p in people.points if p.user in taste])
    assert abs(np.corrcoef(x, t)[0, 1]) > 0.8
    assert people.explained[0] > people.explained[1] >= 0
    assert sum(people.explained) <= 1.0 + 1e-9
    new = next(p for p in people.points if p.user == "new")
    assert abs(new.x) < np.median(np.abs(x)), "who is hardly known stands near the middle"


def test_whom_it_helps_is_counted(keeper):
    people = keeper.people(TENANT)
    assert people.helped + people.harmed + people.even + people.untested == people.shown
    gains = [p.gain for p in people.points]
    assert people.helped == sum(g is not None and g > 0 for g in gains) > people.harmed
    assert all(0 <= p.weight <= 1 for p in people.points if p.weight is not None)
    assert {p.choices for p in people.points} == {20, 1}


def test_names_are_for_those_who_may_read_them(keeper):
    assert all(p.user for p in keeper.people(TENANT).points)
    bare = keeper.people(TENANT, named=False)
    assert all(p.user is None for p in bare.points)
    assert len(bare.points) == 61
    assert all(p.user for p in keeper.people(TENANT).points), "the kept map has its names still"


def test_a_map_is_kept_and_dropped(keeper, monkeypatch):
    first = keeper.people(TENANT)
    assert keeper.people(TENANT) is first
    keeper.forget(TENANT, "nobody")
    assert keeper.people(TENANT) is not first
    first = keeper.people(TENANT)
    monkeypatch.setattr(groups, "KEPT", 0.0)
    assert keeper.people(TENANT) is not first


def test_the_leaderboard_stands_beside_it(keeper):
    assert keeper.people(TENANT).report == {"datasets": [1], "methods": [2], "rows": [3]}
    keeper._groups.drop()
    keeper._groups._report = keeper._groups._report + ".none"
    assert keeper.people(TENANT).report is None
    keeper._groups._report = keeper._groups._report.removesuffix(".none")


def test_an_empty_tenant_has_an_empty_map(keeper):
    people = keeper.people("nobody here")
    assert (people.users, people.points, people.groups, people.explained) == (0, [], [], [0.0, 0.0])


@pytest.mark.parametrize("count", [1, 2, 5])
def test_a_few_users_are_one_group(keeper, count):
    tenant = f"of {count}"
    users = [h.user for h in world()[1][:count]]
    for h in world()[1][:count]:
        kept = [Kept(h.user, f"{n}", body(row), 1e9 + n) for n, row in enumerate(h.feedback[:12])]
        keeper.store.write(lambda c, kept=kept: choices.add(c, tenant, kept))
    keeper.readapt(tenant, users)
    people = keeper.people(tenant)
    assert (people.users, len(people.points), len(people.groups)) == (count, count, 1)
    assert people.groups[0].words == [] or count == 5


def test_a_large_tenant_is_sampled(keeper, monkeypatch):
    monkeypatch.setattr(groups, "SAMPLE", 20)
    keeper._groups.drop()
    people = keeper.people(TENANT)
    assert (people.users, people.shown) == (61, 20)
    keeper._groups.drop()
    assert [p.user for p in keeper.people(TENANT).points] == [p.user for p in people.points]
    keeper._groups.drop()


def test_no_single_persons_words_are_shown(keeper):
    with keeper.store.read() as c:
        claims = [row.words["claims"] for row in personas.sample(c, TENANT)]
    words = [word for g in keeper.people(TENANT).groups for word in g.words]
    for word in words:
        assert sum(any(c["text"].startswith(word) for c in mine) for mine in claims) >= groups.ALIKE
    assert words


def test_a_dear_method_is_mapped_by_its_statements(keeper):
    dear = Served(served().method, served().words)
    dear.__dict__["cheap"] = False
    other = Keeper(keeper.store, Shelf(dear))
    people = other.people(TENANT)
    assert len(people.groups) >= 2
    assert people.explained[0] > 0


def test_groups_of_a_known_mixture():
    rng = np.random.default_rng(0)
    centres = np.array([[4.0, 0, 0], [-4, 0, 0], [0, 4, 4]])
    truth = np.repeat([0, 1, 2], [60, 30, 12])
    place = centres[truth] + rng.standard_normal((102, 3)) * 0.5
    found = grouped(place)
    assert found.tolist() == truth.tolist(), "largest first, minorities too"
    for cloud in (
        rng.standard_normal((300, 4)),
        rng.standard_normal((300, 4)) * [9, 1, 1, 1],
        rng.random((300, 2)),
    ):
        assert grouped(cloud).max() == 0, "one cloud is one group, a long one too"
    two = np.repeat([0, 1], [60, 40])
    aside = two[:, None] * [0, 3, 0] + rng.standard_normal((100, 3)) * [9, 0.5, 1]
    assert grouped(aside).tolist() == two.tolist(), "apart on a direction that is not the widest"
    assert grouped(np.zeros((50, 3))).max() == 0
    assert grouped(np.zeros((3, 3))).tolist() == [0, 0, 0]
    where, share = mapped(place)
    assert where.shape == (102, 2)
    assert 0.9 < sum(share) <= 1.0
    assert np.allclose(mapped(place)[0], where)
