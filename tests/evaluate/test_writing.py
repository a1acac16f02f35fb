"""What methods write is judged, counted and shown as it is: methods and judges whose truth is known."""

import json
from dataclasses import replace

import numpy as np
import pytest
from facet_sections import looks_whole, one_sentence, section
from writing_sections import BRIEF, TRUTH, Pen, folk, likes, settings, with_writing, wrote

from palate.core import ConfigError, MethodError, Persona, Personas, as_conversation
from palate.evaluate import compare_writing
from palate.evaluate.compare_writing import compare_on
from palate.evaluate.crossed import crossed
from palate.evaluate.facets import _writing_asked, _writing_figures, writing
from palate.evaluate.suite import embedded_suite
from palate.evaluate.versus import KnownJudge
from palate.evaluate.writing import Writing


@pytest.fixture(scope="module")
def task():
    return folk()


def measured(task, **methods):
    """The facet's one value as the report holds it."""
    outcomes = {name: wrote(task, method) for name, method in methods.items()}
    (value,) = writing.measure([section(task, outcomes)])
    return json.loads(json.dumps(value, allow_nan=False, default=lambda v: v.item()))


# ---- the whole way ------------------------------------------------------------------------------------


def test_a_method_that_writes_what_the_user_likes_wins_and_a_copy_of_the_base_wins_half(task):
    told = with_writing(task, settings())
    value = measured(told, liked=Pen(), copy=Pen(rule=lambda p, talk: "perhaps"))
    liked, copy = value["methods"]
    assert (liked["method"], copy["method"]) == ("liked", "copy")
    for figure in (liked["personalization"]["win_rate"], liked["personalization"]["without_ties"]):
        assert figure == {"value": 1.0, "low": 1.0, "high": 1.0, "users": 24}
    assert copy["personalization"]["win_rate"]["value"] == 0.5
    assert copy["personalization"]["without_ties"]["value"] is None
    assert copy["personalization"]["same"] == copy["personalization"]["ties"] == 96
    assert copy["delta_pq"]["value"] is None
    assert liked["quality"]["ties"] == 96  # as long as the base's
    assert value["judges"] == {"personalization": "truth", "quality": "brief"}
    assert value["left_out"] == 0


def test_the_wrong_persona_loses(task):
    told = with_writing(task, settings())
    other = Pen(rule=lambda p, talk: {"likes yes": "no", "likes no": "yes"}.get(p.text, "yes no"))
    (found,) = measured(told, other=other)["methods"]
    assert found["personalization"]["win_rate"]["value"] == 0.0
    assert found["quality"]["win_rate"]["value"] == 1.0  # one word against two
    assert found["delta_pq"]["value"] == 0.0


class Mute(Pen):
    """It keeps words and does not write."""

    name = "mute"
    generate_batch = None


class Control(Pen):
    name, personal = "control-pen", False


def test_off_without_settings_and_for_controls(task):
    fitted = Pen().fit(task.fit_on)
    assert writing.probe(fitted, fitted.adapt_batch(task.context), task) == {}
    told = with_writing(task, settings())
    assert writing.measure([section(told, {"control": wrote(told, Control())})]) == []


def test_a_method_that_keeps_words_is_written_for_by_a_model_where_one_is_named(task):
    mute = Mute().fit(task.fit_on)
    personas = mute.adapt_batch(task.context)
    assert _writing_asked.author(mute, personas, settings()) == ""
    assert _writing_asked.author(mute, personas, settings(lm="fake:world")) == "fake:world"
    assert _writing_asked.author(Pen(), personas, settings(lm="fake:world")) == "method"
    told = with_writing(task, settings(lm="fake:world", answers=6))
    value = measured(told, mute=Mute())
    (found,) = value["methods"]
    assert found["by"] == "fake:world"
    assert found["length"]["words"]["method"]["value"] > 3
    assert found["empty"] == {"method": 0, "base": 0}
    assert "mute by fake:world" in writing.draw(value)


