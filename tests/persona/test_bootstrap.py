"""Reasoning that is kept, candidates, the rule for the better one, and a race that changes nothing."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from palate.core import Feedback, as_conversation
from palate.feedback.world import World
from palate.judge import Judge, Verdict
from palate.models.llm.wire import Fault, Reply, Token
from palate.persona.bootstrap import (
    Candidate,
    best,
    draw,
    labelled_only,
    no_demonstrations,
    pairs_of,
    reason,
    split,
    with_reasons,
)

JUDGE = Judge()


def choice(name, responses=("Yes.", "No."), chosen=0, **more):
    return Feedback("ann", as_conversation(f"{name}?"), responses, chosen, id=name, **more)


def pair(name, **more):
    (only,) = pairs_of(choice(name, **more))
    return only


TRAIN = [pair(f"T{n}", chosen=n % 2) for n in range(7)]
VALID = [pair(f"V{n}", chosen=n % 2) for n in range(3)]


def drive(asking, answer):
    """Answer every request by a function; return the result, the rounds of requests."""
    rounds, answers = [], None
    try:
        while True:
            asked = asking.send(answers)
            rounds.append(list(asked))
            answers = [answer(request) for request in asked]
    except StopIteration as stop:
        return stop.value, rounds


def section(request, tag):
    return [s.text for s in request.sections if s.tag == tag]


def shown_first(request):
    return section(request, "first")[0]


def favour(request, log_odds, said, graded=False):
    """Answer with log-odds of one of the two texts."""
    first = (log_odds > 0) == (shown_first(request) == said)
    word = "First" if first else "Second"
    if not graded:
        return Reply(f"Answer: {word}", Verdict(first, "Because."))
    high, low = -np.log1p(np.exp(-abs(log_odds))), -np.log1p(np.exp(abs(log_odds)))
    other = "Second" if first else "First"
    return Reply(word, Verdict(first), logprobs=(Token(word, high, ((word, high), (other, low))),))


# ---- pairs ------------------------------------------------------------------------------------------


def test_a_choice_among_several_is_the_chosen_answer_against_each_other_one():
    pairs = pairs_of(choice("c", ("b", "a", "d", "a"), chosen=2))
    assert [(p.feedback.responses, p.feedback.chosen_response) for p in pairs] == [
        (("a", "d"), "d"),
        (("b", "d"), "d"),
    ]
    assert pairs_of(choice("c", ("a", "a"), chosen=1)) == []
    assert pairs_of(choice("c", chosen=None)) == []


def test_the_order_of_the_options_and_the_users_own_words_do_not_reach_the_search():
    one = pairs_of(choice("c", ("a", "b", "c"), chosen=0, reason="I like a."))
    other = pairs_of(choice("c", ("c", "b", "a"), chosen=2))
    assert one == other
    assert all(p.feedback.reason is None for p in one)


def test_no_choice_stands_on_both_sides_of_the_split():
    rows = [choice(f"c{n}", ("a", "b", "c"), chosen=n % 3) for n in range(10)]
    train, valid = split(rows, 0.7)
    assert Counter(p.feedback.id for p in train) == {f"c{n}": 2 for n in range(7)}
    assert Counter(p.feedback.id for p in valid) == {f"c{n}": 2 for n in range(7, 10)}


@pytest.mark.parametrize("rows", range(1, 31))
def test_training_holds_the_first_seventy_percent_at_most_and_validation_is_never_empty(rows):
    train, valid = split([choice(f"c{n}") for n in range(rows)], 0.7)
    names = [p.feedback.id for p in train + valid]
    assert names == [f"c{n}" for n in range(rows)]
    if rows < 3:
        assert not valid
    else:
        assert valid
        assert 0.45 <= len(train) / rows <= 0.7


def test_the_place_of_the_chosen_answer_is_balanced_and_drawn_from_the_content_alone():
    people = World(users=60, pairs=10, targets=0).sample().population
    drawn = [pair for history in people for row in history.feedback for pair in pairs_of(row)]
    first = np.mean([pair.feedback.chosen == int(pair.swapped) for pair in drawn])
    assert abs(first - 0.5) < 3 * 0.5 / np.sqrt(len(drawn))
    row = next(iter(people)).feedback[0]
    renamed = replace(row, id="another", user="bob", time=1.0, responses=row.responses[::-1])
    assert pairs_of(replace(renamed, chosen=1 - row.chosen))[0].swapped == pairs_of(row)[0].swapped


# ---- reasoning --------------------------------------------------------------------------------------


def test_reasoning_that_led_to_the_other_answer_is_rejected_and_a_failure_is_no_reasoning():
    def answer(request):
        name = section(request, "conversation")[0]
        if name == "T2?":
            return Fault("malformed", "no answer")
        chosen = TRAIN[int(name[1])].feedback.chosen_response
        return favour(request, -1 if name in ("T1?", "T4?") else 1, chosen)

    reasons, rounds = drive(reason(JUDGE, TRAIN, "Prefers yes."), answer)
    assert [words is not None for words in reasons] == [True, False, False, True, False, True, True]
    assert len(rounds) == 1
    assert all(section(request, "persona") == ["Prefers yes."] for request in rounds[0])


def test_reasoning_speaks_of_the_chosen_and_the_rejected_answer_not_of_places():
    def answer(request):
        first = shown_first(request) == "Yes."
        place, other = ("first", "second") if first else ("second", "first")
        return Reply(
            "", Verdict(first, f"The {place} answer agrees. The {other} one, the {other}, does not.")
        )

    reasons, _ = drive(reason(JUDGE, [pair(f"c{n}") for n in range(8)], None), answer)
    assert set(reasons) == {"The chosen answer agrees. The rejected one, the rejected one, does not."}


def test_greedy_is_said_and_never_left_to_the_endpoint():
    _, rounds = drive(reason(JUDGE, TRAIN, None), lambda r: favour(r, 1, "Yes."))
    assert {(r.temperature, r.seed) for r in rounds[0]} == {(0.0, None)}
    _, rounds = drive(reason(JUDGE, TRAIN, None, 0.7, 3), lambda r: favour(r, 1, "Yes."))
    assert {(r.temperature, r.seed) for r in rounds[0]} == {(0.7, 3)}


# ---- candidates -------------------------------------------------------------------------------------


REASONS = ["It is short.", None, "It is kind.", "It is plain.", None, "It is sure.", None]


def drawn(reasons=REASONS, **changes):
    return draw(TRAIN, reasons, **{"candidates": 10, "labelled": 4, "most": None, "seed": 0, **changes})


def test_candidates_are_distinct_subsets_of_what_proved_right_with_others_beside_them():
    found = drawn()
    assert len(found) == len(set(found)) <= 10
    assert found[0].traces == 4
    assert [e.id for e in found[0].examples] == [f"T{n}" for n in range(7)]
    for candidate in found:
        names = [e.id for e in candidate.examples]
        reasoned = [e.id for e in candidate.examples if e.reason]
        assert names == sorted(names)
        assert set(reasoned) <= {"T0", "T2", "T3", "T5"}
        assert len(reasoned) == candidate.traces >= 1
        assert len(names) - len(reasoned) <= 4
    assert {c.traces for c in drawn(candidates=60)} == {1, 2, 3, 4}


def test_few_traces_make_few_candidates_and_none_makes_none():
    assert len(drawn([None, None, "It is short.", *[None] * 4])) == 1
    assert len(drawn(["It is short.", None, "It is kind.", *[None] * 4])) == 3
    assert drawn([None] * 7) == []
    assert drawn(most=0) == []


def test_draws_depend_on_seed_and_content_alone():
    assert drawn(seed=1) == drawn(seed=1)
    assert any(drawn(seed=seed) != drawn(seed=0) for seed in (1, 2))
    assert max(c.traces for c in drawn(most=2)) == 2


def test_the_latest_pairs_are_labelled():
    assert [e.id for e in labelled_only(TRAIN, 4).examples] == ["T3", "T4", "T5", "T6"]
    assert labelled_only(TRAIN, 0) == no_demonstrations() == Candidate()
    assert {len(c.examples) - c.traces for c in drawn(labelled=0)} == {0}


def test_labelled_demonstrations_reach_the_prompt_with_what_was_chosen():
    candidate = drawn(["It is short.", *[None] * 6], labelled=2)[0]
    other = replace(candidate, examples=()) if not candidate else no_demonstrations()
    _, rounds = drive(
        best([candidate, other], VALID, JUDGE, None, race=False), lambda r: favour(r, 1, "Yes.")
    )
    prompts = [request.told(100_000).messages[1].content for request in rounds[0]]
    full = [prompt for prompt in prompts if "<example>" in prompt]
    assert len(full) == len(VALID)
    for prompt in full:
        assert prompt.count("<example>") == 3
        assert "Conversation: T0?\nChosen: Yes.\nRejected: No.\nWhy: It is short.\n</example>" in prompt
        assert "Conversation: T5?\nChosen: No.\nRejected: Yes.\n</example>" in prompt
        assert "Conversation: T6?\nChosen: Yes.\nRejected: No.\n</example>" in prompt


def test_two_pairs_of_one_choice_keep_their_own_reasoning():
    pairs = pairs_of(choice("c", ("a", "b", "c"), chosen=0))
    examples, reasons = with_reasons([replace(p.feedback, reason=f"why {n}") for n, p in enumerate(pairs)])
    assert [reasons[e.id] for e in examples] == ["why 0", "why 1"]


# ---- which is better --------------------------------------------------------------------------------


def contestants(count, traces=None, extra=None):
    """Candidates that a stand-in can tell apart by their first example."""
    out = []
    for n in range(count):
        more = [pair(f"x{k}").feedback for k in range((extra or [0] * count)[n])]
        out.append(Candidate((pair(f"K{n}").feedback, *more), (traces or [1] * count)[n]))
    return out


def answering(table, pairs, graded=False):
    """Answer by a table [candidates, pairs] of log-odds of the user's choice; NaN is a failure."""
    places = {p.feedback.id: n for n, p in enumerate(pairs)}

    def answer(request):
        name = section(request, "example")[0].split("?")[0].removeprefix("Conversation: K")
        place = places[section(request, "conversation")[0].rstrip("?")]
        log_odds = table[int(name)][place]
        if np.isnan(log_odds):
            return Fault("timeout", "no answer in time")
        return favour(request, log_odds, pairs[place].feedback.chosen_response, graded)

    return answer


