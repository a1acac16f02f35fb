"""Every step on tables whose decisions are known by hand."""

import numpy as np
import pytest
from feedback_rows import as_lines

from palate.core import Feedback, Population, as_conversation
from palate.curate import Recipe, Scores, curate, plan
from palate.curate.questions import questions_of
from palate.curate.table import as_table, read_table
from palate.judge import Judge

YES, NO = "Reason: People differ.\nAnswer: Yes", "Reason: One is right.\nAnswer: No"
FIRST, SECOND = "Reason: So.\nAnswer: First", "Reason: So.\nAnswer: Second"


def steps(summary):
    return [(step.step, step.pairs, step.users) for step in summary.steps]


# ---- pairs ------------------------------------------------------------------------------------------


@pytest.fixture
def rated(tmp_path):
    """Ratings of three answers by one user, 1 to 11: gaps of 10, 9, 1, and of four by another."""
    lines = [
        {"user": "ann", "prompt": "Hi", "responses": ["a", "b", "c"], "ratings": [1, 11, 2]},
        {"user": "bob", "prompt": "Hi", "responses": ["a", "b", "c"], "ratings": [5, 5, 5.9]},
    ]
    path = tmp_path / "rated.jsonl"
    path.write_bytes(as_lines(lines))
    return path


def test_ratings_make_every_pair_and_close_ones_go(rated, tmp_path, decided):
    summary = curate(rated, tmp_path / "out", min_pairs=1)
    assert steps(summary)[:2] == [("original", 6, 2), ("pairs", 3, 1)]
    told = {
        (*sorted((line["about"]["chosen"], line["about"]["rejected"])), line["user"]): line
        for line in decided(tmp_path / "out").values()
    }
    assert {key: line["kept"] for key, line in told.items()} == {
        ("a", "b", "ann"): True,
        ("b", "c", "ann"): True,
        ("a", "c", "ann"): True,  # 1 of a scale of 10 is a tenth, not under it
        ("a", "b", "bob"): False,
        ("a", "c", "bob"): False,
        ("b", "c", "bob"): False,
    }
    assert told["a", "b", "ann"]["about"]["chosen"] == "b"
    assert told["a", "c", "bob"]["why"] == (
        "the two ratings are too close: 5.9 and 5 are 9.0% of the scale 1 to 11 apart, under 10.0%"
    )
    assert told["a", "c", "bob"]["decisions"][0] == {
        "step": "pairs",
        "kept": False,
        "ratings": [5.9, 5.0],
        "gap": 0.09,
        "least": 0.1,
    }
    assert any("ratings from 1 to 11 were seen in pairs" in rule for rule in summary.rules)
    assert summary.gone == {"the two ratings are too close": 3}


def test_without_a_gap_only_equal_ratings_go(rated, tmp_path):
    summary = curate(rated, tmp_path / "out", min_pairs=1, min_gap=0)
    assert steps(summary)[1] == ("pairs", 5, 2)
    assert summary.gone == {"a tie: neither answer was chosen": 1}


def test_scores_of_the_ratings_stand_in_the_rows(rated, tmp_path, rows):
    curate(rated, tmp_path / "out", min_pairs=1)
    scores = {(row["chosen_score"], row["rejected_score"]) for row in rows(tmp_path / "out").values()}
    assert scores == {(11.0, 1.0), (11.0, 2.0), (2.0, 1.0)}


def test_ties_go_and_a_choice_among_several_is_several_pairs(tmp_path, decided):
    talk = as_conversation("Hi")
    people = Population.of(
        [
            Feedback("ann", talk, ("a", "b", "c"), chosen=1, id="x", reason="warm"),
            Feedback("ann", as_conversation("Ho"), ("a", "b"), chosen=None, id="y"),
            Feedback("bob", talk, ("a", "b"), chosen=1, id="x/1"),
        ]
    )
    summary = curate(people, tmp_path / "out", min_pairs=1)
    assert steps(summary)[:2] == [("original", 4, 2), ("pairs", 3, 2)]
    found = decided(tmp_path / "out")
    assert {name: (line["about"]["chosen"], line["about"]["rejected"]) for name, line in found.items()} == {
        "x/1'": ("b", "a"),
        "x/2": ("b", "c"),
        "y": ("a", "b"),
        "x/1": ("b", "a"),
    }
    assert found["y"]["why"] == "a tie: neither answer was chosen"
    assert as_table(people).people.reasons == {"x/1'": "warm", "x/2": "warm"}