def test_users_without_a_profile_are_left_out_and_counted():
    task = folk(users=24, without=9)
    told = with_writing(task, settings())
    value = measured(told, liked=Pen())
    assert value["left_out"] == 9
    assert value["methods"][0]["users"] == 15
    assert "9 users without a true profile are left out" in writing.tell(value)
    given = with_writing(task, settings(profiles={f"user-{u:04d}": likes(u) for u in range(24)}))
    assert measured(given, liked=Pen())["left_out"] == 0
    nobody = measured(with_writing(folk(users=24, without=24), settings()), liked=Pen())
    assert nobody["methods"] == []
    assert one_sentence(writing.tell(nobody))
    assert "none of 24 users" in writing.tell(nobody)
    assert writing.draw(nobody) == ""


def test_a_judge_that_knows_users_needs_no_profile():
    task = folk(users=24, without=24)
    by_name = KnownJudge(lambda who, talk, answer: float(likes(int(who[-4:])) in answer), by="user", name="n")
    told = with_writing(task, settings(judges={"personalization": by_name, "quality": BRIEF}))
    value = measured(told, liked=Pen())
    assert value["left_out"] == 0
    assert value["methods"][0]["personalization"]["win_rate"]["value"] == 1.0


def test_faults_are_counted_and_are_no_ties(task):
    half = KnownJudge(
        lambda who, talk, answer: float("nan") if who.endswith("no") else TRUTH.worth(who, talk, answer),
        name="half",
    )
    told = with_writing(task, settings(judges={"personalization": half, "quality": BRIEF}))
    (found,) = measured(told, liked=Pen())["methods"]
    p = found["personalization"]
    assert (p["faults"], p["answers"], p["ties"]) == (48, 48, 0)
    assert p["win_rate"]["users"] == 12
    assert p["win_rate"]["value"] == 1.0


def test_empty_answers_are_not_judged_and_are_counted(task):
    told = with_writing(task, settings())
    empty = Pen(rule=lambda p, talk: " " if p.text == "likes no" else "yes")
    (found,) = measured(told, empty=empty)["methods"]
    assert found["empty"] == {"method": 48, "base": 0}
    assert found["personalization"]["answers"] == 48
    assert found["personalization"]["faults"] == 0


def test_another_number_of_answers_is_refused(task):
    class Two(Pen):
        def generate_batch(self, personas, conversations, **how):
            return [["a", "b"] for _ in conversations]

    with pytest.raises(MethodError, match="one answer to each of 96 conversations"):
        wrote(with_writing(task, settings()), Two())


def test_no_more_than_the_cap_is_asked_one_a_user_a_turn(task):
    (found,) = measured(with_writing(task, settings(answers=24)), liked=Pen())["methods"]
    assert (found["answers"], found["users"]) == (24, 24)


# ---- beside it ----------------------------------------------------------------------------------------


def test_reward_accuracy_is_the_margin_over_the_base(task):
    """Without a persona yes leads by 0.3; one of weight 0.2 widens each user's margin, if not its sign."""
    told = with_writing(task, settings())
    (small,) = measured(told, small=Pen(scale=0.2))["methods"]
    assert small["reward_accuracy"]["value"] == 1.0
    assert small["reward_pairs"] == len(task.targets)
    (none,) = measured(told, none=Pen(scale=0.0))["methods"]
    assert none["reward_accuracy"]["value"] == 0.5
    (wrong,) = measured(told, wrong=Pen(scale=-0.2))["methods"]
    assert wrong["reward_accuracy"]["value"] == 0.0

    class Ratio(Pen):
        scores_over_base = True

    (ratio,) = measured(told, ratio=Ratio(scale=0.2))["methods"]
    assert ratio["reward_accuracy"]["value"] == 0.5  # those who like yes; of no the margin is -0.1


def test_added_is_tokens_where_counted_else_words(task):
    told = with_writing(task, settings())
    (words,) = measured(told, words=Pen())["methods"]
    assert (words["added"]["value"], words["added_unit"]) == (2.0, "words")

    class Counts(Pen):
        def added_tokens(self, personas, conversations):
            return [7 if p.text else 0 for p in personas]

    (tokens,) = measured(told, tokens=Counts())["methods"]
    assert (tokens["added"]["value"], tokens["added_unit"]) == (7.0, "tokens")