def winner(table, pairs=VALID, graded=False, traces=None, extra=None, **how):
    found, rounds = drive(
        best(contestants(len(table), traces, extra), pairs, JUDGE, None, **how),
        answering(table, pairs, graded),
    )
    return int(found.examples[0].id[1:]), rounds


BOTH = pytest.mark.parametrize("race", [True, False])


@BOTH
def test_more_right_answers_come_first(race):
    assert winner([[1, 1, -1], [1, 1, 1], [1, -1, -1]], race=race)[0] == 1
    assert winner([[9, 9, -1], [0.3, 0.3, 0.3]], graded=True, traces=[5, 1], race=race)[0] == 1


@BOTH
def test_then_a_higher_probability_of_the_users_choice(race):
    table = [[1, 1, -1], [4, 4, -1], [4, 4, -1]]
    assert winner(table, graded=True, traces=[3, 2, 1], race=race)[0] == 1
    assert winner(table, graded=False, traces=[3, 2, 1], race=race)[0] == 0


@BOTH
def test_then_more_evidence_and_then_the_earlier(race):
    table = [[2, 2, 2]] * 4
    assert winner(table, traces=[1, 2, 3, 3], extra=[0, 0, 0, 1], race=race)[0] == 3
    assert winner(table, traces=[1, 2, 2, 1], race=race)[0] == 1
    assert winner(table, graded=True, traces=[1, 2, 2, 1], race=race)[0] == 1


