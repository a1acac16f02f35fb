import subprocess
import sys

import numpy as np
import pytest

from palate.core.errors import ConfigError, MissingExtra
from palate.models import encoder as encoder_module
from palate.models import resolve
from palate.models.encoder import Spec, Styled


@pytest.mark.parametrize(
    ("spec", "complaint"),
    [
        ("bert", "there is no encoder 'bert'; there are lexical, style, minilm"),
        ("", "there is no encoder ''"),
        ("+style", "there is no encoder"),
        ("st:", "names no model"),
        ("hf", "names no model"),
        ("lexical:big", "takes no name"),
        ("hf:x?poool=last", "unknown option 'poool'; hf takes pool, dtype, max_length, layer, revision"),
        ("lexical?dim=3", "lexical takes no options"),
        ("hf:x?pool", "unknown option 'pool'|name=value|pool is mean or last"),
        ("hf:x?pool=max", "pool is mean or last, got 'max'"),
        ("hf:x?dtype=int8", "dtype is one of float32, bfloat16, float16, got 'int8'"),
        ("hf:x?max_length=long", "max_length is a whole number, got 'long'"),
        ("hf:x?max_length=1", "at least 8 tokens, got 1"),
        ("minilm:/no/such/folder", "there is no folder '/no/such/folder'"),
        ("minilm?dtype=int8", "dtype is float32 or bfloat16, got 'int8'"),
    ],
)
def test_a_wrong_spec_is_told_what_there_is(spec, complaint):
    with pytest.raises(ConfigError, match=complaint):
        resolve(spec)


def test_a_missing_package_is_named_with_its_extra(monkeypatch):
    monkeypatch.setattr(encoder_module, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"pip install 'palate\[encoders\]'"):
        resolve("hf:some/model-that-nobody-asked-for-yet")


def test_parsing_and_lexical_import_no_torch():
    code = (
        "import sys; from palate.models import resolve; resolve('lexical').encode(['a']); "
        "resolve('minilm+style'); print('torch' in sys.modules, 'transformers' in sys.modules)"
    )
    pytest.importorskip("torch", reason="torch is not installed")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_equal_specs_are_one_object_and_style_is_appended():
    assert resolve("lexical") is resolve("lexical")
    assert Spec.parse("minilm+style").style
    assert resolve("lexical+style").key == resolve("lexical").key


def test_blocks_cover_the_columns(counting):
    styled = Styled(counting(), "counting+style")
    assert styled.dim == 16
    assert styled.blocks == (("text", slice(0, 2)), ("style", slice(2, 16)))
    for encoder in (styled, resolve("lexical"), resolve("style")):
        assert encoder.blocks[-1][1].stop == encoder.dim == encoder.encode(["hello there"]).shape[1]


def test_styled_takes_the_style_of_the_response_not_of_the_conversation(counting):
    from palate.core import Turn

    styled = Styled(counting(reads_conversation=True), "counting+style")
    talk = (Turn("user", "WHY?! WHY?! " * 20),)
    text = styled.render(talk, "Because it is so.")
    vectors = styled.encode([text])
    assert np.allclose(vectors[:, 2:], resolve("style").encode(["Because it is so."]) / 14**0.5)
    assert vectors[0, 0] == len(styled.base.render(talk, "Because it is so."))
