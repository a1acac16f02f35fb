from dataclasses import dataclass, replace

import numpy as np
import pytest

from palate.catalogue import build, find, load, names
from palate.checks import people
from palate.core import (
    ConfigError,
    Describes,
    FitDiverged,
    History,
    Method,
    MethodError,
    Persona,
    Population,
    StorageError,
    Uncertain,
    errors,
    with_roles,
)


def test_the_error_tree_is_the_one_that_its_docstring_draws():
    drawn = {line.split("+-- ")[1].split()[0] for line in errors.__doc__.splitlines() if "+-- " in line}
    assert drawn | {"PalateError"} == set(errors.__all__)
    codes = {name: getattr(errors, name).exit_code for name in ("ConfigError", "DataError", "EncoderError",
                                                               "MethodError", "StorageError")}  # fmt: skip
    assert codes == {"ConfigError": 2, "DataError": 3, "EncoderError": 4, "MethodError": 5, "StorageError": 6}
    for name, code in codes.items():
        line = next(line for line in errors.__doc__.splitlines() if f" {name} " in line)
        assert f"(exit code {code})" in line


# ---- roles --------------------------------------------------------------------------------------------


def test_a_fifth_of_the_users_validates_and_their_last_rows_are_targets():
    crowd = with_roles(people(users=25, rows=10), seed=0)
    assert (crowd.role == 1).sum() == 5
    assert set(crowd.role) == {0, 1}
    for user in np.flatnonzero(crowd.role == 1):
        own = crowd.split[crowd.offsets[user] : crowd.offsets[user + 1]]
        assert own.tolist() == [0] * 6 + [1] * 4
    assert (crowd.split[crowd.role[crowd.row_user] == 0] == 0).all()


def test_given_roles_and_splits_are_kept():
    crowd = people(users=6, rows=4)
    role = np.array([0, 1, -1, 1, 0, -1, -1], np.int8)
    split = np.full(crowd.n_rows, -1, np.int8)
    split[crowd.row_user == 1] = [1, 0, 0, 0]
    told = with_roles(replace(crowd, role=role, split=split), seed=0)
    assert told.role.tolist() == [0, 1, 0, 1, 0, 0, 0]
    assert told.split[told.row_user == 1].tolist() == [1, 0, 0, 0]
    assert told.split[told.row_user == 3].tolist() == [0, 0, 0, 1]


def test_validation_users_have_rows_and_somebody_is_left_to_train_on():
    rows = list(people(users=2, rows=6))[:2]
    silent = [History(f"silent-{n}") for n in range(12)]
    for seed in range(8):
        told = with_roles(Population.of([*silent, *rows]), seed)
        talkers = told.role[np.diff(told.offsets) > 0]
        assert sorted(talkers) == [0, 1]
    alone = with_roles(Population.of([*silent, rows[0]]), 0)
    assert (alone.role == 0).all()


def test_roles_do_not_change_the_population_that_was_given():
    crowd = people(users=6)
    with_roles(crowd, 0)
    assert (crowd.role == -1).all()
    assert (crowd.split == -1).all()


# ---- fitting and state --------------------------------------------------------------------------------


@dataclass(kw_only=True, eq=False)
class Toy(Method):
    name = "toy"
    value: float = 1.0

    def _learn(self, population):
        self.numbers_ = np.array([self.value])

    def _condense(self, population):
        return np.tile(self.numbers_, (population.n_users, 1))

    def _log_odds(self, vectors, queries):
        return np.zeros(len(queries.options))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_numbers_that_are_not_finite_are_reported(value):
    with pytest.raises(FitDiverged, match="toy: numbers_ is not finite"):
        Toy(value=value).fit(people())


def test_a_failed_refit_leaves_an_unfitted_method():
    toy = Toy().fit(people())
    with pytest.raises(MethodError, match="no choice to learn from"):
        toy.fit(Population.of([History("ann")]))
    assert toy.fitted_
    toy.value = np.nan
    with pytest.raises(FitDiverged):
        toy.fit(people())


def test_state_that_cannot_be_saved_is_reported():
    toy = Toy().fit(people())
    toy.strange_ = object()
    toy.__dict__.pop("_cached_fingerprint", None)
    with pytest.raises(TypeError, match="learned state must be arrays or plain values, got object"):
        _ = toy.fingerprint


def test_the_fingerprint_tells_configuration_and_state_apart():
    one, two = Toy().fit(people()), Toy(value=2.0).fit(people())
    assert one.fingerprint != two.fingerprint
    assert one.fingerprint == Toy().fit(people(seed=3)).fingerprint  # it learns nothing from people


def test_capabilities_are_present_or_absent():
    assert isinstance(build("style"), Describes)
    assert isinstance(build("mixed"), Uncertain)
    assert not isinstance(build("pooled"), Describes)
    assert not isinstance(build("lore"), Uncertain)


# ---- catalogue ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", names())
def test_every_name_is_its_class_and_every_class_says_what_it_is(name):
    cls = find(name)
    assert cls.name == name
    assert issubclass(cls, Method)
    assert cls.__doc__
    assert not cls.__doc__.startswith(f"{cls.__name__}(")
    assert cls.seconds_per_10k > 0
    assert cls.paper or name == "random"


def test_unknown_names_and_fields_are_refused_with_what_there_is():
    with pytest.raises(ConfigError, match=r"there is no method 'mixd'; did you mean 'mixed'\? Known: random"):
        find("mixd")
    with pytest.raises(
        ConfigError, match=r"pooled has no field \['rank'\]; it has \['encoder', 'ridges', 'seed'\]"
    ):
        build("pooled", {"rank": 3})


def test_names_of_the_class_are_not_fields():
    with pytest.raises(ConfigError, match=r"pooled has no field \['name'\]"):
        build("pooled", {"name": "mine"})


def test_common_fields_are_set_where_a_method_has_them():
    assert build("pooled", encoder="lexical+style", seed=4).config["encoder"] == "lexical+style"
    assert build("random", encoder="lexical+style", seed=4).config == {"seed": 4}
    assert build("pooled", {"seed": 1}, seed=4).seed == 1
    assert build("pooled", {"ridges": [3.0]}).ridges == (3.0,)


@pytest.mark.parametrize("name", ["pooled", "individual", "style"])
def test_a_saved_model_is_loaded_by_its_folder(name, tmp_path):
    model = build(name).fit(people())
    back = load(model.save(tmp_path / "model"))
    assert type(back) is type(model)
    assert back.config == model.config
    question = Persona(), "Q", ["Start early.", "A long answer, and more of it."]
    np.testing.assert_array_equal(back.score(*question), model.score(*question))


def test_folders_that_hold_no_model_are_refused(tmp_path):
    model = build("pooled").fit(people())
    with pytest.raises(StorageError, match=r"holds no model that `palate fit` wrote"):
        load(tmp_path / "nowhere")
    for damage in ("model.json", "state.npz"):
        folder = model.save(tmp_path / f"damaged-{damage}")
        whole = (folder / damage).read_bytes()
        (folder / damage).write_bytes(whole[: len(whole) // 2])
        with pytest.raises(StorageError, match=r"holds no model that `palate fit` wrote"):
            load(folder)
    other = model.save(tmp_path / "other")
    head = (other / "model.json").read_text().replace('"version": 1', '"version": 99')
    (other / "model.json").write_text(head)
    with pytest.raises(
        StorageError, match=r"was saved by version 99 of pooled.*fit it again with `palate fit`"
    ):
        load(other)


def test_a_model_that_cannot_be_written_is_reported(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match="cannot save the model in"):
        build("random").fit(people()).save(tmp_path / "file" / "model")