@BOTH
def test_a_tie_does_not_go_to_no_demonstrations(race):
    with_one = contestants(1)[0]
    found, _ = drive(
        best([no_demonstrations(), with_one], VALID, JUDGE, None, race=race), lambda r: favour(r, 1, "Yes.")
    )
    assert found == with_one


@BOTH
def test_no_demonstrations_win_where_they_predict_better(race):
    def answer(request):
        said = next(
            p.feedback.chosen_response for p in VALID if p.feedback.id in section(request, "conversation")[0]
        )
        return favour(request, -1 if section(request, "example") else 1, said)

    found, _ = drive(best([contestants(1)[0], no_demonstrations()], VALID, JUDGE, None, race=race), answer)
    assert found == no_demonstrations()


@BOTH
def test_a_failed_call_is_neither_right_nor_a_tie(race):
    nan = float("nan")
    assert winner([[nan, 1, 1], [1, 1, 1]], traces=[2, 1], race=race)[0] == 1
    assert winner([[nan, 1, nan], [-1, 1, 1]], traces=[2, 1], race=race)[0] == 1
    # a failure is worth no more than an answer against the user's choice
    assert winner([[nan, 2, 2], [-0.6, 2, 2]], graded=True, traces=[2, 1], race=race)[0] == 1
    assert winner([[nan] * 3] * 3, traces=[1, 3, 2], race=race)[0] == 1