def test_the_untuned_model_may_stand_as_base(task):
    class Tuned(Pen):
        def base_batch(self, conversations, **how):
            return [["yes"] for _ in conversations]

    told = with_writing(task, settings(base="model"))
    value = measured(told, tuned=Tuned())
    assert value["methods"][0]["personalization"]["win_rate"]["value"] == 0.75  # yes ties, no wins
    assert "the untuned model's" in writing.tell(value)
    assert measured(told, pen=Pen())["methods"][0]["personalization"]["win_rate"]["value"] == 1.0


def test_tax_and_flattery_are_those_of_the_facet_tax(task):
    from palate.evaluate.facets import tax

    told = replace(with_writing(task, settings()), suite=embedded_suite())
    fitted = Pen().fit(told.fit_on)
    asked = tax.probe(fitted, fitted.adapt_batch(told.context), told)
    made = wrote(told, Pen())
    made.extra.update({f"tax.{key}": value for key, value in asked.items()})
    sections = [section(told, {"pen": made})]
    (found,) = writing.measure(sections)[0]["methods"]
    (taxed,) = tax.measure(sections)[0]["methods"]
    assert found["tax"] == taxed["tax"]
    assert found["agrees"] == taxed["flatters"]
    assert measured(with_writing(task, settings()), pen=Pen())["methods"][0]["tax"] is None


def test_a_second_set_of_templates_is_run_with_the_same_personas(task):
    told = with_writing(task, settings(templates="second"))
    (found,) = measured(told, pen=Pen())["methods"]
    second = found["second"]
    assert found["personalization"]["win_rate"]["value"] == 1.0
    assert second["personalization"]["win_rate"]["value"] == 1.0
    assert second["change"]["value"] == 0.0
    assert second["length"]["words"]["method"]["value"] == 2.0  # "yes indeed"
    assert second["quality"]["win_rate"]["value"] == 0.5  # its base is written with them too
    assert measured(told, pen=Pen(templates="second"))["methods"][0]["second"] is None


# ---- against a control, on chosen and rejected personas ------------------------------------------------


def test_swapped_choices_give_the_other_persona(task):
    turned = _writing_asked.swapped(task.context)
    assert (turned.chosen == 1 - task.context.chosen).all()
    assert turned.offsets.tolist() == task.context.offsets.tolist()
    fitted = Pen().fit(task.fit_on)
    assert [p.text for p in fitted.adapt_batch(turned)][:2] == ["likes no", "likes yes"]


def majority(persona, talk):
    """Writes what most people like, whoever asks."""
    return "yes"


def test_a_control_that_ignores_minorities_loses_more_on_rejected_personas(monkeypatch):
    """Everybody chooses yes, so that no is the rejected persona, and the control writes yes."""
    task = folk(users=24, choose=lambda u, i: 0)
    told = with_writing(task, settings(control="dpo"))
    monkeypatch.setattr(writing, "build", lambda name, fields, **shared: Pen(rule=majority, **shared))
    (found,) = measured(told, pt=Pen())["methods"]
    chosen, rejected = found["sides"]["chosen"], found["sides"]["rejected"]
    assert chosen["personalization"]["win_rate"]["value"] == 0.5  # both write yes
    assert rejected["personalization"]["without_ties"]["value"] == 1.0
    assert found["sides"]["left_out"] == 0
    assert rejected["answers"] == 96
    (itself,) = measured(told, dpo=Pen(rule=majority))["methods"]
    assert itself["sides"] is None


