"""A model card holds every figure that was given, says what is missing, and claims nothing else."""

import re

import pytest
import yaml

from palate.core import ConfigError
from palate.export import Data, Figure, Trained, Unseen, card

MODEL = Trained(
    name="taste-7b",
    base="org/base-7b",
    method="reward-lm",
    library="peft",
    weights="LoRA adapter",
    settings={"rank": 8, "rate": 5e-06, "persona": "memory", "layers": ("q", "v"), "full": False},
    tags=("reward-model",),
)
DATA = Data("choices.jsonl", 412, 9317, "d1ge57", license="cc-by-4.0", note="English.")
FIGURES = (
    Figure("accuracy", 61.25, 58.125, 64.5, n="903 pairs of 64 users", of="unseen users, gated"),
    Figure("log-loss", 0.6521, 0.6403, 0.6642, level=0.9, n="903 pairs"),
    Figure("accuracy", 57.75, of="the base"),
)
UNSEEN = Unseen(3, ("u-17", "u-23", "u|9"), "split by user, seed 4")


def full():
    return card(
        MODEL,
        [DATA, Data("/home/someone/more.csv", 7, 81, "beef")],
        FIGURES,
        unseen=UNSEEN,
        limits=["Reads 1,024 tokens.", "One language\nalone."],
        leaks="A membership attack was right for 53 % [49, 57] of 400 texts.",
        refused="5 of 88 statements",
        license="apache-2.0",
    )


def bare():
    return card(Trained("m", "b", "pt", "transformers"), [Data("c.jsonl", 1, 2, "x")])


def front(text):
    return yaml.safe_load(text.split("---\n")[1])


def test_the_front_matter_is_what_was_given():
    assert front(full()) == {
        "license": "apache-2.0",
        "base_model": "org/base-7b",
        "library_name": "peft",
        "tags": ["palate", "reward-lm", "reward-model"],
        "metrics": ["accuracy", "log-loss"],
    }
    assert front(bare()) == {
        "license": "unknown",
        "base_model": "b",
        "library_name": "transformers",
        "tags": ["palate", "pt"],
    }


def test_the_hub_reads_the_card():
    hub = pytest.importorskip("huggingface_hub")
    read = hub.ModelCard(full())
    assert read.data.base_model == "org/base-7b"
    assert read.data.license == "apache-2.0"
    assert read.data.metrics == ["accuracy", "log-loss"]
    assert read.text.strip().startswith("# taste-7b")


def test_every_given_figure_stands_in_the_card():
    text = full()
    for line in (
        "| accuracy | 61.25 | [58.125, 64.5] (95 %) | 903 pairs of 64 users | unseen users, gated |",
        "| log-loss | 0.6521 | [0.6403, 0.6642] (90 %) | 903 pairs |  |",
        "| accuracy | 57.75 | not given | not given | the base |",
        "| choices.jsonl | 412 | 9,317 | `d1ge57` | cc-by-4.0 | English. |",
        "| more.csv | 7 | 81 | `beef` |  |  |",
        "| rank | 8 |",
        "| rate | 5e-06 |",
        "| persona | memory |",
        '| layers | ["q", "v"] |',
        "| full | false |",
        "Training saw nothing of 3 test users (split by user, seed 4): u-17, u-23, u\\|9.",
        "- Reads 1,024 tokens.",
        "- One language alone.",
        "A membership attack was right for 53 % [49, 57] of 400 texts.",
        "Statements of personas that ask for harm were left out: 5 of 88 statements",
        "Made from org/base-7b by the method `reward-lm` of Palate. The files hold: LoRA adapter.",
    ):
        assert line in text.splitlines()


def test_no_number_stands_in_the_card_that_was_not_given():
    given = {
        "61.25",
        "58.125",
        "64.5",
        "903",
        "64",
        "0.6521",
        "0.6403",
        "0.6642",
        "57.75",
        "412",
        "9,317",
        "7",
    }
    given |= {"81", "8", "5", "06", "3", "4", "17", "23", "9", "1,024", "53", "49", "57", "400", "88"}
    given |= {"95", "90", "1", "57", "0", "4.0", "2.0"}  # levels, and parts of the digest and the licenses
    assert set(re.findall(r"\d[\d.,]*\d|\d", full())) <= given
    assert set(re.findall(r"\d[\d.,]*\d|\d", bare())) == {"1", "2"}


def test_what_was_not_given_is_said_to_be_missing():
    text = bare()
    for heading, words in {
        "## Figures": "None were given.",
        "## Unseen test users": "None are known. Read the figures as figures about people",
        "## Limits": "None were stated. That does not mean that there are none.",
        "## License": "None is stated.",
    }.items():
        assert text.split(heading + "\n\n")[1].startswith(words)
    assert "was not measured, or is not told here" in text
    assert "harm" not in text
    assert "metrics" not in text
    assert "The files hold" not in text
    assert "| Field |" not in text


def test_no_path_of_a_machine_is_told(tmp_path, monkeypatch):
    (tmp_path / "models" / "tiny").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    data = [Data("/srv/secret/c.jsonl", 1, 2, "x")]
    for base in (str(tmp_path / "models" / "tiny"), "./models/tiny", "models/tiny", "~/models/tiny"):
        settings = {"out": "/srv/secret/run", "files": ["C:\\secret\\a.txt"], "prompt": "Say yes/no/both."}
        text = card(Trained("m", base, "pt", "peft", settings=settings), data)
        assert "base_model" not in front(text)
        assert "secret" not in text
        assert str(tmp_path) not in text
        assert "| prompt | Say yes/no/both. |" in text
        assert "Made from " in text


def test_bad_input_is_refused():
    with pytest.raises(ConfigError, match="at least one Data"):
        card(MODEL, [])
    with pytest.raises(ConfigError, match=r"-1 users and 2 choices of c\.jsonl: count from 0"):
        card(MODEL, [Data("c.jsonl", -1, 2, "x")])
    with pytest.raises(ConfigError, match="2 names of 3 unseen users: give all or none"):
        card(MODEL, [DATA], unseen=Unseen(3, ("a", "b")))


def test_quotes_and_line_ends_do_not_break_the_front_matter():
    text = card(Trained('a "b"\n---\nlicense: mit', "org/b", 'x: "y"', "peft"), [DATA])
    assert front(text)["license"] == "unknown"
    assert front(text)["tags"] == ["palate", 'x: "y"']
    assert '# a "b" --- license: mit' in text.splitlines()
