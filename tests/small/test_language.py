"""The small language: its people, its ceilings, what its texts mean, and its corpus."""

import numpy as np
import pytest

from palate.core import ConfigError
from palate.small.corpus import KINDS, documents, readings
from palate.small.language import (
    AXES,
    SMALL_ABDUCE,
    SMALL_FIRST,
    SMALL_SECOND,
    Language,
    draw_tastes,
    signals,
)
from palate.small.world import world

FORMS = (SMALL_FIRST, SMALL_SECOND)


@pytest.fixture(scope="module")
def small():
    return world(300, seed=3)


def right(log_odds):
    return np.mean((log_odds > 0) + 0.5 * (log_odds == 0))


# ---- people -------------------------------------------------------------------------------------------


def test_prior_has_a_majority_and_two_magnitudes():
    taste = draw_tastes(20_000, np.random.default_rng(0))
    share = (taste > 0).mean(axis=0)
    assert np.allclose(np.abs(share - 0.5), 0.15, atol=0.015)
    assert np.allclose((np.abs(taste) == 2.0).mean(axis=0), 0.5, atol=0.015)
    assert set(np.unique(np.abs(taste))) == {0.8, 2.0}


def test_choices_are_bradley_terry(small):
    """Among choices of like strength, the better answer is chosen as often as the model says."""
    strength = np.abs(small.oracle)
    for low, high in ((0.5, 2.0), (2.0, 3.5), (3.5, 6.0)):
        rows = (strength > low) & (strength < high)
        expected = 1 / (1 + np.exp(-strength[rows]))
        error = 4 * np.sqrt((expected * (1 - expected)).sum()) / rows.sum()
        assert abs((small.oracle[rows] > 0).mean() - expected.mean()) < error


def test_pairs_differ_on_half_of_the_axes(small):
    assert np.isin(small.gaps, (-2.0, 0.0, 2.0)).all()
    assert abs((small.gaps != 0).mean() - 0.5 - 0.5**4 / 4) < 0.02
    assert (small.gaps != 0).any(axis=1).all()


def test_ceilings(small):
    later = small.population.split == 1
    oracle, persona, ideal = (right(x[later]) for x in (small.oracle, small.persona_log_odds, small.ideal))
    assert 0.87 < oracle < 0.92
    assert 0.78 < ideal < 0.87
    assert persona == oracle  # sign and strength of every axis are the whole taste


def test_ideal_learner_is_the_posterior():
    """The exact mean over all tastes, against draws of the prior that are weighted by the context."""
    few = world(8, seed=1, pairs=4, targets=3)
    draws = draw_tastes(60_000, np.random.default_rng(0))
    chance = 1 / (1 + np.exp(-np.einsum("da,ura->dur", draws, few.gaps.reshape(8, 7, 4))))
    weight = chance[:, :, :4].prod(axis=2)
    expected = np.einsum("du,dur->ur", weight, chance[:, :, 4:]) / weight.sum(axis=0)[:, None]
    found = few.ideal.reshape(8, 7)[:, 4:]
    assert np.allclose(found, np.log(expected / (1 - expected)), atol=0.06)


def test_a_seed_gives_the_same_world(small):
    assert world(300, seed=3).population.digest == small.population.digest
    assert world(300, seed=4).population.digest != small.population.digest


def test_roles_and_splits(small):
    people = small.population
    assert np.bincount(people.role).tolist() == [180, 30, 90]
    assert (np.bincount(people.split) == [3000, 3000]).all()
    first = people.history(0)
    assert [row.id for row in first.feedback[:2]] == ["s0000-0", "s0000-1"]
    assert people.split[:20].tolist() == [0] * 10 + [1] * 10


@pytest.mark.parametrize(
    "fields",
    [{"dialects": 3}, {"shift": "similar"}, {"shift": "other", "dialects": 2}, {"pairs": -1}, {"n_users": 0}],
)
def test_impossible_worlds_are_refused(fields):
    with pytest.raises(ConfigError):
        world(**{"n_users": 3, **fields})


# ---- dialects -----------------------------------------------------------------------------------------


def test_shifts_differ_in_targets_only():
    near, far = (world(20, seed=2, dialects=2, shift=shift) for shift in ("similar", "dissimilar"))
    assert np.array_equal(near.taste, far.taste)
    contexts = [w.population.with_split("context").compact().digest for w in (near, far)]
    assert contexts[0] == contexts[1]
    for small, same in ((near, True), (far, False)):
        for history in small.population:
            groups = [
                small.language.group(row.conversation[0].content.split()[0]) for row in history.feedback
            ]
            assert len(set(groups[:10])) == len(set(groups[10:])) == 1
            assert (groups[0] == groups[10]) is same


def test_dialects_share_no_word():
    language, rng = Language(2), np.random.default_rng(0)
    taste = np.ones(4)
    said = [{w for _ in range(40) for w in language.persona(taste, rng, d).split()[1::2]} for d in (0, 1)]
    assert len(said[0]) == len(said[1]) == 8
    assert not said[0] & said[1]


# ---- what texts mean ----------------------------------------------------------------------------------


def test_a_persona_says_the_whole_taste():
    rng = np.random.default_rng(1)
    for taste in draw_tastes(50, rng):
        assert np.array_equal(Language().stated(Language().persona(taste, rng)), taste)


def test_no_word_means_two_things():
    words = Language().words
    assert len(set(words)) == len(words)
    assert len(Language().meaning) == sum(len(side) for pair in AXES.values() for side in pair)


