"""Facets of text personas that need no model: words, groups, the map, similarity."""

import json

import numpy as np
import pytest
from facet_sections import coin, looks_whole, one_sentence, outcome
from word_sections import Silent, people, probed, section, task_of, with_people

from palate.evaluate.facets import ORDER, _words, clusters, match, measure_all, registered, salience
from palate.evaluate.facets import map as where
from palate.evaluate.facets._similar import nearer, partners
from palate.evaluate.facets._words import log_odds, pack, statements, telling, unpack

RNG = np.random.default_rng(3)
KINDS = {
    "brief": ("Prefers short and brief replies.", "Dislikes long winded talk."),
    "warm": ("Prefers a warm kind tone.", "Enjoys friendly encouragement."),
    "deep": ("Wants technical depth and jargon.", "Values expert detail and rigour."),
}


def kind_of(name):
    return sorted(KINDS)[int(name[5:]) % 3]


def says_kind(name):
    return "\n".join(KINDS[kind_of(name)])


@pytest.fixture(scope="module")
def task():
    return task_of(people(users=60, context=3, target=4))


def plain(values):
    return json.loads(json.dumps(values, allow_nan=False, default=lambda v: v.item()))


# ---- what all share ---------------------------------------------------------------------------------------


def test_the_facets_of_words_are_registered():
    names = [facet.NAME for facet in registered()]
    assert names == list(ORDER)
    assert {"match", "reasons", "alone", "salience", "clusters", "map", "transfer", "calls"} <= set(names)


def test_methods_without_words_are_not_told(task):
    outcomes = {
        "pooled": outcome(task, coin(task), personal=False),
        "mixed": probed(clusters, task, Silent(says=lambda name: None), "lexical"),
    }
    values, faults = measure_all([section(task, outcomes)])
    assert faults == {}
    ours = {"match", "reasons", "alone", "salience", "clusters", "map", "transfer", "calls"}
    assert not ours & {value["facet"] for value in values}
    assert outcomes["mixed"].extra == {}


def test_texts_survive_being_packed():
    texts = ["", "a\0b", "naïve\nтекст 漢字 🙂", "x" * 5000, "\ud800"]
    kept = unpack(pack("t", texts), "t")
    assert kept[:4] == texts[:4]
    assert kept[4] == "?"
    assert unpack({}, "t") == []
    assert unpack(pack("t", []), "t") == []


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("1. Short.\n2) Plain.\n\n* Warm.", ["Short.", "Plain.", "Warm."]),
        (
            "Likes e.g. lists. Hates “noise.” Äpfel too.",
            ["Likes e.g. lists.", "Hates “noise.”", "Äpfel too."][:2],
        ),
        ("Prefers longer: 3 of 4 choices, +0.8 log-odds [+0.1, +1.5].", ["Prefers longer"]),
        ("Claims it [see above] is so.", ["Claims it is so."]),
        ("", []),
    ],
)
def test_statements_are_lines_or_sentences(text, told):
    found = statements(text, 8)
    assert found[: len(told)] == told
    assert len(statements("a.\n" * 50, 8)) == 8


def test_a_sample_of_users_is_the_same_for_every_method(task):
    few = _words.sampled(task, 10)
    assert len(few) == 10
    assert (np.diff(few) > 0).all()
    assert few.tolist() == _words.sampled(task, 10).tolist()
    assert len(_words.sampled(task, 100)) == 60


def test_log_odds_are_those_of_the_paper():
    """Monroe et al., equations 15, 16, 20 and 22, with a prior of 500 words in the groups' own shares."""
    mine, theirs = np.array([30.0, 170.0, 400.0]), np.array([10.0, 190.0, 400.0])
    d, z = log_odds(mine, theirs)
    a = 500 * (mine + theirs) / 1200
    for w in range(3):
        sides = [np.log((y[w] + a[w]) / (600 + 500 - y[w] - a[w])) for y in (mine, theirs)]
        assert d[w] == pytest.approx(sides[0] - sides[1])
        assert z[w] == pytest.approx(d[w] / np.sqrt(1 / (mine[w] + a[w]) + 1 / (theirs[w] + a[w])))
    assert d[0] > 0 > d[1]
    assert d[2] == pytest.approx(0)
    both = log_odds(np.stack([mine, theirs]), np.stack([theirs, mine]))[0]
    assert both[0] == pytest.approx(-both[1])


def test_words_that_name_a_group_are_its_own():
    told = telling(["plain short words", "short lists here"] * 3, ["warm words here", "kind words"] * 3, 2)
    assert told[0] == "short"
    assert "words" not in told
    assert telling([], ["a"], 3) == []
    assert telling(["only one"], [], 3)


# ---- similarity -------------------------------------------------------------------------------------------


