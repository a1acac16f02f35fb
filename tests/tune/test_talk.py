"""Messages to ids: what is cut first, what is told of it, and templates of many kinds."""

import pytest

from palate.core import ConfigError
from palate.tune.talk import Talk

SYSTEM = {"role": "system", "content": "be kind"}
USER = {"role": "user", "content": "hello"}
ODD = [
    "",
    " ",
    "naïve 日本語 🙂👩‍👩‍👧",
    "half \ud83d",
    "a\u0000b",
    "\u202eright to left\u202c",
    "z̸̛̤a̶l̷go",
    "line\r\nline\t",
    "{{ x }} {% if %}",
]


def text(talk, ids):
    return talk.tokenizer.decode(ids)


def told(signals):
    return [SYSTEM, {"role": "user", "content": f"[{'|'.join(signals)}] go"}]


@pytest.fixture
def talk(load):
    return Talk(load(limit=100), 20)


def test_a_prompt_ends_with_the_opening_of_an_answer(talk):
    ids = talk.prompt([SYSTEM, USER])
    assert text(talk, ids) == "<s><|system|>be kind<|end|>\n<|user|>hello<|end|>\n<|assistant|>"
    assert not talk.cut


def test_an_answer_ends_as_the_template_ends_it(talk):
    assert text(talk, talk.answer("fine")) == "fine<|end|>"  # without the line break behind it
    assert talk.words(talk.answer("fine")) == "fine"
    assert talk.count("fine") == 4


def test_an_answer_is_what_the_template_would_have_said(talk):
    whole = talk.tokenizer.apply_chat_template(
        [USER, {"role": "assistant", "content": "fine"}], tokenize=False
    )
    ours = text(talk, talk.prompt([USER]) + talk.answer("fine"))
    assert whole == ours + "\n"


def test_the_oldest_signals_go_first(talk):
    signals = [f"{i}" * 15 for i in range(5)]
    room = 80
    ids, kept = talk.fitting(signals, told)
    assert 0 < kept < 5
    assert len(ids) <= room
    assert ids == talk.prompt(told(signals[-kept:]))
    assert len(talk._rendered(told(signals[-kept - 1 :]))) > room  # one more does not fit
    assert dict(talk.cut) == {"prompts that lost signals": 1}


def test_all_signals_that_fit_are_told(talk):
    ids, kept = talk.fitting(["a", "b"], told)
    assert kept == 2
    assert "[a|b] go" in text(talk, ids)
    assert not talk.cut
    assert talk.fitting([], told)[1] == 0


def test_signals_of_any_length_are_cut_as_one_at_a_time(load):
    import numpy as np

    rng = np.random.default_rng(0)
    talk = Talk(load(limit=150), 20)
    for _ in range(30):
        signals = ["x" * n for n in rng.integers(1, 60, rng.integers(0, 9))]
        ids, kept = talk.fitting(signals, told)
        most = max(
            k
            for k in range(len(signals) + 1)
            if len(talk._rendered(told(signals[len(signals) - k :]))) <= 130
        )
        assert kept == most
        assert len(ids) <= 130


def test_then_the_start_goes(talk):
    ids, kept = talk.fitting(
        ["s" * 90], lambda some: [SYSTEM, {"role": "user", "content": "x" * 200 + "".join(some)}]
    )
    assert kept == 0
    assert len(ids) == 80
    assert text(talk, ids).endswith("xxx<|end|>\n<|assistant|>")
    assert dict(talk.cut) == {"prompts that lost signals": 1, "prompts that lost their start": 1}
    assert len(talk.prompt([{"role": "user", "content": "y" * 300}])) == 80
    assert talk.cut["prompts that lost their start"] == 2


def test_a_long_answer_loses_its_end(talk):
    assert text(talk, talk.answer("w" * 50)) == "w" * 20
    assert len(talk.answer("w" * 19)) == 20
    assert dict(talk.cut) == {"answers that lost their end": 1}


def test_room_for_answers_must_be_less_than_the_limit(load):
    with pytest.raises(ConfigError, match=r"answers may have 100 tokens.*only 100.*raise limit"):
        Talk(load(limit=100), 100)


@pytest.mark.parametrize("form", ["refuses", "drops"])
def test_templates_without_a_system_message_tell_it_in_the_first_turn(load, form):
    talk = Talk(load(form), 20)
    assert text(talk, talk.prompt([SYSTEM, USER])) == "<s><|user|>be kind\n\nhello<|end|>\n<|assistant|>"
    assert text(talk, talk.prompt([USER])) == "<s><|user|>hello<|end|>\n<|assistant|>"


def test_no_chat_template_gets_a_plain_one(load):
    base = load("no-template")
    talk = Talk(base, 20)
    assert "has no chat template" in base.mended[0]
    assert text(talk, talk.prompt([SYSTEM, USER])) == "<s>system: be kind\nuser: hello\nassistant: "
    assert text(talk, talk.answer("fine")) == "fine<|end|>"


def test_no_padding_token_takes_the_end(load):
    base = load("no-pad")
    assert base.tokenizer.pad_token_id == base.tokenizer.eos_token_id == 2
    assert "has no padding token" in base.mended[0]
    talk = Talk(base, 20)
    assert talk.answer("fine")[-1] == 2  # the end is still an end


@pytest.mark.parametrize("odd", ODD)
def test_odd_texts(talk, odd):
    talk.room = 60
    ids = talk.answer(odd)
    assert ids[-1] == 2
    assert talk.words(ids) == odd.encode("utf-8", "replace").decode().strip()
    talk.room = 20
    prompt = talk.prompt([{"role": "user", "content": odd}])
    assert text(talk, prompt).endswith("<|end|>\n<|assistant|>")


def test_other_tokens_that_end_a_turn(load):
    base = load()
    base.model.generation_config.eos_token_id = [2, 5]
    assert base.ends == (2, 5)
    base.model.generation_config.eos_token_id = 5
    assert base.ends == (2, 5)
    base.tokenizer.chat_template = base.tokenizer.chat_template.replace("{{ eos_token }}", "<|system|>")
    assert text(Talk(base, 20), Talk(base, 20).answer("a")) == "a<|system|>"
    base.tokenizer.chat_template = base.tokenizer.chat_template.replace("<|system|>{% endgen", "{% endgen")
    assert text(Talk(base, 20), Talk(base, 20).answer("a")) == "a<|end|>"  # the template ends nothing itself
