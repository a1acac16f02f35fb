import shutil

import numpy as np
import pytest

from palate.core import Corpus, Turn, as_conversation
from palate.core.errors import ConfigError, EncoderError
from palate.models import embed, resolve

torch = pytest.importorskip("torch", reason="torch is not installed")
transformers = pytest.importorskip("transformers", reason="transformers is not installed")

TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}{{ m['role'] }} : {{ m['content'] }} {{ eos_token }}{% endfor %}"
)
TALK = (Turn("user", "why the cat ?"), Turn("assistant", "yes ."), Turn("user", "please help me"))
ANSWERS = ["no .", "yes please , the dog sat on the mat !", "hello", "w3 w4 w5 w6 w7 w8 w9"]


@pytest.fixture(scope="module")
def chat_lm(tiny_lm, tmp_path_factory):
    folder = tmp_path_factory.mktemp("chat-lm") / "m"
    shutil.copytree(tiny_lm, folder)
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    return folder


def reference(folder, texts, pool, layer=-1, special=True):
    """One text at a time, without padding."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModel.from_pretrained(folder).eval()
    rows = []
    for text in texts:
        ids = torch.tensor([tokenizer(text, add_special_tokens=special)["input_ids"]])
        with torch.no_grad():
            states = model(ids, output_hidden_states=True).hidden_states[layer][0]
        pooled = states[-1] if pool == "last" else states.mean(0)
        rows.append((pooled / pooled.norm()).numpy())
    return np.array(rows)


@pytest.mark.parametrize("pool", ["mean", "last"])
@pytest.mark.parametrize("layer", [-1, 0, 1])
def test_padding_and_batches_change_nothing(tiny_lm, pool, layer):
    encoder = resolve(f"hf:{tiny_lm}?pool={pool}&layer={layer}")
    texts = [encoder.render(TALK, answer) for answer in ANSWERS]
    vectors = encoder.encode(texts)
    assert np.abs(vectors - reference(tiny_lm, texts, pool, layer)).max() < 1e-5
    assert np.abs(encoder.encode(texts[:1]) - vectors[0]).max() < 1e-5
    assert encoder.dim == vectors.shape[1] == 32


def test_the_pools_differ_and_so_do_the_keys(tiny_lm):
    specs = ["pool=mean", "pool=last", "dtype=bfloat16", "max_length=64", "layer=1"]
    encoders = [resolve(f"hf:{tiny_lm}?{spec}") for spec in specs]
    assert len({encoder.key for encoder in encoders}) == 5
    a, b = (encoder.encode(["user: yes\nassistant: no"]) for encoder in encoders[:2])
    assert np.abs(a - b).max() > 1e-3


def test_a_plain_rendering_and_a_template(tiny_lm, chat_lm):
    plain, chat = resolve(f"hf:{tiny_lm}"), resolve(f"hf:{chat_lm}")
    assert plain.render(TALK[:1], "no .") == "user: why the cat ?\nassistant: no ."
    text = chat.render(TALK[:1], "no .")
    assert text == "<s>user : why the cat ? </s>assistant : no . </s>"
    assert np.abs(chat.encode([text]) - reference(chat_lm, [text], "mean", special=False)).max() < 1e-5
    assert plain.key != chat.key
    assert plain.reads_conversation


def test_the_start_is_cut_never_the_end(tiny_lm, chat_lm):
    encoder = resolve(f"hf:{tiny_lm}?max_length=8&pool=last")
    long, short = "the cat sat on the mat " * 9 + "why", "yes no"
    with pytest.warns(UserWarning, match="1 of 2 texts were longer than 8 tokens"):
        vectors = encoder.encode([short, long])
    tail = " ".join(long.split()[-8:])
    assert np.abs(vectors - reference(tiny_lm, [short, tail], "last")).max() < 1e-5
    chat = resolve(f"hf:{chat_lm}?max_length=8")
    assert chat._cut([1, *range(4, 30)]) == [1, *range(23, 30)]
    assert resolve(f"hf:{tiny_lm}?max_length=4096")._limit == 128


def test_dtype_and_device_are_obeyed(tiny_lm):
    narrow = resolve(f"hf:{tiny_lm}?dtype=bfloat16", device="cpu")
    assert narrow._loaded[0].dtype == torch.bfloat16
    wide = resolve(f"hf:{tiny_lm}")
    text = [wide.render(TALK, ANSWERS[1])]
    assert (narrow.encode(text) * wide.encode(text)).sum() > 0.99
    with pytest.raises(ConfigError, match="device 'nowhere' cannot be used"):
        resolve(f"hf:{tiny_lm}", device="nowhere").encode(["x"])


def test_items_of_a_corpus_are_chats(tiny_lm):
    talks = [as_conversation("why ?"), as_conversation("please help")]
    corpus = Corpus(talks, ["yes", "no"], np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1]))
    matrix = embed(corpus, f"hf:{tiny_lm}+style")
    texts = [f"user: {q}\nassistant: {a}" for q in ("why ?", "please help") for a in ("yes", "no")]
    assert np.abs(matrix[:, :32] - reference(tiny_lm, texts, "mean")).max() < 1e-5
    assert (matrix[0, 32:] == matrix[2, 32:]).all()


def test_an_encoder_model_with_absolute_positions(tmp_path, tiny_lm):
    for path in tiny_lm.glob("tokenizer*"):
        shutil.copy(path, tmp_path)
    torch.manual_seed(1)
    config = transformers.BertConfig(
        vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=4,
        max_position_embeddings=32,
    )  # fmt: skip
    transformers.BertModel(config).save_pretrained(tmp_path)
    texts = ["yes", "the dog sat on the mat", "no"]
    vectors = resolve(f"hf:{tmp_path}").encode(texts)
    assert np.abs(vectors - reference(tmp_path, texts, "mean")).max() < 1e-5


def test_kind_errors(tiny_lm, chat_lm, tmp_path):
    with pytest.raises(ConfigError, match="layer 7 does not exist; the model has 0 to 2"):
        resolve(f"hf:{tiny_lm}?layer=7").encode(["x"])
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(EncoderError, match="cannot be loaded"):
        resolve(f"hf:{tmp_path}").encode(["x"])
    with pytest.raises(EncoderError, match="text 2 of 2 has no tokens"):
        resolve(f"hf:{tiny_lm}").encode(["yes", ""])
    folder = tmp_path / "strict"
    shutil.copytree(chat_lm, folder)
    (folder / "chat_template.jinja").write_text("{{ raise_exception('no system turns') }}")
    with pytest.raises(EncoderError, match="refused the roles user, assistant: no system turns"):
        resolve(f"hf:{folder}").render(TALK[:1], "x")


def test_numbers_that_are_not_finite_are_named(tiny_lm, tmp_path):
    folder = tmp_path / "nan"
    shutil.copytree(tiny_lm, folder)
    model = transformers.LlamaForCausalLM.from_pretrained(folder)
    with torch.no_grad():
        model.model.embed_tokens.weight[4] = float("nan")
    model.save_pretrained(folder)
    with pytest.raises(EncoderError, match=r"not finite for text 2 of 3 \('the cat'\)"):
        resolve(f"hf:{folder}").encode(["yes", "the cat", "no"])
