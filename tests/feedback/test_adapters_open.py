"""How a published data set is named and recognised, where its tables lie, and what is refused."""

import csv
import json
import sys

import adapter_rows as sets
import duckdb
import pytest
from feedback_rows import as_lines, pair

from palate.core import ConfigError, DataError, MissingExtra
from palate.feedback import check, describe, read
from palate.feedback.adapters import ADAPTERS
from palate.feedback.adapters.base import records

ROWS = sorted(sets.SINGLE.items())
JUNK = (None, 3, sets.NAN, True, "", "x", "[1]", '{"a": 1}', [], [1], [None], {}, {"a": [1]}, [{"role": 1}])


def names(result):
    """Return what tells two results apart."""
    people = result.population
    return people.users.tolist(), people.chosen.tolist(), people.corpus.responses


class Hub:
    """Stands in for ``datasets``: (id, config) to splits of rows."""

    def __init__(self, stored):
        self.stored, self.asked = stored, []

    def load_dataset(self, name, config=None):
        self.asked.append((name, config))
        if (name.lower(), config) not in self.stored:
            raise FileNotFoundError(f"no {name} {config}")
        return {split: Split(rows) for split, rows in self.stored[name.lower(), config].items()}


class Split:
    def __init__(self, rows):
        self.rows = rows

    def iter(self, batch_size):
        for row in self.rows:
            yield {column: [value] for column, value in row.items()}


@pytest.fixture
def hub(monkeypatch):
    """Return a function that puts rows on a hub that is none."""

    def put(stored):
        made = Hub(stored)
        monkeypatch.setitem(sys.modules, "datasets", made)
        return made

    return put


# ---- the hub --------------------------------------------------------------------------------------


def test_prism_of_the_hub_with_its_survey(hub):
    ident = "hannahrosekirk/prism-alignment"
    stored = {
        (ident, "survey"): {"train": sets.SURVEY},
        (ident, "conversations"): {"train": sets.CONVERSATIONS},
        (ident, "utterances"): {"train": sets.utterances()},
    }
    asked = hub(stored).asked
    first = read("hf:HannahRoseKirk/prism-alignment")
    assert first.population.n_rows == 3
    assert "user3" in first.population.users
    assert [config for _, config in asked] == ["survey", "conversations"]
    for spec in (
        "hf:HANNAHROSEKIRK/Prism-Alignment",
        "prism:HannahRoseKirk/prism-alignment",
        "prism:hf:HannahRoseKirk/prism-alignment",
        "hf:HannahRoseKirk/prism-alignment:conversations:train",
        "hf:HannahRoseKirk/prism-alignment:utterances",
        "hf:HannahRoseKirk/prism-alignment:train",
    ):
        assert names(read(spec)) == names(first), spec
    assert asked[-3] == ("HannahRoseKirk/prism-alignment", "utterances")


HUB_IDS = {
    "MichaelR207/prism_personalized_1023": ("personalrewardbench", None, sets.PERSONAL),
    "MichaelR207/chatbot_arena_personalized_0125": ("personalrewardbench", None, sets.PERSONAL),
    "lmsys/chatbot_arena_conversations": ("arena", None, sets.ARENA),
    "RiverDong/psoups": ("psoups", None, sets.UIDS),
    "RiverDong/Personal-LLM-DPO": ("uid", None, sets.UIDS),
    "openai/summarize_from_feedback": ("tldr", "comparisons", sets.TLDR),
    "Asap7772/elix_generations_gpt4omini_pref": ("fspo", None, sets.ELIX),
    "Asap7772/steered_reviews_full_autolabel_gpt4o_pref": ("fspo", None, sets.ELIX),
    "sher222/persona-iterative-responses": ("fspo", None, sets.ROLEPLAY),
    "JinaLeejnl/AlignX": ("alignx", None, sets.ALIGNX),
    "Anthropic/hh-rlhf": ("hh", None, sets.HH),
    "stanfordnlp/SHP": ("shp", None, sets.SHP),
    "PKU-Alignment/PKU-SafeRLHF-30K": ("saferlhf", None, sets.SAFE),
}