def test_prism_is_read_with_every_pair_of_a_turn(tmp_path):
    from adapter_rows import CONVERSATIONS, SURVEY, utterances

    (tmp_path / "prism").mkdir()
    (tmp_path / "prism" / "survey.jsonl").write_bytes(as_lines(SURVEY))
    for name, lines in (("conversations", CONVERSATIONS), ("utterances", utterances())):
        file = tmp_path / "prism" / f"{name}.jsonl"
        file.write_bytes(as_lines(lines))
        for spec in (file, f"prism:{file}", str(tmp_path / "prism")):
            table = read_table(spec, Recipe())
            assert table.adapter == "prism"
            pairs = {table.answers(row): table.grades[row].tolist() for row in range(table.people.n_rows)}
            assert pairs == {
                ("Yes.", "No."): [90, 20],
                ("Yes.", "Perhaps."): [90, 85],
                ("Yes.", "It depends."): [90, 60],
                ("Perhaps.", "No."): [85, 20],
                ("Perhaps.", "It depends."): [85, 60],
                ("It depends.", "No."): [60, 20],
                ("It calms.", "It warms."): [70, 40],
            }
        file.unlink()
    (tmp_path / "prism" / "conversations.jsonl").write_bytes(as_lines(CONVERSATIONS))
    summary = curate(f"prism:{tmp_path / 'prism'}", tmp_path / "out", min_pairs=5)
    assert steps(summary)[:3] == [("original", 7, 1), ("pairs", 6, 1), ("users", 6, 1)]
    assert summary.steps[0].paper == (68_371, 1_396)
    assert summary.steps[2].paper == (52_580, 1_294)
    asked = read_table(f"prism,gap=30:{tmp_path / 'prism'}", Recipe())
    assert asked.people.n_rows == 3
    assert np.isnan(asked.grades).all(), "with an option of its own, PRISM is read as the option says"


# ---- users ------------------------------------------------------------------------------------------


def test_users_need_enough_pairs(people, tmp_path, decided):
    made = people(ann=[(f"a{n}", f"b{n}") for n in range(5)], bob=[(f"c{n}", f"d{n}") for n in range(4)])
    summary = curate(made, tmp_path / "out")
    assert steps(summary) == [
        ("original", 9, 2),
        ("pairs", 9, 2),
        ("users", 5, 1),
        ("users left", 5, 1),
    ]
    found = decided(tmp_path / "out")
    assert [line["kept"] for line in found.values()] == [True] * 5 + [False] * 4
    assert found["bob-0"]["step"] == "users"
    assert found["bob-0"]["why"] == "the user has too few pairs: 4, expected 5 or more"
    assert found["bob-0"]["role"] is None


def test_users_left_with_too_few_go_before_they_cost_a_call(people, scripted, tmp_path, decided):
    made = people(
        ann=[(f"ann won {n}", f"ann lost {n}") for n in range(6)],
        bob=[("fact", f"bob lost {n}") if n < 2 else (f"bob won {n}", f"bob lost {n}") for n in range(6)],
    )

    def say(program, sections, lm):
        if program == "taste":
            return NO if "fact" in (sections["first"], sections["second"]) else YES
        assert "bob" not in sections["first"] + sections["second"]
        return FIRST

    client = scripted(say)
    summary = curate(made, tmp_path / "out", ["j"], "f", client=client)
    assert steps(summary)[3:] == [
        ("personalizable", 10, 2),
        ("users left", 6, 1),
        ("consensus", 6, 1),
        ("users left", 6, 1),
    ]
    line = decided(tmp_path / "out")["bob-5"]
    assert (line["step"], line["why"]) == (
        "users left",
        "the user has too few pairs left: 4, expected 5 or more",
    )
    assert [decision["step"] for decision in line["decisions"]] == [
        "pairs",
        "users",
        "personalizable",
        "users left",
    ]
    assert line["role"] in ("train", "val", "test"), "roles are drawn before the filters"
    fewer = curate(made, tmp_path / "out2", (), "f", recipe=Recipe(min_left=4), client=client)
    assert steps(fewer)[-1] == ("users left", 10, 2)


# ---- personalizable ---------------------------------------------------------------------------------


