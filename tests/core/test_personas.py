import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from palate.core import (
    Claim,
    DataError,
    Feedback,
    History,
    Persona,
    Personas,
    Population,
    Provenance,
    Queries,
    Query,
    Verdict,
    Verdicts,
    as_conversation,
)

finite = st.floats(allow_nan=False, allow_infinity=False)
words = st.text(max_size=20)
claims = st.builds(
    Claim, words, finite, finite, finite, st.lists(words).map(tuple), st.lists(words).map(tuple)
)
shown = st.builds(
    Feedback,
    user=words,
    conversation=st.lists(words, min_size=1, max_size=3).map(
        lambda t: as_conversation([("user", x) for x in t])
    ),
    responses=st.tuples(words, words),
    chosen=st.sampled_from([None, 0, 1]),
    id=words,
    time=st.none() | finite,
    reason=st.none() | words,
)
personas = st.builds(
    Persona,
    user=st.none() | words,
    text=st.none() | words,
    examples=st.lists(shown, max_size=2).map(tuple),
    vector=st.none() | st.lists(finite, max_size=4).map(tuple),
    adapter=st.none() | words,
    claims=st.lists(claims, max_size=2).map(tuple),
    provenance=st.none()
    | st.builds(Provenance, words, words, st.lists(words).map(tuple), st.none() | finite),
    verdict=st.none() | st.builds(Verdict, st.integers(0, 99), finite, finite, finite, finite, finite),
)


@settings(max_examples=80, deadline=None)
@given(personas)
def test_a_persona_survives_json_exactly(persona):
    assert Persona.from_json(json.loads(json.dumps(persona.to_json()))) == persona


@pytest.mark.parametrize(
    "broken",
    [
        {"vector": ["x"]},
        {"nonsense": 1},
        {"verdict": {"weight": 1}},
        {"claims": [{"text": "t"}]},
        {"examples": [3]},
    ],
)
def test_what_is_not_a_persona_is_refused(broken):
    with pytest.raises(DataError, match="this is not a persona as Palate writes it"):
        Persona.from_json(broken)


def test_personas_as_columns_are_views_and_slices():
    made = [Persona("ann", vector=(1.0, 2.0)), Persona(), Persona("bob", text="likes prose")]
    table = Personas.of(made)
    assert list(table) == made
    assert table[-1] == made[2]
    assert table[:2] == made[:2]
    assert table.known.tolist() == [True, False, True]
    with pytest.raises(IndexError):
        table[3]


def test_personas_that_cannot_share_a_table_are_refused():
    of = [Persona("a", vector=(1.0,), provenance=Provenance("m", model)) for model in ("x", "y")]
    with pytest.raises(DataError, match="personas of different models"):
        Personas.of(of)
    with pytest.raises(DataError, match=r"vectors of different lengths \[1, 2\]"):
        Personas.of([Persona("a", vector=(1.0,)), Persona("b", vector=(1.0, 2.0))])


def test_provenance_names_the_choices_and_the_last_time():
    rows = [Feedback("ann", as_conversation("Q"), ("a", "b"), 0, f"c{n}", 10.0 + n) for n in range(3)]
    source = Population.of([History("ann", tuple(rows)), History("new")])
    table = Personas("m", "f", source.users, np.zeros((2, 1)), np.ones(2, bool), source)
    assert table[0].provenance == Provenance("m", "f", ("c0", "c1", "c2"), 12.0)
    assert table[1].provenance == Provenance("m", "f", (), None)


def test_verdicts_are_of_those_who_were_tested():
    columns = [np.array([v, v]) for v in (0.75, 0.5, 0.4, 0.7, 0.9)]
    verdicts = Verdicts(np.array([4, 0]), *columns)
    source = Population.of([History("ann"), History("new")])
    table = Personas("m", "f", source.users, None, np.ones(2, bool), source).with_verdicts(verdicts)
    assert table[0].verdict == Verdict(4, 0.75, 0.5, 0.4, 0.7, 0.9)
    assert table[1].verdict is None


@pytest.mark.parametrize(
    ("weight", "word"), [(0.9, "applied (weight"), (0.5, "applied in part"), (0.01, "set aside")]
)
def test_a_verdict_in_words(weight, word):
    assert str(Verdict(8, 0.75, 0.5, 0.4, 0.7, weight)).startswith(word)


def test_queries_keep_their_order_and_refuse_one_response():
    asked = [Query(Persona(), f"Q{n}", tuple("abcd"[: 2 + n % 3])) for n in range(14)]
    queries = Queries.of(asked)
    assert np.diff(queries.offsets).tolist() == [2 + n % 3 for n in range(14)]
    texts = [queries.corpus.response(item) for item in queries.options]
    assert texts == [text for query in asked for text in query.responses]
    prompts = [
        queries.corpus.conversation(queries.options[start])[0].content for start in queries.offsets[:-1]
    ]
    assert prompts == [query.conversation for query in asked]
    with pytest.raises(DataError, match=r"query 1 has 1 response\(s\); ranking needs two"):
        Queries.of([asked[0], Query(Persona(), "Q", ("a",))])
    assert len(Queries.of([])) == 0


def test_centred_scores_have_mean_zero_in_each_query():
    queries = Queries.of([Query(Persona(), "Q", ("a", "b", "c")), Query(Persona(), "Q", ("a", "b"))])
    scores = np.array([1.0, 2.0, 6.0, -1.0, 5.0])
    np.testing.assert_allclose(queries.centred(scores), [-2.0, -1.0, 3.0, -3.0, 3.0])