@pytest.mark.parametrize("ident", HUB_IDS)
def test_ids_of_the_hub_are_known_in_any_case(hub, ident):
    name, config, rows = HUB_IDS[ident]
    hub({(ident.lower(), config): {"train": rows}})
    for spec in (f"hf:{ident}", f"hf:{ident.upper()}", f"{name}:{ident}", f"{name}:hf:{ident}:train"):
        result = read(spec)
        assert (result.report.adapter, result.report.source) == (name, spec)
        assert result.population.n_rows
        assert result.report.n_set_aside == 0


def test_personalllm_of_the_hub(hub):
    hub({("namkoong-lab/personalllm", None): {"train": sets.PERSONALLLM, "test": sets.PERSONALLLM[:1]}})
    result = read("personalllm,users=models:hf:namkoong-lab/PersonalLLM")
    assert result.report.rows == 6
    assert "its splits train, test are read one after the other" in " ".join(result.report.notes)
    assert read("personalllm,users=models:namkoong-lab/PersonalLLM:test").report.rows == 2
    with pytest.raises(ConfigError, match=r"are simulated: .*users=models"):
        read("hf:namkoong-lab/PersonalLLM")
    with pytest.raises(ConfigError, match="no split 'dev'; it has train, test"):
        read("personalllm,users=models:hf:namkoong-lab/PersonalLLM:dev")


def test_personal_reward_bench_of_the_hub_has_roles(hub):
    stored = {"train": [sets.personal("a", "train", 1)], "test": [sets.personal("b", "test", 2)]}
    hub({("michaelr207/prism_personalized_1023", None): stored})
    people = read("hf:MichaelR207/prism_personalized_1023").population
    assert dict(zip(people.users.tolist(), people.role.tolist(), strict=True)) == {"a": 0, "b": 2}


def test_fields_read_a_known_data_set_as_it_is(hub, jsonl):
    hub({("lmsys/chatbot_arena_conversations", None): {"train": sets.ARENA}})
    assert read("hf:lmsys/chatbot_arena_conversations", fields={"time": "tstamp"}).report.adapter == ""
    assert read(jsonl(*sets.ARENA), fields={"time": "tstamp"}).report.adapter == ""
    assert read(jsonl(*sets.ARENA)).report.adapter == "arena"


def test_the_hub_without_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MissingExtra, match=r"palate\[hub\]"):
        read("hf:HannahRoseKirk/prism-alignment")


def test_prism_without_its_survey(hub, jsonl):
    hub({("hannahrosekirk/prism-alignment", "conversations"): {"train": sets.CONVERSATIONS}})
    result = read("hf:HannahRoseKirk/prism-alignment")
    assert result.population.n_rows == 3
    assert any(note.startswith("read without its survey: the Hugging") for note in result.report.notes)
    notes = read(f"prism:{jsonl(*sets.CONVERSATIONS, name='conversations.jsonl')}").report.notes
    assert any(note.startswith("read without its survey, which is not in") for note in notes)


def test_an_id_that_cannot_be_loaded(hub):
    hub({})
    with pytest.raises(DataError, match=r"'HannahRoseKirk/prism-alignment' cannot be loaded"):
        read("prism:HannahRoseKirk/prism-alignment")


# ---- columns --------------------------------------------------------------------------------------

UNMISTAKABLE = {
    "prism": sets.CONVERSATIONS,
    "personalrewardbench": sets.PERSONAL,
    "arena": sets.ARENA,
    "psoups": sets.WORDS,
    "tldr": sets.TLDR,
    "fspo": sets.ELIX,
    "alignx": sets.ALIGNX,
    "shp": sets.SHP,
    "saferlhf": sets.SAFE,
}


@pytest.mark.parametrize("name", UNMISTAKABLE)
def test_columns_speak_for_a_data_set(name, jsonl):
    path = jsonl(*UNMISTAKABLE[name])
    result = read(path)
    assert result.report.adapter == name
    assert names(result) == names(read(f"{name}:{path}"))
    assert any("recognised by its columns" in note for note in result.report.notes)


def test_recognised_after_a_broken_first_row(jsonl):
    result = read(jsonl("broken", *sets.TLDR))
    assert (result.report.adapter, dict(result.report.set_aside)) == ("tldr", {"not JSON": 1})