def test_what_is_no_matter_of_taste_goes_and_what_is_unread_stays(people, scripted, tmp_path, decided, rows):
    made = people(
        ann=[("tea", "coffee"), ("four", "five"), ("unsaid", "mumbled"), ("red", "blue"), ("cat", "dog")]
    )

    def say(program, sections, lm):
        assert program == "taste"
        assert lm == "openai/filter"
        assert sections.keys() == {"conversation", "first", "second"}
        texts = {sections["first"], sections["second"]}
        return NO if "four" in texts else "It is hard to say." if "unsaid" in texts else YES

    summary = curate(
        made, tmp_path / "out", filter_lm="openai/filter", client=scripted(say), recipe=Recipe(1, min_left=1)
    )
    assert summary.taste == {"lm": "openai/filter", "asked": 5, "yes": 3, "no": 1, "unread": 1}
    assert summary.faults == {"malformed": 1}
    found = decided(tmp_path / "out")
    assert [line["kept"] for line in found.values()] == [True, False, True, True, True]
    assert found["ann-1"]["why"] == "not a matter of taste"
    said = found["ann-1"]["decisions"][2]
    assert (said["answer"], said["reason"], said["lm"]) == ("no", "One is right.", "openai/filter")
    assert said["key"].startswith("key-")
    unread = found["ann-2"]["decisions"][2]
    assert (unread["kept"], unread["answer"], unread["fault"]["kind"]) == (True, None, "malformed")
    row = rows(tmp_path / "out")
    assert (row["ann-0"]["personalizable_query"], row["ann-0"]["query_reasoning"]) == (True, "People differ.")
    assert row["ann-2"]["personalizable_query"] is None


def test_equal_questions_are_asked_once_whoever_chose_what(people, scripted, tmp_path):
    made = people(
        ann=[("tea", "coffee"), ("red", "blue")],
        bob=[("coffee", "tea"), ("red", "blue")],
        eve=[("tea", "coffee"), ("blue", "red")],
    )
    client = scripted(lambda program, sections, lm: YES if program == "taste" else FIRST)
    recipe = Recipe(min_pairs=1)
    expected = plan(made, ["j"], "f", recipe=recipe)
    curate(made, tmp_path / "out", ["j"], "f", recipe=recipe, client=client)
    assert [(step.step, step.lm, step.calls) for step in expected.asked] == [
        ("personalizable", "f", 2),
        ("consensus", "j", 4),
    ]
    assert expected.calls == len(client.made) == 6
    assert all(step.tokens_in > step.calls * 100 for step in expected.asked)


def test_the_order_of_a_question_tells_nothing(crowd):
    table = as_table(crowd(users=50, pairs=10))
    questions = questions_of(table, np.ones(500, dtype=bool))
    assert len(questions) == 500
    assert 200 < questions.swapped.sum() < 300
    for row in (0, 17, 499):
        shown = questions.answers(questions.of_row[row])
        assert shown == (table.answers(row)[::-1] if questions.swapped[row] else table.answers(row))


# ---- consensus --------------------------------------------------------------------------------------

LIKES = {"j1": ("both", "one"), "j2": ("both", "two")}  # words that a judge prefers


def judged(program, sections, lm):
    """Each judge prefers the answer with a word it likes; "first" makes it look at the place."""
    first, second = sections["first"], sections["second"]
    if "mumble" in first + second and lm == "j2":
        return "Hm."
    if "half" in first + second and lm == "j2" and first.startswith("half"):
        return "Hm."
    if "place" in first + second:
        return FIRST
    return FIRST if any(word in first for word in LIKES[lm]) else SECOND


PAIRS = {
    "obvious": ("both good", "bad"),
    "odd": ("bad", "both good"),
    "split": ("one good", "two good"),
    "placed": ("place a", "place b"),
    "unread": ("both mumble", "bad"),
    "half": ("half both", "bad"),
}


@pytest.fixture
def verdicts(people, scripted, tmp_path, decided):
    made = people(ann=list(PAIRS.values()))
    client = scripted(judged)
    summary = curate(
        made,
        tmp_path / "out",
        [Judge("j1"), "j2"],
        recipe=Recipe(1, min_left=1),
        client=client,
    )
    return summary, dict(zip(PAIRS, decided(tmp_path / "out").values(), strict=True)), client


