"""Every kind of row."""

import numpy as np
import pytest
from feedback_rows import pair

from palate.core import DataError, Turn


def only(result):
    assert result.population.n_rows == 1, result.report.lines()
    return result.population.row(0)


def test_a_pair(read_rows):
    row = only(read_rows(pair(time="2016-02-01T00:58:12Z", reason="kinder", id="x1")))
    assert (row.user, row.conversation) == ("ann", (Turn("user", "Hi"),))
    assert (row.responses, row.chosen, row.id, row.reason) == (("Hello!", "Yo."), 0, "x1", "kinder")
    assert row.time == 1454288292.0


def test_messages_as_prompt(read_rows):
    talk = [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b"},
        {"role": "user", "content": "c"},
    ]
    for field in ("prompt", "conversation", "messages"):
        row = pair()
        del row["prompt"]
        got = only(read_rows({**row, field: talk}))
        assert got.conversation == (Turn("user", "a"), Turn("assistant", "b"), Turn("user", "c"))


def test_conversation_and_prompt_join(read_rows):
    talk = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    row = only(read_rows(pair(prompt="c", conversation=talk)))
    assert row.conversation == (Turn("user", "a"), Turn("assistant", "b"), Turn("user", "c"))


def test_messages_that_end_in_an_answer_on_offer_do_not_leak_it(read_rows):
    talk = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello!"}]
    assert only(read_rows(pair(messages=talk))).conversation == (Turn("user", "Hi"),)


def test_one_user_turn_is_the_same_as_a_prompt(read_rows):
    population = read_rows(pair(), pair(user="bob", prompt=[{"role": "user", "content": "Hi"}])).population
    assert len(population.corpus.conversations) == 1


def test_trl_message_lists(read_rows):
    start = [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b"},
        {"role": "user", "content": "c"},
    ]
    good, bad = ([*start, {"role": "assistant", "content": text}] for text in ("good", "bad"))
    row = only(read_rows({"user": "ann", "chosen": good, "rejected": bad}))
    assert (len(row.conversation), row.responses) == (3, ("good", "bad"))
    parted = [
        start[0],
        {"role": "assistant", "content": "B"},
        start[2],
        {"role": "assistant", "content": "bad"},
    ]
    row = only(read_rows({"user": "ann", "chosen": good, "rejected": parted}))
    assert row.conversation == (Turn("user", "a"),)
    assert row.responses[1] == "assistant: B\n\nuser: c\n\nassistant: bad"


def test_trl_with_a_prompt_apart(read_rows):
    row = only(
        read_rows(
            pair(
                prompt=[{"role": "user", "content": "q"}],
                chosen=[{"role": "assistant", "content": "good"}],
                rejected=[{"role": "assistant", "content": "bad"}],
            )
        )
    )
    assert (row.conversation, row.responses) == ((Turn("user", "q"),), ("good", "bad"))


def test_other_message_spellings(read_rows):
    talk = [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]
    parts = [{"role": "user", "content": [{"type": "text", "text": "x"}, {"type": "text", "text": "y"}]}]
    assert only(read_rows(pair(prompt=talk))).conversation == (Turn("user", "a"), Turn("assistant", "b"))
    assert only(read_rows(pair(prompt=parts))).conversation == (Turn("user", "xy"),)


@pytest.mark.parametrize(
    ("chosen", "position"),
    [(1, 1), (2.0, 2), ("c", 2), ("0", 0), (None, None), ("tie", None), ({"text": "b"}, 1)],
)
def test_nway(read_rows, chosen, position):
    result = read_rows({"user": "ann", "prompt": "Hi", "responses": ["a", "b", "c"], "chosen": chosen})
    assert only(result).chosen == position
    assert result.shown.tolist() == [True]


def test_a_text_that_is_a_number_wins_over_a_position(read_rows):
    row = {"user": "ann", "prompt": "Hi", "responses": ["2", "1", "0"], "chosen": "2"}
    assert only(read_rows(row)).chosen == 0


def test_ties(read_rows):
    assert only(read_rows(pair(tie=True))).chosen is None
    assert only(read_rows({"user": "a", "prompt": "p", "responses": ["x", "y"], "tie": True})).chosen is None
    assert only(read_rows(pair(tie="false"))).chosen == 0


@pytest.mark.parametrize(
    ("winner", "position"),
    [
        *[("a", 0), ("model_a", 0), ("1", 0), ("A", 0), ("b", 1), ("model_b", 1), (2, 1), ("response_b", 1)],
        *[("tie", None), ("tie (bothbad)", None), ("both", None)],
    ],
)
def test_two_columns_and_a_winner(read_rows, winner, position):
    row = {"user": "ann", "prompt": "Hi", "response_a": "x", "response_b": "y", "winner": winner}
    assert only(read_rows(row)).chosen == position


def test_numbered_columns_go_by_their_own_numbers(read_rows):
    row = {"user": "ann", "prompt": "Hi", "response_0": "x", "response_1": "y", "better_response_id": 1}
    assert only(read_rows(row)).chosen == 1
    row = {"user": "ann", "prompt": "Hi", "response_1": "x", "response_2": "y", "preference": 1}
    assert only(read_rows(row)).chosen == 0