def test_the_best_is_kept_and_not_the_first_over_the_threshold():
    five = [pair(f"V{n}", chosen=n % 2) for n in range(5)]
    table = [[1, 1, 1, 1, -1], [1, 1, 1, 1, 1], [1, 1, 1, -1, -1]]
    for race in (True, False):
        assert winner(table, five, traces=[3, 2, 1], race=race)[0] == 1


def test_a_threshold_ends_the_search_early_and_keeps_one_that_reached_it():
    ten = [pair(f"V{n}", chosen=n % 2) for n in range(10)]
    exact = early = 0
    for seed in range(8):
        table = np.where(np.random.default_rng(seed).random((12, 10)) < 0.2, -1.0, 1.0)
        right = (table > 0).sum(axis=1)
        kept, rounds = winner(table, ten)
        assert right[kept] == right.max()
        exact += sum(map(len, rounds))
        kept, rounds = winner(table, ten, stop=0.8)
        assert right[kept] >= 8
        early += sum(map(len, rounds))
    assert early < 0.6 * exact


# ---- the race ---------------------------------------------------------------------------------------


TABLES = st.integers(1, 12).flatmap(
    lambda n: st.integers(1, 7).flatmap(
        lambda v: st.lists(
            st.lists(
                st.sampled_from([-3.0, -1.0, -0.2, 0.2, 1.0, 1.05, 3.0, float("nan")]), min_size=v, max_size=v
            ),
            min_size=n,
            max_size=n,
        )
    )
)


@settings(max_examples=300, deadline=None)
@given(TABLES, st.booleans(), st.integers(0, 3))
def test_the_race_keeps_what_asking_everything_keeps(table, graded, seed):
    pairs = [pair(f"V{n}", chosen=n % 2) for n in range(len(table[0]))]
    traces = np.random.default_rng(seed).integers(1, 4, len(table)).tolist()
    raced, few = winner(table, pairs, graded, traces)
    asked, every = winner(table, pairs, graded, traces, race=False)
    assert raced == asked
    flat = [request for requests in few for request in requests]
    assert len(flat) == len(set(flat)) <= len(table) * len(pairs)
    assert len(every) <= 1


def test_who_is_all_right_and_first_in_rank_ends_it():
    table = [[1, 1, 1]] * 12
    _, rounds = winner(table)
    assert [len(requests) for requests in rounds] == [3]


def test_who_cannot_win_is_asked_no_more():
    table = [[-1, 1, 1], [1, 1, 1], *[[-1, 1, 1]] * 8]
    found, rounds = winner(table)
    assert found == 1
    assert sum(map(len, rounds)) <= 3 + 3 + 8


def test_a_round_is_a_few_candidates_and_a_candidate_a_few_rounds():
    thirty = [pair(f"V{n}", chosen=n % 2) for n in range(30)]
    rng = np.random.default_rng(1)
    for seed in range(5):
        table = rng.normal(0.6, 1.0, (12, 30))
        _, rounds = winner(table, thirty, graded=bool(seed % 2))
        assert len(rounds) <= 1 + 3 * 4


def test_one_candidate_or_no_validation_asks_nothing():
    assert drive(best(contestants(1), VALID, JUDGE, None), None)[1] == []
    found, rounds = drive(best(contestants(3, [1, 2, 2]), [], JUDGE, None), None)
    assert (found.examples[0].id, rounds) == ("K1", [])