@pytest.mark.parametrize(
    "row",
    [
        pair(),
        {"user": "a", "prompt": "p", "response_a": "x", "response_b": "y", "winner": "a"},
        {"judge": "a", "conversation_a": "x", "conversation_b": "y", "winner": "model_a", "prompt": "p"},
        {"worker": "w", "post": "p", "response_1": "x", "response_2": "y", "choice": 1, "info": "i"},
    ],
)
def test_plain_rows_stay_plain(row, jsonl):
    report = read(jsonl(row)).report
    assert (report.adapter, report.notes, report.n_set_aside) == ("", [], 0)


def test_a_folder_with_the_names_of_another_data_set(jsonl, tmp_path):
    jsonl(pair(), name="conversations.jsonl")
    jsonl(pair(user="bob"), name="survey.jsonl")
    report = read(tmp_path).report
    assert (report.adapter, report.choices, report.n_set_aside) == ("", 2, 0)


# ---- names ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "rows"), ROWS, ids=[name for name, _ in ROWS])
def test_jsonl_parquet_and_json_arrays_are_one(name, rows, tmp_path):
    for ending in ("jsonl", "json", "parquet"):
        (tmp_path / ending).mkdir()
    lines = tmp_path / "jsonl" / "train.jsonl"
    lines.write_bytes(as_lines(rows))
    (tmp_path / "json" / "train.json").write_text(json.dumps(rows))
    duckdb.execute(
        f"COPY (FROM read_json_auto('{lines}', format='newline_delimited')) "
        f"TO '{tmp_path / 'parquet' / 'train.parquet'}'"
    )
    first = read(f"{name}:{lines}")
    assert first.report.n_set_aside == 0
    for ending in ("json", "parquet"):
        file = tmp_path / ending / f"train.{ending}"
        for where in (file,) if name == "prism" else (file, file.parent):  # the tables of PRISM have names
            assert names(read(f"{name}:{where}")) == names(first)


@pytest.mark.parametrize("name", ["arena", "uid", "elix", "tldr", "personalllm,users=models"])
def test_csv_cells_hold_json(name, tmp_path):
    rows = sets.SINGLE[name]
    path = tmp_path / "rows.csv"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        plain = (str, int, float, type(None))
        writer.writerows(
            {c: v if isinstance(v, plain) else json.dumps(v) for c, v in row.items()} for row in rows
        )
    (tmp_path / "rows.jsonl").write_bytes(as_lines(rows))
    assert names(read(f"{name}:{path}")) == names(read(f"{name}:{tmp_path / 'rows.jsonl'}"))


@pytest.mark.parametrize(("name", "rows"), ROWS, ids=[name for name, _ in ROWS])
def test_a_folder_saved_by_datasets(name, rows, tmp_path):
    datasets = pytest.importorskip("datasets")
    datasets.Dataset.from_list(rows).save_to_disk(tmp_path / "one")
    (tmp_path / "rows.jsonl").write_bytes(as_lines(rows))
    result = read(f"{name}:{tmp_path / 'one'}")
    assert result.report.n_set_aside == 0
    assert result.population.n_rows == read(f"{name}:{tmp_path / 'rows.jsonl'}").population.n_rows


def test_saved_splits_and_saved_tables(tmp_path):
    datasets = pytest.importorskip("datasets")
    table = datasets.Dataset.from_list
    two = {"train": table([sets.personal("a", "train", 1)]), "test": table([sets.personal("b", "test", 2)])}
    datasets.DatasetDict(two).save_to_disk(tmp_path / "bench")
    for spec in (tmp_path / "bench", f"personalrewardbench:{tmp_path / 'bench'}"):
        people = read(spec).population
        assert dict(zip(people.users.tolist(), people.role.tolist(), strict=True)) == {"a": 0, "b": 2}
    prism = tmp_path / "prism"
    datasets.DatasetDict({"train": table(sets.SURVEY)}).save_to_disk(prism / "survey")
    datasets.DatasetDict({"train": table(sets.CONVERSATIONS)}).save_to_disk(prism / "conversations")
    result = read(f"prism:{prism}")
    assert result.population.n_rows == 3
    assert "user3" in result.population.users


def test_standard_input_by_name(monkeypatch):
    import io

    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(as_lines(sets.TLDR))))
    assert read("tldr:-").population.n_rows == 2


def test_check_and_describe_read_by_name(jsonl):
    result = read(f"prism:{jsonl(*sets.CONVERSATIONS)}")
    told = list(check(result).lines())
    assert told[1][1].startswith("prism; in each turn the chosen response beats every other one")
    assert ("  left out by its rules", "1: a pair without both ratings") in told
    assert dict(describe(result.population).lines())["inputs that two users or more compared"] == "0"


