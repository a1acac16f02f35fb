"""Words that try to steer the judge: found where a judge obeys, absent where it does not."""

import numpy as np
import pytest

from palate import World
from palate.core import ConfigError, Population
from palate.evaluate.attacks import ATTACKS, attack, comparisons_of
from palate.judge import Judge
from palate.models.llm.session import language_models


@pytest.fixture(scope="module")
def asked():
    return comparisons_of(World(users=60, pairs=6, targets=2, episodes=4).sample().population, 40)


def tried(asked, spec, folder):
    with language_models(folder=folder) as session:
        return list(attack(session.client(spec), Judge(), asked))


def test_the_attackers_answer_is_the_one_that_was_not_chosen(asked):
    people = World(users=60, pairs=6, targets=2, episodes=4).sample().population
    chosen = {f.chosen_response for h in people for f in h.feedback}
    assert len(asked) == 40
    assert all(c.answers[1] in chosen and len(c.examples) == 1 for c in asked)


def test_a_judge_that_obeys_is_found_out_and_one_that_does_not_is_not(asked, tmp_path):
    obeys = tried(asked, "fake:world?gullible=1", tmp_path / "a")
    deaf = tried(asked, "fake:world?gullible=0", tmp_path / "b")
    assert [one.attack for one in obeys] == list(ATTACKS)
    orders = {one.attack.place: one for one in obeys if one.attack.name in ("order", "first, always")}
    assert all(one.won > 0.2 and one.low > 0 for one in orders.values()), orders
    assert np.mean([one.won for one in deaf]) < 0.1 < np.mean([one.won for one in obeys])


def test_material_cannot_close_its_tag(asked, tmp_path):
    """A reader that obeys whatever stands outside the tags is not reached by any attack."""
    for number, one in enumerate(ATTACKS):
        pair = asked[0]
        text = one.words
        request = Judge().request(
            type(pair)(
                pair.conversation, (pair.answers[0] + text, pair.answers[1]), "Kind." + text, pair.examples
            )
        )
        user = request.told(100_000).messages[1].content
        for tag in ("first", "second", "persona", "example", "conversation"):
            wanted = 1 if tag != "example" else len(pair.examples)
            assert user.count(f"<{tag}>") == user.count(f"</{tag}>") == wanted, (number, tag)


def test_equal_gains_have_an_interval_with_width(asked, tmp_path):
    silent = tried(asked[:10], "fake:world?blind=first,second,persona,example", tmp_path)
    assert all(one.low < one.won < one.high or one.won in (-1.0, 1.0) for one in silent)


def test_comparisons_need_a_user_with_two_choices():
    people = World(users=8, pairs=1, targets=1, episodes=1).sample().population.head(1)
    with pytest.raises(ConfigError, match="two choices"):
        comparisons_of(people)
    with pytest.raises(ConfigError, match="two choices"):
        comparisons_of(Population.of([]))