def test_chatbot_arena_rows(read_rows):
    talk = {name: [{"role": "user", "content": "q"}, {"role": "assistant", "content": name}] for name in "ab"}
    row = {
        "question_id": "q1",
        "model_a": "m",
        "model_b": "n",
        "winner": "model_b",
        "judge": "arena_user_1",
        "conversation_a": talk["a"],
        "conversation_b": talk["b"],
        "turn": 1,
    }
    result = read_rows(row)
    got = only(result)
    assert (got.user, got.conversation, got.responses, got.chosen) == (
        "arena_user_1",
        (Turn("user", "q"),),
        ("a", "b"),
        1,
    )
    assert set(result.report.unused) == {"question_id", "model_a", "model_b", "turn"}


@pytest.mark.parametrize(
    ("high", "low"),
    [(5, 2), (True, False), ("up", "down"), ("agree", "disagree"), ("3.5", "1"), ("yes", "no")],
)
def test_ratings_become_pairs(read_rows, high, low):
    rows = [
        {"user": "ann", "prompt": "Hi", "response": text, "rating": rating}
        for text, rating in [("worse", low), ("better", high)]
    ]
    result = read_rows(*rows)
    assert only(result).chosen_response == "better"
    assert (result.report.ratings, result.report.ratings_used) == (2, 2)
    assert "rule gap" in result.report.rule


def test_a_row_of_ratings(read_rows):
    row = {"user": "ann", "prompt": "Hi", "responses": ["a", "b", "c"], "ratings": [1, 3, 2]}
    assert only(read_rows(row)).responses == ("b", "a")


def test_ratings_under_different_prompts_do_not_meet(read_rows):
    rows = [{"user": "a", "prompt": f"p{i}", "response": f"r{i}", "rating": i} for i in range(4)]
    with pytest.raises(DataError, match=r"no pair can be drawn.*0 to 3.*min_gap"):
        read_rows(*rows)


def test_a_later_rating_replaces_an_earlier_one(read_rows):
    votes = [("x", 1), ("y", -1), ("x", -1), ("y", 1)]
    rows = [{"user": "a", "prompt": "p", "response": r, "rating": v} for r, v in votes]
    result = read_rows(*rows)
    assert only(result).chosen_response == "y"
    assert (result.report.ratings_replaced, result.report.ratings_unused) == (2, 2)


def test_users_without_a_choice_are_known(read_rows):
    population = read_rows(pair(), {"user": "idle", "user_split": "test", "profile": {"age": 3}}).population
    assert population.users.tolist() == ["ann", "idle"]
    assert population.role.tolist() == [-1, 2]
    assert population.profiles == {"idle": {"age": "3"}}


def test_optional_fields(read_rows):
    rows = [
        pair(user_split="train", split="context", profile={"age": 30, "likes": ["a"]}, source="lab"),
        pair(prompt="Ho", user_split="training", split="target", source="web"),
        pair(user="bob", user_split="validation", split="context", **{"profile.town": "Rome"}),
    ]
    result = read_rows(*rows)
    people = result.population
    assert people.role.tolist() == [0, 1]
    assert people.split.tolist() == [0, 1, 0]
    assert people.profiles == {"ann": {"age": "30", "likes": '["a"]'}, "bob": {"town": "Rome"}}
    assert result.report.sources == {"lab": 1, "web": 1}


@pytest.mark.parametrize(
    ("time", "seconds"),
    [
        ("1970-01-01T00:01:00+00:00", 60),
        ("1970-01-01 00:01:00", 60),
        (1_700_000_000, 1.7e9),
        (1_700_000_000_000, 1.7e9),
        (1_700_000_000_000_000, 1.7e9),
        (1_700_000_000_000_000_000, 1.7e9),
        ("1700000000.5", 1700000000.5),
        (-5.0, -5.0),
    ],
)
def test_times(read_rows, time, seconds):
    assert only(read_rows(pair(time=time))).time == pytest.approx(seconds)


@pytest.mark.parametrize("time", ["yesterday", True, [1], "inf", 10**400])
def test_a_time_that_does_not_parse_is_unknown_and_counted(read_rows, time):
    result = read_rows(pair(time=time))
    assert only(result).time is None
    assert result.report.warnings.total() == 1


def test_rows_come_in_time_order(read_rows):
    rows = [pair(prompt=f"p{t}", time=t) for t in (5, 1, 3)]
    assert read_rows(*rows).population.times.tolist() == [1, 3, 5]


def test_big_and_foreign_texts(read_rows):
    texts = ["🙂" * 10, "שלום עולם", "x" * 1_000_000, "日本語のテキスト"]
    result = read_rows(*(pair(prompt=f"{text[:20]}?", chosen=text, rejected="no") for text in texts))
    assert result.report.n_set_aside == 0
    assert set(texts) <= set(result.population.corpus.responses)


def test_kinds_may_stand_in_one_file(read_rows):
    rows = [
        pair(),
        {"user": "ann", "prompt": "n", "responses": ["a", "b", "c"], "chosen": 2},
        {"user": "ann", "prompt": "r", "responses": ["d", "e"], "ratings": [5, 1]},
    ]
    result = read_rows(*rows)
    assert np.diff(result.population.option_offsets).tolist() == [2, 3, 2]
    assert result.shown.tolist() == [False, True, False]


def test_ids_given_and_made_do_not_meet(read_rows):
    ids = read_rows(pair(), pair(user="bob", id="row-1"), pair(user="cy", id=7)).population.ids
    assert len(set(ids)) == 3
    assert {"row-1", "7"} <= set(ids)
