"""Protected attributes of the user are found and left out; the same words elsewhere are not."""

import json
from pathlib import Path

import pytest

from palate.core import Claim
from palate.persona.protected import KINDS, clean, find, is_told, left_out, told

LISTS = json.loads((Path(__file__).parent / "protected_statements.json").read_text(encoding="utf-8"))


def measured(name):
    """Return (named and found, named, innocent and found, innocent, kinds found, kinds named)."""
    rows = [(set(row["kinds"]), {finding.kind for finding in find(row["text"])}) for row in LISTS[name]]
    named = [(kinds, found) for kinds, found in rows if kinds]
    innocent = [found for kinds, found in rows if not kinds]
    return (
        sum(bool(found) for _, found in named),
        len(named),
        sum(map(bool, innocent)),
        len(innocent),
        sum(len(kinds & found) for kinds, found in named),
        sum(len(kinds) for kinds, _ in named),
    )


@pytest.mark.parametrize(
    ("name", "figures"),
    [
        ("seen", (237, 238, 0, 285, 242, 248)),  # these the lists were mended by
        ("unseen", (36, 40, 0, 40, 35, 40)),  # written when the lists were done; what they miss stays missed
    ],
)
def test_precision_and_recall_are_what_the_docs_say(name, figures):
    assert measured(name) == figures
    page = (Path(__file__).parents[2] / "docs" / "methods" / "pi.md").read_text(encoding="utf-8")
    found, named, wrong, innocent, *_ = figures
    assert f"| {found} of {named} | {wrong} of {innocent} |" in page


def test_every_kind_is_found_at_least_once():
    found = {finding.kind for rows in LISTS.values() for row in rows for finding in find(row["text"])}
    assert found == set(KINDS) - {"politics"}


def test_politics_is_found_where_it_is_asked_for():
    leanings = ["The user is a conservative and prefers caution.", "The user is left-wing and prefers zeal."]
    innocent = ["The user is conservative with money.", "Prefers liberal amounts of butter."]
    assert [find(text) for text in leanings] == [(), ()]
    assert [find(text, politics=True)[0].kind for text in leanings] == ["politics"] * 2
    assert [find(text, politics=True) for text in innocent] == [(), ()]


def test_a_finding_says_which_words_of_which_sentence():
    (one,) = find("Prefers lists. The user is a devout Hindu and prefers calm.")
    assert (one.kind, one.sentence) == ("religion", "The user is a devout Hindu and prefers calm.")
    assert "Hindu" in one.words or "devout" in one.words


def test_sentences_go_and_lines_stay():
    text = "Prefers lists. The user has asthma.\nThe user is 34 years old.\nPrefers wit."
    cleaned = clean(text)
    assert cleaned.text == "Prefers lists.\nPrefers wit."
    assert cleaned.counts == {"health": 1, "age": 1}
    assert clean(cleaned.text) == (cleaned.text, ())


def test_a_taste_that_names_nothing_is_kept():
    assert (
        clean("The user is a Muslim woman and prefers short answers.").text
        == "The user prefers short answers."
    )
    assert clean("The user is pregnant and prefers tips for her pregnancy.").text == ""
    assert clean("The user is a widow.").text == ""


def test_innocent_texts_come_back_as_they_were():
    texts = [row["text"] for rows in LISTS.values() for row in rows if not row["kinds"]]
    assert [clean(text).text for text in texts] == texts


def test_what_was_left_out_is_counted_in_claims_without_being_said():
    removed = clean("The user is Sikh. The user is 34.\nThe user is a Jew.").removed
    claims = (
        Claim("Prefers wit.", 1.0, 0.5, 1.5),
        Claim("Likes jokes.", -1.0, -2, 0, kept=False),
        *told(removed, ("c1",)),
    )
    assert left_out(claims) == {"religion": 2, "age": 1}
    assert [is_told(claim) for claim in claims] == [False, False, True, True, True]
    assert all(not claim.kept and claim.supports == ("c1",) for claim in claims[2:])
    assert not any(word in claim.text for claim in claims for word in ("Sikh", "34", "Jew"))
    assert not any(find(claim.text) for claim in claims)


@pytest.mark.parametrize("text", ["", "\n\n", "🦜", "the user is " * 2000, "a " * 5000 + "user", "\x00"])
def test_odd_texts_are_taken(text):
    assert find(text) == ()