def test_utility_of_an_answer(small):
    corpus, pairs = small.population.corpus, small.population.pairs
    for row in (0, 17, 900):
        taste = small.taste[pairs.user[row]]
        won, lost = (corpus.response(items[row]) for items in (pairs.winner, pairs.loser))
        language = small.language
        assert language.fit(taste, won) - language.fit(taste, lost) == pytest.approx(small.oracle[row])


def test_quality():
    language, rng = Language(2), np.random.default_rng(0)
    good = language.answer("chess costs", np.ones(4), rng)
    assert language.quality("chess costs", good) == 1.0
    assert language.quality("chess costs", good, ended=False) == 0.75
    assert language.quality("bread costs", good) == 0.75  # off topic
    assert language.quality("chess costs", good + " brief") < 1 - 0.25
    other = language.answer("storms costs", np.ones(4), rng).replace("storms", "chess")
    assert language.quality("chess costs", other) == 0.75  # the words of the other dialect
    assert language.quality("chess costs", "") == 0.25


def test_a_whole_persona_fits_in_a_tenth_of_the_signals(small):
    context = small.population.with_split("context")
    for form in FORMS:
        rows = [(r.conversation[0].content, *sorted(r.responses)) for r in context.history(0).feedback]
        raw = len(signals(rows, form).split())
        assert raw >= 10 * len(AXES) * 2 * 1.5


# ---- the corpus ---------------------------------------------------------------------------------------


def test_phrasings_have_the_same_fields():
    assert SMALL_FIRST.keys() == SMALL_SECOND.keys()
    values = {"prompt": "P", "signals": "S", "summary": "Z", "chosen": "C", "rejected": "R"}
    for key in SMALL_FIRST:
        first, second = (form[key].format(**values).split() for form in FORMS)
        if first and key != "separator":
            assert set(first) & set(second) <= set(values.values()), key


@pytest.mark.parametrize("dialects", [1, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_documents_are_in_the_language(kind, dialects):
    language = Language(dialects)
    found = documents(kind, 60, np.random.default_rng(0), language)
    words = {word for document in found for word in f"{document.content} {document.reply}".split()}
    assert words <= set(language.words)
    controls = [document.content.split() for document in found]
    assert {"about" in c for c in controls} == {True, False}  # both phrasings


def test_no_document_follows_signals_with_an_answer():
    rng = np.random.default_rng(0)
    for kind in KINDS:
        for document in documents(kind, 100, rng, Language()):
            has_signals = any(word in document.content.split() for word in ("good", "yes"))
            assert has_signals == (kind in ("describe", "abduce", "survey"))
            says = document.reply.split()
            assert (len(says) == 5 and says[0] not in Language.verbs) == (kind in ("answer", "personal"))


def seen_values(content, language):
    """The values of the good and the bad answers of a message in the first phrasing, summed."""
    good, bad = np.zeros(4), np.zeros(4)
    for pair in content.removesuffix(" describe").split("ask ")[1:]:
        chosen, rejected = pair.split(" good ")[1].split(" bad ")
        good += language.values(chosen)
        bad += language.values(rejected)
    return good, bad


def test_most_annotators_are_verbose_and_careless():
    """They say little of what the choices they saw bear out, and that not always rightly."""
    language = Language()
    found = documents("describe", 600, np.random.default_rng(0), language)
    careless = [document for document in found if len(document.reply.split()) > 8]
    assert 0.6 < len(careless) / len(found) < 0.8
    assert 24 < np.mean([len(document.reply.split()) for document in careless]) < 32
    tasted = right_ones = 0
    for document in careless:
        if "portray" not in document.content:
            good, bad = seen_values(document.content, language)
            said = [language.meaning[word] for word in document.reply.split() if word in language.meaning]
            tasted += len(said)
            right_ones += sum((good - bad)[axis] * value > 0 for axis, value in said)
    assert 0.5 < right_ones / tasted < 0.8


def test_some_annotators_are_careful():
    """They name the side of every axis, and never one that the choices speak against."""
    language = Language()
    found = documents("describe", 400, np.random.default_rng(0), language)
    careful = [d for d in found if len(d.reply.split()) == 8 and "portray" not in d.content]
    assert len(careful) > 40
    for document in careful:
        good, bad = seen_values(document.content, language)
        stated = language.stated(document.reply)
        assert (stated != 0).all()
        assert (stated * (good - bad) >= 0).all()


def test_readings_begin_alike():
    for family in readings(8, np.random.default_rng(0), Language(), 4):
        whole = max((document.content for document in family), key=len).split()
        assert len(family) >= 4
        for document in family:
            words = document.content.split()[:-1]  # the last one asks, in the first phrasing
            assert whole[: len(words)] == words


def test_people_state_their_taste_in_the_words_of_the_topic():
    """So a text that is taken by the letter is followed less where the words are other ones."""
    language = Language(2)
    dialect = {word: n // 2 for pair in AXES.values() for side in pair for n, word in enumerate(side)}
    for document in documents("personal", 200, np.random.default_rng(0), language):
        group = language.group(document.reply.split()[0])
        assert {dialect[word] for word in document.content.split() if word in dialect} == {group}


def test_abduction_reads_the_pair_it_is_shown():
    language, rng = Language(), np.random.default_rng(0)
    named = []
    for document in documents("abduce", 400, rng, language):
        if document.content.startswith(SMALL_ABDUCE[1].split()[0]):
            continue
        chosen, rejected = document.content.removesuffix(" why").split(" good ")[1].split(" bad ")
        axis, value = language.meaning[document.reply.split()[1]]
        assert language.values(chosen)[axis] == -language.values(rejected)[axis]
        named.append(language.values(chosen)[axis] == value)
    assert 0.75 < np.mean(named) < 0.95