def test_unrelated_texts_are_no_nearer_to_their_own():
    left, right = RNG.normal(size=(2, 120, 30))
    found = nearer(left, right, np.arange(120))
    assert found["low"] < 0.5 < found["high"]
    assert found["users"] == 120
    near = nearer(left, left + RNG.normal(size=left.shape), np.arange(120))
    assert near["low"] > 0.9
    far = nearer(left, -left, np.arange(120))
    assert far["value"] == 0.0


def test_similarity_within_a_group_ignores_what_tells_groups_apart():
    """Partners share the subject only: found among all, not among those of the same subject."""
    subject = np.repeat(np.arange(6), 20)
    shape = np.eye(6)[subject] * 5
    left, right = (shape + RNG.normal(size=shape.shape) for _ in range(2))
    owner = np.arange(120)
    assert nearer(left, right, owner)["low"] > 0.8
    inside = nearer(left, right, owner, subject)
    assert inside["low"] < 0.5 < inside["high"]


def test_own_rows_are_never_partners():
    owner = np.repeat(np.arange(4), 5)
    assert (owner[partners(owner)] != owner).all()
    talk = np.tile([0, 1, 2, 3, 4], 4)
    other = partners(owner, talk)
    assert (owner[other] != owner).all()
    assert (talk[other] == talk).all()
    assert nearer(np.ones((3, 2)), np.ones((3, 2)), np.zeros(3, np.int64))["value"] is None
    same = nearer(np.ones((3, 2)), np.ones((3, 2)), np.arange(3))
    assert same["value"] == 0.5


def test_intervals_of_similarity_hold_what_they_promise():
    """Of unrelated sides, 19 in 20 intervals hold a half; more than 1 in 10 that do not would be wrong."""
    rng, held = np.random.default_rng(0), 0
    for _ in range(60):
        left, right = rng.normal(size=(2, 40, 8))
        found = nearer(left, right, np.arange(40))
        held += found["low"] <= 0.5 <= found["high"]
    assert held >= 52


# ---- salience ---------------------------------------------------------------------------------------------


def salient(chosen, rejected, user):
    return salience.words(chosen, rejected, np.asarray(user))


def test_a_planted_bias_is_found_and_nothing_else():
    rng = np.random.default_rng(1)
    noise = [" ".join(rng.choice(["calm", "kind", "dry", "rich", "vivid", "sober"], 3)) for _ in range(240)]
    chosen = [f"meticulous {noise[i]}" if i % 3 else noise[i] for i in range(120)]
    rejected = [f"concise {noise[120 + i]}" if i % 3 == 0 else noise[120 + i] for i in range(120)]
    found = salient(chosen, rejected, np.arange(120))
    assert [w["word"] for w in found["words"]] == ["meticulous", "concise"]
    up, down = found["words"]
    assert (up["chosen"], up["rejected"], down["chosen"], down["rejected"]) == (80, 0, 0, 40)
    assert 0 < up["low"] < up["log_odds"] < up["high"]
    assert down["low"] < down["log_odds"] < down["high"] < 0
    assert found["limit"] >= 1.96
    assert (found["pairs"], found["users"], found["compared"]) == (120, 120, 8)


def test_without_a_bias_no_word_is_shown():
    rng, runs = np.random.default_rng(2), 0
    for _ in range(20):
        texts = [" ".join(rng.choice([f"word{c}" for c in "abcdefghijklmnopqrst"], 4)) for _ in range(120)]
        texts = [t.replace("word", "w") for t in texts]
        runs += bool(salient(texts[:60], texts[60:], np.arange(60))["words"])
    assert runs <= 4


def test_one_loud_user_makes_no_bias():
    """One of two users says a word in all 50 of their chosen personas: two users show nothing."""
    chosen, rejected = ["shout"] * 50 + ["calm"] * 50, ["calm"] * 100
    user = np.repeat([0, 1], 50)
    assert salient(chosen, rejected, user)["words"] == []
    many = salient(chosen, rejected, np.arange(100))
    assert {w["word"] for w in many["words"]} == {"shout", "calm"}


def test_pairs_without_both_personas_are_left_out():
    found = salient(["a b", "", "c d"], ["b a", "x y", ""], [0, 1, 2])
    assert (found["pairs"], found["left_out"], found["words"], found["limit"]) == (1, 2, [], None)
    value = {"dataset": "toy", "encoder": "lexical", "protocol": "new-users", "model": "m", **found}
    assert one_sentence(salience.tell(value))
    assert salience.draw(value) == ""


# ---- clusters ---------------------------------------------------------------------------------------------


