"""The small base models: their tokenizer, their folder, and that training learns, whole and repeatable."""

import numpy as np
import pytest

from palate.core import ConfigError
from palate.small import base
from palate.small.base import FOLLOWING, MIX, Mix, make_base, make_tokenizer, random_base
from palate.small.corpus import KINDS, documents, readings
from palate.small.language import Language
from palate.small.packing import packed

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def untrained(tmp_path_factory):
    return random_base(tmp_path_factory.mktemp("models") / "random")


@pytest.fixture(scope="module")
def few_steps(tmp_path_factory):
    told = []
    folder = make_base(
        tmp_path_factory.mktemp("models") / "few", steps=20, tell=told.append, mix=Mix(MIX.short, 2)
    )
    return folder, told


def weights(folder):
    return transformers.AutoModelForCausalLM.from_pretrained(folder).state_dict()


def test_folder_is_an_ordinary_one(untrained):
    model = transformers.AutoModelForCausalLM.from_pretrained(untrained)
    tokenizer = transformers.AutoTokenizer.from_pretrained(untrained)
    assert model.config.model_type == "llama"
    assert len(tokenizer) == model.config.vocab_size
    assert tokenizer.pad_token_id == model.config.pad_token_id == model.generation_config.pad_token_id == 2
    assert tokenizer.eos_token_id == model.config.eos_token_id == model.generation_config.eos_token_id == 1
    asked = tokenizer.apply_chat_template(
        [{"role": "user", "content": "ask bread costs"}],
        add_generation_prompt=True,
        return_tensors="pt",
        return_dict=True,
    )
    written = model.generate(**asked, max_new_tokens=4, do_sample=False)
    assert written.shape[1] <= asked["input_ids"].shape[1] + 4


def test_every_word_is_one_token():
    tokenizer = make_tokenizer()
    words = Language().words
    ids = tokenizer(" ".join(words))["input_ids"]
    assert len(ids) == len(words) == len(set(ids))
    assert tokenizer.unk_token_id not in ids
    assert tokenizer("zebra")["input_ids"] == [tokenizer.unk_token_id]
    assert tokenizer.decode(ids) == " ".join(words)


def test_template_is_that_of_training():
    """What the chat template renders is, token by token, what the model is trained on."""
    tokenizer = make_tokenizer()
    for kind in KINDS:
        found = documents(kind, 3, np.random.default_rng(0), Language())
        batch = packed([[document] for document in found], tokenizer.get_vocab())
        for row, (content, reply) in enumerate(found):
            talk = [{"role": "user", "content": content}, {"role": "assistant", "content": reply}]
            kept = batch.tokens[row] != tokenizer.pad_token_id
            shown = tokenizer.apply_chat_template(talk, return_dict=True, return_assistant_tokens_mask=True)
            assert batch.tokens[row][kept].tolist() == shown["input_ids"]
            assert (batch.labels[row][kept] >= 0).tolist() == [bool(m) for m in shown["assistant_masks"]]
            assert batch.places[row][kept].tolist() == list(range(int(kept.sum())))
            asked = tokenizer.apply_chat_template(talk[:1], add_generation_prompt=True)["input_ids"]
            assert asked == shown["input_ids"][: len(asked)]
            assert (batch.labels[row][kept] < 0).sum() == len(asked)


def test_documents_that_begin_alike_are_learned_as_each_alone(untrained):
    """The loss of a family that is read once is that of its documents, one by one."""
    model = transformers.AutoModelForCausalLM.from_pretrained(untrained).double()
    ids = make_tokenizer().get_vocab()
    families = readings(4, np.random.default_rng(1), Language(2), 3)

    def losses(rows):
        batch = packed(rows, ids)
        with torch.inference_mode():
            logits = model(batch.tokens, attention_mask=batch.seen, position_ids=batch.places).logits[:, :-1]
        told = batch.labels[:, 1:] >= 0
        found = torch.nn.functional.cross_entropy(logits[told], batch.labels[:, 1:][told], reduction="none")
        return found.tolist()

    def alone(document):
        """Of the document by itself, as the library batches it."""
        batch = packed([[document]], ids)
        with torch.inference_mode():
            logits = model(batch.tokens).logits[0, :-1].log_softmax(-1)
        wanted = batch.labels[0, 1:]
        return [-float(logits[n, w]) for n, w in enumerate(wanted.tolist()) if w >= 0]

    expected = [value for family in families for document in family for value in alone(document)]
    assert losses(families) == pytest.approx(expected, rel=1e-9)
    apart = [[document] for family in families for document in family]
    tokens = [int((packed(rows, ids).tokens != 2).sum()) for rows in (families, apart)]
    assert tokens[0] < 0.7 * tokens[1]


def test_many_turns_and_a_system_message():
    talk = [
        {"role": "system", "content": "user likes brief"},
        {"role": "user", "content": "ask bread costs"},
        {"role": "assistant", "content": "bread brief"},
        {"role": "user", "content": "ask chess tools"},
    ]
    text = make_tokenizer().apply_chat_template(talk, tokenize=False, add_generation_prompt=True)
    expected = "<s> <system> user likes brief <user> ask bread costs <answer> bread brief </s> "
    assert " ".join(text.split()) == expected + "<user> ask chess tools <answer>"


def test_training_learns(few_steps):
    folder, told = few_steps
    assert [entry["step"] for entry in told] == [10, 20]
    assert told[-1]["loss"] < min(told[0]["loss"], np.log(len(Language().words)))  # nats a token
    assert told[-1]["tokens"] > 15_000
    assert sorted(path.name for path in folder.parent.iterdir()) == [folder.name]


def test_a_seed_gives_the_same_model(tmp_path):
    mix = Mix(MIX.short, 1)
    folders = [make_base(tmp_path / f"{n}", seed=n // 2, steps=2, mix=mix) for n in (0, 1, 2)]
    first, second, third = (weights(folder) for folder in folders)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["model.embed_tokens.weight"], third["model.embed_tokens.weight"])


def test_a_finished_folder_is_kept(untrained):
    before = (untrained / "model.safetensors").stat().st_mtime_ns
    assert make_base(untrained, steps=2) == untrained
    assert (untrained / "model.safetensors").stat().st_mtime_ns == before


def test_a_cut_run_leaves_nothing(tmp_path):
    def stop(entry):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_base(tmp_path / "cut", steps=10, tell=stop, mix=FOLLOWING)
    assert list(tmp_path.iterdir()) == []


def test_a_cut_save_leaves_nothing(tmp_path, monkeypatch):
    def stop():
        raise OSError("no space left")

    monkeypatch.setattr(base, "make_tokenizer", stop)
    with pytest.raises(OSError, match="no space"):
        random_base(tmp_path / "cut")
    assert list(tmp_path.iterdir()) == []


def test_the_other_size_is_another_architecture(tmp_path, untrained):
    other = make_base(tmp_path / "other", size="other", steps=1, mix=FOLLOWING)
    config = transformers.AutoConfig.from_pretrained(other)
    llama = transformers.AutoConfig.from_pretrained(untrained)
    assert config.model_type == "olmo2"
    assert (config.hidden_size, config.num_hidden_layers) != (llama.hidden_size, llama.num_hidden_layers)
    assert config.vocab_size == llama.vocab_size


def test_unknown_size_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="'huge'"):
        random_base(tmp_path / "huge", size="huge")
