"""Recipes: every one makes a method with the fields it names, and says what people need to know."""

import pytest

from palate.catalogue import build
from palate.core import ConfigError
from palate.tune.recipe import load_recipe, recipes


@pytest.mark.parametrize("name", recipes())
def test_every_recipe_makes_its_method(name):
    recipe = recipes()[name]
    method = build(recipe.method, recipe.fields)
    assert method.config["model"] == recipe.fields["model"]
    for key, value in recipe.fields.items():
        kept = method.config[key]
        assert type(kept) is type(value) or isinstance(kept, (tuple, float)), (key, value, kept)


@pytest.mark.parametrize("name", recipes())
def test_every_recipe_says_what_it_needs(name):
    recipe = recipes()[name]
    assert all((recipe.title, recipe.source, recipe.data, recipe.needs, recipe.hours, recipe.published))


def test_a_recipe_of_ones_own(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("method: popi\nfields:\n  told: raw\n", encoding="utf-8")
    assert load_recipe(str(file)).fields == {"told": "raw"}
    file.write_text("method: popi\nfields: {}\nfiles: x\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="files"):
        load_recipe(str(file))
    file.write_text("just words", encoding="utf-8")
    with pytest.raises(ConfigError, match="needs a method and its fields"):
        load_recipe(str(file))
    with pytest.raises(ConfigError, match="no recipe 'popi-elx'"):
        load_recipe("popi-elx")