def test_pairs_on_which_all_judgments_agree_go(verdicts):
    _, found, client = verdicts
    assert {name: line["kept"] for name, line in found.items()} == {
        "obvious": False,
        "odd": False,
        "split": True,
        "placed": True,
        "unread": True,
        "half": True,
    }
    assert found["obvious"]["why"] == "every judgment names the chosen answer: too obvious"
    assert found["odd"]["why"].startswith("every judgment names the rejected answer")
    assert len(client.made) == 2 * 2 * len(PAIRS)
    votes = found["placed"]["decisions"][2]
    assert (votes["agree"], votes["disagree"], votes["of"]) == (2, 2, 4)
    for judge in votes["judges"]:
        first, second = (vote["for_chosen"] for vote in judge["votes"])
        assert (first, second) == (1.0, -1.0), "with the chosen answer first, then second"
    unread = found["unread"]["decisions"][2]
    assert (unread["agree"], unread["disagree"]) == (2, 0)
    assert [vote.get("fault", {}).get("kind") for vote in unread["judges"][1]["votes"]] == ["malformed"] * 2
    half = found["half"]["decisions"][2]["judges"][1]["votes"]
    assert [vote["for_chosen"] for vote in half] == [None, 1.0]


def test_strata_and_judges_are_told(verdicts):
    summary, _, _ = verdicts
    assert [(s["agree"], s["pairs"], s["gone"]) for s in summary.strata] == [
        (0, 1, 1),
        (2, 2, 0),
        (4, 1, 1),
        (None, 2, 0),
    ]
    one, two = summary.judges
    assert (one["name"], one["judgments"], one["asked"], one["unread"]) == ("j1", 12, 12, 0)
    assert one["agree"] == pytest.approx((2 + 0 + 2 + 1 + 2 + 2) / 12)
    assert one["torn"] == pytest.approx(1 / 6)
    assert (two["judgments"], two["unread"]) == (9, 3)
    assert summary.faults == {"malformed": 3}
    text = "\n".join(f"{what}: {value}" for what, value in summary.lines())
    assert "0 of 4: 1 (1 gone); 2 of 4: 2; 4 of 4: 1 (1 gone); not all read: 2 pairs" in text
    assert "malformed 3; their pairs stay, marked" in text


def test_predictions_stand_in_the_order_of_flip(verdicts, rows, tmp_path):
    found = list(rows(tmp_path / "out").values())
    assert len(found) == 4
    for row in found:
        first = "First" if row["flip"] else "Second"
        other = {"First": "Second", "Second": "First"}[first]
        if row["chosen"]["content"] == "one good":
            assert (row["prediction_j1"], row["prediction_flip_j1"]) == (first, other)
            assert (row["prediction_j2"], row["prediction_flip_j2"]) == (other, first)
            assert row["agreement"] == 0.5
        if row["chosen"]["content"] == "place a":
            assert row["prediction_j1"] == row["prediction_flip_j1"] == "First"
        if row["chosen"]["content"] == "both mumble":
            assert (row["prediction_j2"], row["reasoning_j2"], row["agreement"]) == (None, None, 1.0)


def test_scores_judge_too(people, tmp_path, decided, rows):
    values = {"a": 2.0, "b": 1.0, "c": 1.0, "d": 0.5, "e": float("nan"), "f": 0.0}
    made = people(ann=[("a", "b"), ("b", "a"), ("b", "c"), ("d", "a"), ("e", "a"), ("f", "d")])

    def by_value(comparisons):
        return [values[c.answers[0]] - values[c.answers[1]] for c in comparisons]

    def by_place(comparisons):
        return np.array(
            [
                [1.0, -1.0] if "f" in c.answers else [v, v]
                for c, v in zip(comparisons, by_value(comparisons), strict=True)
            ]
        )

    judges = [Scores("rm", by_value), Scores("orders", by_place)]
    summary = curate(made, tmp_path / "out", judges, recipe=Recipe(1, min_left=1))
    found = decided(tmp_path / "out")
    assert [line["kept"] for line in found.values()] == [False, False, True, False, True, True]
    assert [line["decisions"][2]["of"] for line in found.values()] == [3] * 6
    assert found["ann-2"]["decisions"][2]["judges"][0]["votes"] == [{"for_chosen": 0.0}]
    assert found["ann-4"]["decisions"][2]["judges"][0]["votes"][0]["fault"]["kind"] == "no score"
    assert summary.judges[0]["first"] is None
    row = rows(tmp_path / "out")["ann-5"]
    assert row["prediction_rm"] == ("Second" if row["flip"] else "First")
    assert row["prediction_flip_rm"] == ("First" if row["flip"] else "Second")