def test_compare_on_takes_any_personas_and_profiles(task):
    pen, control = Pen().fit(task.fit_on), Pen(rule=majority).fit(task.fit_on)
    personas = [Persona(user=f"u{n}", text=f"likes {likes(n)}") for n in range(8)]
    talks = [as_conversation(f"question {n}") for n in range(8)]
    found = compare_on(pen, control, personas, talks, settings())
    assert found["personalization"]["wins"] == 4
    assert found["personalization"]["ties"] == 4
    assert found["users"] == 8
    turned = compare_on(pen, control, personas, talks, settings(), profiles=["yes"] * 8)
    assert (turned["personalization"]["losses"], turned["personalization"]["ties"]) == (4, 4)
    with pytest.raises(ConfigError, match="8 personas, 7 conversations"):
        compare_on(pen, control, personas, talks[:7], settings())


def test_personas_without_words_on_a_side_are_left_out(task):
    class Shy(Pen):
        def adapt_batch(self, histories):
            found = super().adapt_batch(histories)
            return replace(found, texts=[None if t == "likes no" else t for t in found.texts])

    shy = Shy().fit(task.fit_on)
    pairs = task.targets.take(np.arange(12))
    found = compare_writing.chosen_and_rejected(shy, shy, task.context, pairs, settings())
    assert int(found["left_out"]) == 12
    assert "chosen.user" not in found


# ---- one model's personas, used by another ------------------------------------------------------------


def test_crossed_gives_accuracy_wins_and_what_is_kept(task):
    readers = {"a": Pen().fit(task.fit_on), "b": Pen(scale=0.2, rule=majority).fit(task.fit_on)}
    written = {"a": readers["a"].adapt_batch(task.context), "none": Personas.average(task.context.n_users)}
    profiles = {f"user-{u:04d}": likes(u) for u in range(24)}
    found = crossed(written, readers, task.context, task.targets, settings(profiles=profiles))
    assert [f["value"] for f in found["default"]] == [0.5, 0.5]
    assert [f["value"] for f in found["accuracy"][0]] == [1.0, 0.5]  # 0.2 does not turn a lead of 0.3
    assert [f["value"] for f in found["gain"][0]] == [0.5, 0.0]
    assert [f["value"] for f in found["kept"][0]] == [1.0, 0.0]
    assert found["kept"][1] == [None, None]
    assert found["wins"][0][0]["personalization"]["win_rate"]["value"] == 1.0
    assert found["wins"][0][1]["personalization"]["win_rate"]["value"] == 0.5
    plain = crossed(written, readers, task.context, task.targets)
    assert plain["wins"] == [[None, None], [None, None]]


# ---- figures by hand ----------------------------------------------------------------------------------


def test_delta_pq_by_hand():
    """Seven wins and three losses, then four and six: (0.4 - 0.2) / 2; ties do not count."""
    personal = np.array([1.0] * 7 + [0.0] * 3 + [0.5] * 5)
    quality = np.array([1.0] * 4 + [0.0] * 6 + [0.5] * 5)
    user = np.arange(15) // 3
    found = _writing_figures.delta_pq(user, personal, quality)
    assert found["value"] == pytest.approx(((0.7 - 0.5) / 0.5 + (0.4 - 0.5) / 0.5) / 2)
    assert found["low"] < found["value"] < found["high"]
    assert found["users"] == 5
    personal[0] = np.nan  # a fault in one aspect leaves the answer out of both
    one = _writing_figures.delta_pq(user, personal, quality)
    assert one["value"] == pytest.approx(((6 / 9 - 0.5) / 0.5 + (3 / 9 - 0.5) / 0.5) / 2, abs=1e-6)


def test_win_rates_by_hand_and_one_user_has_no_interval():
    user = np.array([0, 0, 0, 1])
    share = np.array([1.0, 0.5, 0.0, 1.0])
    no = np.zeros(4, bool)
    found = _writing_figures.aspect(user, share, no, no)
    assert found["win_rate"]["value"] == 0.75  # the mean of 0.5 and 1
    assert found["without_ties"]["value"] == pytest.approx(2 / 3, abs=1e-6)
    assert (found["wins"], found["losses"], found["ties"], found["faults"]) == (2, 1, 1, 0)
    alone = _writing_figures.aspect(user[:3], share[:3], no[:3], no[:3])
    assert alone["win_rate"]["low"] is None
    assert alone["without_ties"]["low"] is None


