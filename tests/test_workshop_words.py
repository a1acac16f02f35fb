"""fit, adapt, explain and compare for personas in words, with the fake reader."""

import io
import json
from dataclasses import replace

import pytest
from rich.console import Console

from palate.cli.told import diff_view, explanation_view
from palate.core import Claim, DataError, Feedback, Persona, Population, Provenance, Verdict, as_conversation
from palate.export import to_json
from palate.feedback import write_jsonl
from palate.feedback.world import World
from palate.gate import Gate
from palate.models.llm.session import language_models
from palate.persona.diff import persona_diff
from palate.persona.evidence import log_odds_of
from palate.persona.told import explanation, short
from palate.workshop import Workshop, fit_model, persona_versions, read_personas

FAKE = "fake:world?error=0.05"


def seen(renderable, width=100):
    """Return what a terminal shows."""
    console = Console(file=io.StringIO(), width=width, legacy_windows=False)
    console.print(renderable)
    return console.file.getvalue()


# ---- a fitted model --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """A model of a read method, fitted, saved and loaded; and the file of choices."""
    folder = tmp_path_factory.mktemp("shop")
    people = World.two_tastes(users=40).sample().population.head(12)
    write_jsonl(people, folder / "choices.jsonl")
    file = str(folder / "choices.jsonl")
    with language_models(folder=folder / "calls"):
        made = fit_model(
            file, "memory", "lexical", 0, {"calibrate": 20, "reason": False}, {}, True, {"lm": FAKE}
        )
        made.save(folder / "model")
        yield Workshop.load(folder / "model"), made, file, str(people.users[-1]), folder


def test_a_read_method_is_gated_by_its_own_baseline(shop):
    loaded, made, *_ = shop
    for each in (loaded, made):
        assert isinstance(each.method, Gate)
        assert each.method.control.name == "default"
        assert each.method.folds == each.method.method.gate_folds == 2
        assert each.method.control.lm_ == each.method.method.lm_ == FAKE
        assert not each.method.control.reason
        assert each.words.name == "style"
    assert loaded.method.fingerprint == made.method.fingerprint
    assert "memory+gate on" in made.summary


def test_explain_tells_statements_evidence_verdict_and_the_fake(shop):
    loaded, _, file, user, _ = shop
    told = loaded.explain(user, file)
    assert told.lm == FAKE
    assert told.control == "default"
    text = "\n".join(told)
    assert f"{user}: 12 choices" in text
    assert f"a fake language model wrote this ({FAKE})" in text
    assert "held-back choices" in text
    assert "(default)" in text
    assert told.kept
    assert any(one.supports for one in told.kept)
    ids = {str(name) for name in loaded.personas(file).source.ids}
    for one in (*told.kept, *told.dropped):
        assert {*one.claim.supports, *one.claim.contradicts} <= ids
        assert one.claim.low <= one.claim.strength <= one.claim.high
        if one.supports:
            assert f"for: {one.supports[0]}" in text
    for one in told.dropped:
        assert one.why
        assert one.claim.text not in (told.text or "").splitlines()
    assert all(one.claim.text in told.text.splitlines() for one in told.kept)
    assert "Found in the same choices by style" in text
    assert "Asked for this: " in text


def test_a_saved_persona_is_explained_without_a_call(shop):
    loaded, _, file, user, folder = shop
    adapted = folder / "personas.jsonl"
    adapted.write_text("\n".join(to_json(p) for p in loaded.personas(file)), encoding="utf-8")
    persona = loaded.persona_of(user, adapted, None)
    assert persona in read_personas(adapted)
    assert persona.verdict is not None
    told = loaded.explain(user, file, persona=persona)
    assert told.cost == ()
    fresh = loaded.explain(user, file)
    assert replace(fresh, cost=()) == told
    ranked = loaded.rank(persona, "Tips?", ["Sleep more.", "Sleep more, and keep to the same hours. " * 9])
    assert abs(sum(share for _, share in ranked) - 1) < 1e-9