def grouped(task, says=says_kind, right=None, curve=None, **outcomes):
    right = np.ones(len(task.targets), bool) if right is None else right
    made = probed(clusters, task, Silent(says=says), "lexical", right=right, curve=curve)
    base = outcome(task, np.arange(len(task.targets)) % 2 == 0, personal=False)
    return clusters.measure([section(task, {"pooled": base, "writer": made, **outcomes})])


def test_planted_kinds_are_found_named_and_counted(task):
    (value,) = grouped(task)
    groups = plain(value)["groups"]
    assert sum(g["statements"] for g in groups) == 120
    assert value["asked"] == 60
    for g in groups:  # no group mixes kinds
        owners = {kind for kind, lines in KINDS.items() for line in lines if line == g["example"]}
        assert len(owners) == 1
        (kind,) = owners
        assert g["users"] == 20
        words = " ".join(KINDS[kind]).lower()
        assert g["words"]
        assert all(word in words for word in g["words"])
    assert value["silhouette"] > 0.5
    assert value["stable"] == 1.0
    told = clusters.tell(plain(value))
    assert one_sentence(told)
    assert f"fall into {len(groups)} groups" in told
    assert looks_whole(clusters.draw(plain(value)))


def test_the_gain_of_a_group_is_that_of_its_users(task):
    """The method is right on the warm, wrong on the rest; the baseline right on half of everybody's."""
    name = task.context.users[task.targets.user]
    warm = np.array([kind_of(str(n)) == "warm" for n in name])
    (value,) = grouped(task, right=warm)
    for g in value["groups"]:
        wanted = 0.5 if any(g["example"] == line for line in KINDS["warm"]) else -0.5
        assert g["gain"]["value"] == pytest.approx(wanted)
        assert g["gain"]["users"] == 20
    assert value["against"] == "pooled"
    told = clusters.tell(plain(value))
    assert "gains +50.0 points" in told
    assert "loses −50.0 points" in told


def test_a_method_is_compared_with_its_own_baseline(task, monkeypatch):
    monkeypatch.setattr("palate.evaluate.facets._versus.find", lambda name: Silent)
    base = outcome(task, np.ones(len(task.targets), bool), personal=False)
    (value,) = grouped(task, default=base)
    assert value["against"] == "default"
    assert {g["gain"]["value"] for g in value["groups"]} == {0.0}
    (value,) = grouped(task, curve={0: np.zeros(len(task.targets), bool), 3: base.applied > 0})
    assert value["against"] == "default"  # not run by itself: the method before any choice
    assert {g["gain"]["value"] for g in value["groups"]} == {1.0}
    (value,) = grouped(task)
    assert value["against"] == "pooled"


def test_groups_do_not_depend_on_order(task):
    found = RNG.normal(size=(80, 12)) + np.repeat(np.eye(12)[:4] * 8, 20, axis=0)
    one = clusters.group(found)
    order = RNG.permutation(80)
    other = clusters.group(found[order])
    assert len(set(one.of)) == 4
    assert {tuple(sorted(np.flatnonzero(one.of == g))) for g in range(4)} == {
        tuple(sorted(order[other.of == g])) for g in range(4)
    }
    again = clusters.group(found)
    assert (again.of == one.of).all()


def test_noise_is_told_to_be_no_groups():
    found = clusters.group(RNG.normal(size=(120, 40)))
    assert found is None or found.silhouette < 0.25


def test_too_few_or_equal_statements_form_no_groups(task):
    assert clusters.group(np.ones((100, 3))) is None
    assert clusters.group(np.eye(10)) is None
    (value,) = grouped(task, says=lambda name: "Prefers peace.")
    assert value["groups"] == []
    assert one_sentence(clusters.tell(plain(value)))
    assert clusters.draw(plain(value)) == ""


# ---- map --------------------------------------------------------------------------------------------------


def mapped(task, profiles, says=says_kind):
    known = with_people(task, profiles=profiles)
    made = probed(where, known, Silent(says=says))
    base = outcome(known, coin(known), personal=False)
    (value,) = where.measure([section(known, {"pooled": base, "writer": made})])
    return plain(value)


def test_a_profile_that_stands_in_the_words_is_told_and_another_is_not(task):
    rng = np.random.default_rng(5)
    profiles = {
        str(n): {"work": kind_of(str(n)).upper(), "age": str(rng.choice(["young", "old"])), "id": str(n)}
        for n in task.context.users
    }
    value = mapped(task, profiles)
    fields = {f["field"]: f for f in value["fields"]}
    assert set(fields) == {"work", "age"}
    assert fields["work"]["agreement"]["value"] == 1.0
    assert fields["work"]["chance"] == pytest.approx(19 / 59, abs=1e-6)
    assert fields["work"]["told"]["low"] > 0.6
    assert fields["age"]["told"]["low"] < 0 < fields["age"]["told"]["high"]
    assert value["colour"]["field"] == "work"
    told = where.tell(value)
    assert one_sentence(told)
    assert "tell something of the profile: work, the best told of 2 fields" in told
    assert looks_whole(where.draw(value))
    assert "WARM" in where.draw(value)