def test_the_interval_resamples_users_and_not_answers():
    """Two hundred answers of eight users who agree with themselves are as wide as eight draws."""
    user = np.repeat(np.arange(8), 25)
    share = np.repeat([1.0, 0.0] * 4, 25)
    no = np.zeros(200, bool)
    found = _writing_figures.aspect(user, share, no, no)["without_ties"]
    assert found["high"] - found["low"] > 0.5
    alone = _writing_figures.aspect(np.arange(200), share, no, no)["without_ties"]
    assert alone["high"] - alone["low"] < 0.16


def test_length_control_by_hand():
    rng = np.random.default_rng(3)
    words = np.column_stack([rng.integers(1, 40, 60), rng.integers(1, 40, 60), np.full((60, 2), 5)])
    words = words.astype(np.float64)
    share = rng.choice([0.0, 0.5, 1.0], 60)
    user = np.arange(60) // 4
    found = _writing_figures.length_control(user, share, words)
    ratio = (1 + words[:, 0]) / (1 + words[:, 1])
    want = np.corrcoef(np.log(ratio), share)[0, 1]
    assert found["correlation"]["value"] == pytest.approx(want, abs=1e-6)
    assert found["correlation"]["low"] < want < found["correlation"]["high"]
    for one, inside in zip(
        found["bins"], (ratio < 0.8, (ratio >= 0.8) & (ratio <= 1.25), ratio > 1.25), strict=True
    ):
        assert one["answers"] == inside.sum() > 0
        assert one["win_rate"]["value"] == pytest.approx(share[inside].mean(), abs=1e-6)
    assert found["words"]["chosen"]["value"] == 5.0
    assert found["longer"]["value"] == pytest.approx(np.mean(words[:, 0] - words[:, 1]), abs=1e-6)
    flat = _writing_figures.length_control(user, np.full(60, 0.5), words)
    assert flat["correlation"]["value"] is None  # nothing to correlate


# ---- settings, telling, drawing -----------------------------------------------------------------------


def test_settings_that_cannot_work_are_told():
    with pytest.raises(ConfigError, match="nobody judges"):
        Writing()
    with pytest.raises(ConfigError, match=r"\['taste'\]"):
        Writing(judge="fake:world", judges={"taste": TRUTH})
    with pytest.raises(ConfigError, match="format is 'html'"):
        Writing(judge="fake:world", format="html")
    with pytest.raises(ConfigError, match="base is 'gold'"):
        Writing(judge="fake:world", base="gold")
    with pytest.raises(ConfigError, match="answers=0"):
        Writing(judge="fake:world", answers=0)
    with pytest.raises(ConfigError, match=r"\['model'\] is no setting"):
        Writing.of({"judge": "fake:world", "model": "x"})


def test_the_key_holds_all_that_figures_depend_on():
    one = Writing(judge="fake:world")
    assert one.key == Writing(judge="fake:world").key
    changes = ({"judge": "x/y"}, {"answers": 3}, {"profiles": {"a": "b"}}, {"format": "prometheus"})
    changes += ({"seed": 1}, {"judges": {"quality": BRIEF}})
    others = [replace(one, **change) for change in changes]
    assert len({each.key for each in (one, *others)}) == 7


def test_it_is_told_and_drawn(task, monkeypatch):
    monkeypatch.setattr(writing, "build", lambda name, fields, **shared: Pen(rule=majority, **shared))
    told = replace(with_writing(task, settings(templates="second", control="dpo")), suite=embedded_suite())
    value = measured(told, **{"liked <b>": Pen(), "copy": Pen(rule=lambda p, talk: "perhaps")})
    sentence = writing.tell(value)
    assert one_sentence(sentence)
    assert "answers of 1 of 2 methods are shown to suit their user better" in sentence
    html = writing.draw(value)
    assert looks_whole(html)
    assert "<b>" not in html
    for words in (
        "Delta-PQ",
        "With the templates second",
        "Against dpo",
        "personas of rejected answers",
        "truth",
    ):
        assert words in html
    assert html.count("<table") == 4