def test_the_words_of_a_located_method_are_those_of_style(shop):
    *_, file, user, _ = shop
    made = fit_model(file, "individual", "lexical", 0, {}, {}, True)
    assert made.method.control.name == "pooled"
    assert made.method.folds == 10
    told = made.explain(user, file)
    assert told.source == ""
    assert told.kept == ()
    assert told.style
    assert told.cost == ()
    assert "Prefers" in "\n".join(told)


# ---- what is told ------------------------------------------------------------------------------------------


def row(number, short_one=True):
    texts = (f"Yes {number}.", f"Well, {number}: " + "so it is, and so it was, " * 5)
    return Feedback("ann", as_conversation(f"Q{number}?"), texts, 0 if short_one else 1, f"c{number}")


ROWS = [row(n, n < 8) for n in range(10)]
IDS = [r.id for r in ROWS]


def claim(text, good, bad, **more):
    return Claim(text, *log_odds_of(len(good), len(bad)), tuple(good), tuple(bad), **more)


ANN = Persona(
    "ann",
    "Prefers short answers.\nPrefers a warm tone.",
    claims=(
        claim("Prefers a warm tone.", IDS[:3], IDS[3:5]),
        claim("Prefers short answers.", IDS[:8], IDS[8:], lost=0.25),
        claim("Prefers long answers.", IDS[9:], IDS[:9], kept=False),
        claim("Owns a bicycle.", (), (), kept=False),
        claim("Likes jokes.", (), (), unread=7),
    ),
    provenance=Provenance("memory+gate", "ab12", tuple(IDS)),
    verdict=Verdict(10, 0.8, 0.5, 0.45, 0.69, 0.4),
)


def told(persona=ANN, **more):
    return explanation(persona, Population.of(ROWS), "memory+gate", **{"control": "default", **more})


def test_what_is_told_in_words():
    lines = list(told(lm="openai/gpt-4o-mini", judge_lm="fake:world"))
    assert lines[:2] == [
        "ann: 10 choices",
        "written by openai/gpt-4o-mini; judged by a fake language model, fake:world",
    ]
    at = lines.index("Prefers short answers.")
    assert lines[at + 1] == (
        "  +1.22 log-odds [-0.01, +3.08], 8 for, 2 against; 25 points of held-out accuracy lost without it"
    )
    assert lines[at + 2] == "  for: chose “Yes 0.” over “Well, 0: so it is, and so it was, s…”"
    assert lines[at + 4] == "  against: chose “Well, 8: so it is, and so it was, s…” over “Yes 8.”"
    assert lines.index("Prefers a warm tone.") > at  # the surest first
    assert lines[lines.index("Owns a bicycle.") + 1] == "  no choice supports it"
    assert "not tested: 7 of its answers could not be read" in lines[lines.index("Likes jokes.") + 1]
    at = lines.index("Prefers long answers.")
    assert lines.index("Dropped:") < at
    assert lines[at + 1].endswith("1 for, 9 against; more choices speak against it than for it")
    assert lines[-2:] == [
        "memory+gate: applied in part (weight 0.40): predicted 80% of 10 held-back choices, 50% without it "
        "(default)",
        "Answers are ranked by default, moved 40% of the way to what the persona says.",
    ]


@pytest.mark.parametrize(
    ("weight", "says"),
    [
        (0.9, "Answers are ranked by this persona."),
        (0.01, "The persona stands aside: answers are ranked by default alone."),
    ],
)
def test_what_is_applied(weight, says):
    verdict = replace(ANN.verdict, weight=weight)
    assert told(replace(ANN, verdict=verdict)).applied == says


def test_what_was_not_tested_says_so():
    plain = told(Persona("ann"), control="")
    assert plain.applied == ""
    assert list(plain)[-1] == "memory+gate: not tested: there is no choice to hold back"
    assert "No preference is evident." in list(plain)


def test_what_was_left_out_on_principle_says_so_itself():
    """A writer's filter lists what it removed as a claim without an interval: no evidence is told for it."""
    removed = Claim("Left out, because it names age.", 0.0, 0.0, 0.0, ("c1",), kept=False)
    (one,) = told(replace(ANN, claims=(removed,))).dropped
    assert list(one.lines()) == ["Left out, because it names age."]