def test_a_profile_that_the_method_repeats_is_said_to_be_given(task):
    profiles = {str(n): {"work": kind_of(str(n))} for n in task.context.users}
    value = mapped(task, profiles, says=lambda name: f"What is known: work: {kind_of(name)}.")
    assert value["fields"][0]["given"]
    told = where.tell(value)
    assert one_sentence(told)
    assert "repeat the profile that they were shown (work)" in told


def test_without_a_profile_the_map_stands_alone(task):
    value = mapped(task, {})
    assert value["fields"] == []
    assert value["colour"] is None
    assert len(value["points"]) == 60
    assert 0 < value["kept"] <= 1
    assert one_sentence(where.tell(value))
    assert looks_whole(where.draw(value))


def test_a_map_of_few_says_why():
    few = task_of(people(users=12, context=3, target=4))
    value = mapped(few, {})
    assert "only 12 users" in where.tell(value)
    assert one_sentence(where.tell(value))
    assert where.draw(value) == ""


# ---- match, by similarity ---------------------------------------------------------------------------------


def matched(task, says=says_kind, **people_):
    known = with_people(task, **people_)
    made = probed(match, known, Silent(says=says))
    base = outcome(known, coin(known), personal=False)
    (value,) = match.measure([section(known, {"pooled": base, "writer": made})])
    return plain(value)


def wish_of(name, field="system_string"):
    return {field: f"{says_kind(name)} My number is {name[5:]}."}


def test_personas_that_repeat_the_wish_in_other_words_lie_nearer_to_it(task):
    profiles = {str(n): wish_of(str(n)) for n in task.context.users}
    value = matched(task, profiles=profiles)
    assert value["source"] == "system_string"
    (method,) = value["methods"]
    # two thirds of the others have another kind, a third the same: 2/3 + 1/3 * 1/2
    assert method["similarity"]["value"] == pytest.approx(5 / 6, abs=0.06)
    assert method["similarity"]["low"] > 0.5
    assert method["judge"] == ""
    told = match.tell(value)
    assert one_sentence(told)
    assert "lie nearer to what their own user said (system_string of the profile)" in told
    assert looks_whole(match.draw(value))


def test_personas_of_others_lie_no_nearer(task):
    names = [str(n) for n in task.context.users]
    shuffled = dict(zip(names, np.random.default_rng(4).permutation(names), strict=True))
    profiles = {n: wish_of(str(shuffled[n])) for n in names}
    value = matched(task, profiles=profiles)
    found = value["methods"][0]["similarity"]
    assert found["low"] < 0.5 < found["high"]
    assert "are not shown to lie nearer" in match.tell(value)


def test_reasons_for_held_out_choices_are_the_wish_where_there_is_no_profile(task):
    held = {
        f"{u}-{i}": f"{says_kind(f'user-{u:04d}')} [rejected] is not, {u}" for u in range(60) for i in (3, 4)
    }
    seen = {f"{u}-{i}": "secret" for u in range(60) for i in range(3)}
    known = with_people(task, reasons=held | seen)
    fitted = Silent(says=says_kind).fit(task.fit_on)
    arrays = match.probe(fitted, fitted.adapt_batch(task.context), known)
    wishes = unpack(arrays, "wish")
    assert unpack(arrays, "source") == ["reasons"]
    assert "the rejected answer is not, 7" in wishes[7]
    assert not any("secret" in wish or "[rejected]" in wish for wish in wishes)
    value = matched(task, reasons=held | seen)
    assert value["methods"][0]["similarity"]["low"] > 0.5
    assert "what their own user said (reasons for held-out choices)" in match.tell(value)


def test_a_method_that_was_shown_the_wish_is_left_out(task):
    profiles = {str(n): wish_of(str(n)) for n in task.context.users}
    value = matched(task, says=lambda name: f"Known: {wish_of(name)['system_string']}", profiles=profiles)
    assert value["methods"] == []
    assert value["given"] == ["writer"]
    assert "writer repeat it word for word" in match.tell(value)
    assert match.draw(value) == ""


def test_where_people_said_nothing_that_is_told(task):
    value = matched(task)
    assert "neither a profile nor reasons say it" in match.tell(value)
    assert one_sentence(match.tell(value))
    few = task_of(people(users=6, context=3, target=4))
    value = matched(few, profiles={str(n): wish_of(str(n)) for n in few.context.users})
    assert "fewer than 10 users" in match.tell(value)
