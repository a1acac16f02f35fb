from collections import Counter

import numpy as np

from palate.feedback.world_answers import ANSWERS, AXES, VARIANTS, axis_vector, world_answers


def test_the_catalogue_holds_what_the_issue_asks_for():
    answers = world_answers()
    assert len(answers.corpus.conversations) >= 40
    assert len(answers.corpus) == len(answers.corpus.conversations) * ANSWERS * VARIANTS
    assert len(set(answers.corpus.responses)) == len(answers.corpus)
    assert sorted(answers.topic_prompts.reshape(-1)) == list(range(len(answers.corpus.conversations)))
    assert all(text == text.strip() and text.isprintable() for text in (a.name for a in AXES))
    assert all(text == text.strip() and "\t" not in text for text in answers.corpus.responses)


def test_written_answers_are_balanced_within_every_prompt():
    labels = world_answers().labels
    for value in (-1, 0, 1):
        assert ((labels == value).sum(axis=1) == ANSWERS // 3).all()
    correlation = np.corrcoef(labels.reshape(-1, len(AXES)).T)
    assert np.abs(correlation - np.eye(len(AXES))).max() < 0.05


def test_wrappers_never_turn_an_answer_to_the_other_side():
    answers = world_answers()
    axes = answers.axes.reshape(-1, VARIANTS, len(AXES))
    plain = axes[:, :1]
    assert (axes * plain >= plain**2).all()
    assert np.abs(axes).max() == 1.5
    assert set(np.unique(axes - plain)) == {-0.5, 0.0, 0.5}


def test_composed_texts_contain_the_plain_one():
    responses = world_answers().corpus.responses
    for item, text in enumerate(responses):
        assert responses[item - item % VARIANTS] in text


def test_lengths_and_lists_are_what_their_labels_say():
    answers = world_answers()
    plain = list(answers.corpus.responses)[::VARIANTS]
    length, structure = answers.labels.reshape(-1, len(AXES))[:, :2].T
    words = np.array([len(text.split()) for text in plain])
    assert words[length < 0].max() < words[length == 0].min()
    assert words[length == 0].max() < words[length > 0].min()
    listed = np.array(
        [text.lstrip().startswith(("- ", "1. ")) or "\n- " in text or "\n1. " in text for text in plain]
    )
    assert Counter(structure[listed]) == Counter(structure[structure > 0])
    assert not any("\n" in text for text, label in zip(plain, structure, strict=True) if label < 0)


def test_axis_vectors_have_the_order_of_the_axes():
    assert axis_vector({AXES[5].name: 2.0}).tolist() == [0, 0, 0, 0, 0, 2, 0, 0]