@pytest.mark.parametrize(
    ("lost", "kept", "says"),
    [
        (None, True, ""),
        (0.25, True, "25 points of held-out accuracy lost without it"),
        (0.0, True, "no held-out accuracy lost without it"),
        (-0.25, True, "25 points of held-out accuracy won without it"),
        (-0.25, False, ""),
    ],
)
def test_what_is_lost_without_a_statement(lost, kept, says):
    persona = replace(ANN, claims=(claim("Likes tea.", IDS[:3], IDS[3:5], lost=lost, kept=kept),))
    seen_ = told(persona)
    (one,) = seen_.kept + seen_.dropped
    assert one.lost == says
    if not kept:
        assert one.why == "held-out choices are predicted better without it, by 25 points"


def test_choices_that_are_gone_are_not_quoted():
    persona = replace(ANN, claims=(claim("Likes tea.", ["gone", "c1"], []),))
    assert [str(q) for q in told(persona).kept[0].supports] == [
        "chose “Yes 1.” over “Well, 1: so it is, and so it was, s…”"
    ]


@pytest.mark.parametrize("width", [80, 100, 160])
def test_the_screen_fits_and_holds_all_that_is_said(width):
    screen = seen(explanation_view(told(lm=FAKE, cost=["Asked for this: 3 answers"])), width)
    assert max(map(len, screen.splitlines())) <= width
    words = " ".join(screen.split())
    for said in (
        "ann · memory+gate · 10 choices",
        "a fake language model wrote this",
        "Prefers short answers.",
        "25 points of held-out accuracy lost without it",
        "chose “Yes 0.” over “Well, 0: so it is, and so it was, s…”",
        "Dropped from the persona",
        "more choices speak against it than for it",
        "no choice supports it",
        "moved 40% of the way",
        "Asked for this: 3 answers",
    ):
        assert said in words
    assert "[bold" not in screen


def test_markup_in_a_persona_is_no_markup():
    tricky = replace(ANN, claims=(claim("Likes [red]lists[/red] and [/].", IDS[:3], []),))
    assert "Likes [red]lists[/red] and [/]." in seen(explanation_view(told(tricky)))
    after = replace(tricky, claims=())
    assert "[red]lists[/red]" in seen(diff_view(persona_diff(tricky, after)))


def test_a_quote_begins_where_the_answers_part():
    start = "Right, let's get stuck in, shall we? "
    row_ = Feedback("ann", as_conversation("Q?"), (start + "Go now.", start + "Gather notes."), 0, "c")
    seen_ = explanation(
        Persona("ann", claims=(claim("Likes haste.", ["c"], []),)), Population.of([row_]), "pi"
    )
    assert str(seen_.kept[0].supports[0]) == "chose “…Go now.” over “…Gather notes.”"


def test_many_examples_are_counted():
    lines = list(told(replace(ANN, examples=tuple(ROWS))))
    at = lines.index("Shown beside it:")
    assert len([line for line in lines[at:] if line.startswith("  chose")]) == 5
    assert lines[at + 5].startswith("  chose “Well, 9:")
    assert lines[at + 6] == "  and 5 more, earlier"


def test_short():
    assert short("a  b\nc") == "a b c"
    assert short("x" * 50) == "x" * 35 + "…"


# ---- two versions ------------------------------------------------------------------------------------------


def figures(good, bad):
    strength, low, high = log_odds_of(good, bad)
    return f"{strength:+.2f} [{low:+.2f}, {high:+.2f}]"


def test_equal_versions():
    assert persona_diff(ANN, ANN) == ["ann", "the two versions are equal"]
    assert persona_diff(Persona(), Persona()) == ["the average user", "the two versions are equal"]