def test_the_command_line_reads_by_name(jsonl, tmp_path):
    from typer.testing import CliRunner

    from palate.cli import app

    jsonl(*sets.CONVERSATIONS, name="conversations.jsonl")
    jsonl(*sets.SURVEY, name="survey.jsonl")
    for verb in ("check", "describe"):
        result = CliRunner().invoke(app, ["data", verb, f"prism:{tmp_path}", "--json"])
        assert result.exit_code == 0, result.output
    told = json.loads(CliRunner().invoke(app, ["data", "check", f"prism,gap=5:{tmp_path}", "--json"]).output)
    assert (told["choices"], told["idle_users"], told["read"]["adapter"]) == (4, 1, "prism")


def test_names_that_are_nearly_right(tmp_path, jsonl):
    with pytest.raises(ConfigError, match=r"'prsim' is no data set that is known: did you mean prism:\.\.\."):
        read(f"prsim:{tmp_path}")
    with pytest.raises(ConfigError, match=r"prism has no option 'gpa': did you mean gap\?"):
        read("prism,gpa=3:x")
    with pytest.raises(ConfigError, match=r"gap=wide: expected a number"):
        read(f"prism,gap=wide:{tmp_path}")
    with pytest.raises(ConfigError, match=r"'gap' is no option; expected prism,key=value:SOURCE"):
        read(f"prism,gap:{tmp_path}")
    with pytest.raises(ConfigError, match="arena has no option"):
        read(f"arena,gap=3:{jsonl(*sets.ARENA)}")
    with pytest.raises(DataError, match=r"there is no file or folder nowhere.*prism:hf:OWNER/NAME"):
        read("prism:nowhere")
    assert read(f"PRISM:{jsonl(*sets.CONVERSATIONS)}").report.adapter == "prism"


# ---- what is wrong --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted({spec.partition(",")[0]: spec for spec in sets.SINGLE}))
def test_wrong_columns_are_named(name, jsonl):
    spec = f"{name},users=models" if name == "personalllm" else name
    path = jsonl({"colour": "red", "size": 3}, {"colour": "blue", "size": 4})
    with pytest.raises(DataError, match=r"no column .*; seen: colour, size; expected: ") as caught:
        read(f"{spec}:{path}")
    assert ADAPTERS[name].title in str(caught.value)


@pytest.mark.parametrize(("name", "rows"), ROWS, ids=[name for name, _ in ROWS])
def test_a_bad_row_never_loses_the_good_ones(name, rows, jsonl):
    good = read(f"{name}:{jsonl(*rows)}")
    result = read(f"{name}:{jsonl(*rows, 'broken', {'colour': 'red'}, name='rows2.jsonl')}")
    assert result.population.n_rows == good.population.n_rows
    assert dict(result.report.set_aside) == {"not JSON": 1, "missing field": 1}
    assert [detail.line for detail in result.report.details] == [len(rows) + 1, len(rows) + 2]


@pytest.mark.parametrize(("name", "rows"), ROWS, ids=[name for name, _ in ROWS])
def test_any_value_in_any_cell_costs_its_row_only(name, rows, jsonl):
    """Whatever stands in a cell, the rows after it are read."""
    odd = [{**rows[0], column: value} for column in rows[0] for value in JUNK]
    if name == "personalllm,users=models":  # the reward models are those of the first row
        odd = [rows[-1], *odd]
    alone = read(f"{name}:{jsonl(*rows)}").population
    lines = [
        *odd,
        *({**row, **({"question_id": f"z{k}"} if name == "arena" else {})} for k, row in enumerate(rows)),
    ]
    result = read(f"{name}:{jsonl(*lines, name='odd.jsonl')}")
    assert set(alone.corpus.responses) <= set(result.population.corpus.responses)
    assert result.population.n_rows >= alone.n_rows


def test_records_refuses_what_is_none():
    from palate.feedback.report import BadRow

    assert records('[{"a": 1}]') == [{"a": 1}]
    assert records(None) == []
    for value in (3, "x", [1], {"a": [1], "b": []}):
        with pytest.raises(BadRow, match="list of objects"):
            records(value)