def test_what_changed_between_two_versions():
    after = replace(
        ANN,
        claims=(
            claim("Prefers very short answers.", [*IDS[:8], "c10"], IDS[8:], lost=0.5),
            claim("Prefers a warm tone.", IDS[:1], IDS[1:9], kept=False),
            claim("Owns a bicycle.", (), (), kept=False),
            claim("Likes jokes.", (), (), unread=7),
            claim("Wants figures and sources for each assertion.", IDS[:4], IDS[4:5]),
        ),
        examples=(ROWS[0],),
        provenance=Provenance("memory+gate", "cd34", (*IDS, "c10")),
        verdict=replace(ANN.verdict, choices=11, weight=0.9),
    )
    assert persona_diff(ANN, after) == [
        "ann",
        "made by memory+gate (ab12), now by memory+gate (cd34)",
        "choices seen: 10, now 11 (1 new, 0 no longer)",
        "~ Prefers a warm tone.",
        "  dropped: more choices speak against it than for it",
        f"  strength {figures(3, 2)}, now {figures(1, 8)}",
        "  choices for: 3, now 1 (2 no longer)",
        "  choices against: 2, now 8 (6 new)",
        "~ Prefers short answers.",
        "  now: Prefers very short answers.",
        f"  strength {figures(8, 2)}, now {figures(9, 2)}",
        "  choices for: 8, now 9 (1 new)",
        "  accuracy lost without it: +25 points, now +50 points",
        f"+ Wants figures and sources for each assertion. ({figures(4, 1)}, 4 for, 1 against)",
        "- Prefers long answers.",
        "= 2 statements as they were",
        "examples shown: 0, now 1 (1 new, 0 no longer)",
        f"verdict before: {ANN.verdict}",
        f"verdict after:  {after.verdict}",
    ]  # fmt: skip


def test_personas_without_evidence_are_compared_by_their_sentences():
    before = Persona("ann", "Likes lists. Dislikes jargon.")
    after = Persona("ann", "- Dislikes jargon!\n- Likes long lists.")
    assert persona_diff(before, after) == [
        "ann",
        "~ Likes lists.",
        "  now: Likes long lists.",
        "= 1 statement as it was",
    ]


def test_figures_that_a_statement_tells_are_no_change_of_wording():
    before = claim(
        "Prefers lists: 3 of 4 choices, +0.92 log-odds [+0.1, +2.0] per doubling.", IDS[:3], IDS[3:4]
    )
    after = claim(
        "Prefers lists: 4 of 5 choices, +1.30 log-odds [+0.4, +2.2] per doubling.", IDS[:4], IDS[4:5]
    )
    lines = persona_diff(Persona("ann", claims=(before,)), Persona("ann", claims=(after,)))
    assert lines[1].startswith("~ Prefers lists: 4 of 5")
    assert not any("now: Prefers" in line for line in lines)


def test_versions_are_found_in_files_and_lines(tmp_path):
    bob, newer = Persona("bob", "Likes\u2028tea."), replace(ANN, text="Newer.")
    one, two = tmp_path / "one.jsonl", tmp_path / "two.jsonl"
    one.write_text("\n".join(map(to_json, (bob, ANN))) + "\n", encoding="utf-8")
    two.write_text(to_json(newer), encoding="utf-8")
    assert persona_versions(str(one), str(two), "ann") == (ANN, newer)
    assert persona_versions(to_json(ANN), str(two)) == (ANN, newer)
    one.write_text("\n".join(map(to_json, (bob, ANN, newer))), encoding="utf-8")
    assert persona_versions(str(one), user="ann") == (ANN, newer)


def test_versions_that_are_not_there(tmp_path):
    file = tmp_path / "one.jsonl"
    file.write_text("\n".join(map(to_json, (Persona("bob"), ANN))), encoding="utf-8")
    with pytest.raises(DataError, match="personas of 2 users; name one with --user, as bob"):
        persona_versions(str(file), str(file))
    with pytest.raises(DataError, match="has no persona of 'eve'"):
        persona_versions(str(file), str(file), "eve")
    with pytest.raises(DataError, match="holds one version"):
        persona_versions(str(file), user="bob")
    with pytest.raises(DataError, match="is no file of personas"):
        persona_versions(str(tmp_path / "nowhere.jsonl"), str(file), "bob")
    with pytest.raises(DataError, match="this is not"):
        persona_versions(json.dumps({"user": "ann", "mood": 1}), str(file), "ann")
