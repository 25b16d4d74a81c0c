"""Recipes: what is read, and one clear line for everything that cannot be followed."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from small_models import write_recipe

from pplava_core.errors import RecipeError, UsageError
from pplava_core.train.recipe import Data, Optimiser, Recipe, read_recipe

CONFIGS = Path(__file__).parents[1] / "configs"


@pytest.fixture
def refused(tmp_path):
    """Write a recipe with changes, and return the line with which it is refused."""

    def refuse(*, drop=(), **changes) -> str:
        path = write_recipe(tmp_path / "recipe.toml", drop=drop, **changes)
        with pytest.raises(RecipeError) as caught:
            read_recipe(path)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    return refuse


def test_a_recipe_is_read_into_its_fields(tmp_path):
    path = write_recipe(
        tmp_path / "recipe.toml", optimiser={"learning_rate": 1, "clip_norm": 2}, precision="bf16"
    )
    recipe = read_recipe(path)
    assert recipe.stage == "align"
    assert recipe.seed == 3
    assert recipe.precision == "bf16"
    assert recipe.optimiser == Optimiser(learning_rate=1.0, clip_norm=2.0, warmup_steps=2)
    assert isinstance(recipe.optimiser.learning_rate, float)
    assert recipe.data.clips_per_step == 2
    assert recipe.data.codec_share == Data().codec_share
    assert recipe.model["tower"]["stem_channels"] == [4, 8, 16]
    assert recipe.text == path.read_text()


@pytest.mark.parametrize(
    ("name", "stage"),
    [
        ("align", "align"),
        ("instruct", "instruct"),
        ("align-more", "align"),
        ("tally", "tally"),
        ("more", "instruct"),
    ],
)
def test_the_recipes_that_ship_can_be_read(name, stage):
    assert read_recipe(CONFIGS / f"nano-{name}.toml").stage == stage


def test_the_second_shipped_recipe_starts_where_the_first_one_ends():
    first, second = (read_recipe(CONFIGS / f"nano-{stage}.toml") for stage in ("align", "instruct"))
    assert second.initial == f"{first.output}/model"
    assert second.seed == first.seed


@pytest.mark.parametrize("stage", ["align-more", "tally"])
def test_what_learns_on_begins_with_what_ships(stage):
    recipe = read_recipe(CONFIGS / f"nano-{stage}.toml")
    assert recipe.initial == "pplava_core/models/embedded/nano"


def test_what_learns_on_goes_from_one_recipe_to_the_next():
    tally, more, things = (
        read_recipe(CONFIGS / f"nano-{stage}.toml") for stage in ("tally", "more", "things")
    )
    assert things.initial == f"{more.output}/model"
    assert tally.initial == more.initial
    assert tally.data.features == more.data.features
    assert len({tally.seed, more.seed, things.seed}) == 3


def test_overrides_replace_the_files_values(tmp_path):
    path = write_recipe(tmp_path / "recipe.toml")
    recipe = read_recipe(path, overrides={"seed": 8, "output": "elsewhere"})
    assert recipe.seed == 8
    assert recipe.output == "elsewhere"


def test_an_override_of_none_leaves_the_files_value(tmp_path):
    recipe = read_recipe(write_recipe(tmp_path / "recipe.toml"), overrides={"seed": None})
    assert recipe.seed == 3


def test_another_seed_is_another_recipe_and_another_folder_is_not(tmp_path):
    path = write_recipe(tmp_path / "recipe.toml")
    plain = read_recipe(path)
    assert read_recipe(path, overrides={"seed": 3}).text == plain.text
    assert read_recipe(path, overrides={"output": "elsewhere"}).text == plain.text
    assert read_recipe(path, overrides={"seed": 8}).text != plain.text


def test_pairs_lie_relative_to_the_recipe(tmp_path):
    data = {"source": "pairs", "path": "pairs.jsonl"}
    recipe = read_recipe(write_recipe(tmp_path / "recipe.toml", data=data))
    assert recipe.data.path == str(tmp_path / "pairs.jsonl")


def test_unknown_keys_are_named_with_those_that_are_known(refused):
    line = refused(stepz=5)
    assert "'stepz'" in line
    assert "steps" in line
    assert "learning_rte" in refused(optimiser={"learning_rte": 1.0})
    assert "[data]" in refused(data={"clip": 1})
    assert "'text'" in refused(text="x")


@pytest.mark.parametrize(
    ("key", "value", "wanted"),
    [
        ("steps", "many", "int"),
        ("steps", 2.5, "int"),
        ("steps", True, "int"),
        ("output", 3, "str"),
        ("seed", "x", "int"),
        ("model", "nano", "dict"),
        ("stage", ["align"], "str"),
    ],
)
def test_a_value_of_the_wrong_type_is_refused(refused, key, value, wanted):
    line = refused(**{key: value})
    assert key in line
    assert repr(value) in line
    assert f"of type {wanted}" in line


def test_values_of_the_wrong_type_in_tables_are_refused(refused):
    assert "float" in refused(optimiser={"learning_rate": "fast"})
    assert "bool" in refused(data={"masks": 1})
    assert "str" in refused(data={"path": 4})
    assert "must be a table" in refused(optimiser=3)
    assert "str" in refused(initial=5)


def test_missing_keys_are_named(refused):
    assert "missing 'steps'" in refused(drop=("steps",))
    line = refused(drop=("optimiser", "output"))
    assert "'optimiser'" in line
    assert "'output'" in line
    assert "learning_rate" in refused(drop=("optimiser.learning_rate",))


def test_either_an_initial_model_or_a_model_table(refused):
    assert "not both" in refused(initial="runs/model")
    assert "either" in refused(drop=("model",))


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"stage": "dream"}, "align, align_base, things, tally, instruct"),
        ({"precision": "fp7"}, "bf16"),
        ({"steps": 0}, "steps is 0"),
        ({"evaluate_every": 0}, "evaluate_every is 0"),
        ({"save_every": -1}, "save_every is -1"),
        ({"log_every": 0}, "log_every is 0"),
        ({"seed": -1}, "seed is -1"),
        ({"optimiser": {"accumulation": 0}}, "accumulation"),
        ({"optimiser": {"learning_rate": 0.0}}, "learning_rate"),
        ({"optimiser": {"learning_rate": -1.0}}, "learning_rate"),
        ({"optimiser": {"warmup_steps": -5}}, "warmup_steps"),
        ({"data": {"source": "dreams"}}, "shapes, pairs"),
        ({"data": {"source": "pairs"}}, "data.path"),
        ({"data": {"clips_per_step": 0}}, "clips_per_step"),
        ({"data": {"codec_share": 1.5}}, "codec_share"),
        ({"data": {"still_share": -0.1}}, "still_share"),
        ({"data": {"crowd_share": 1.1}}, "crowd_share"),
        ({"stage": "instruct", "data": {"source": "pairs", "path": "x"}}, "instruct"),
        ({"stage": "things", "data": {"source": "pairs", "path": "x"}}, "the things stage"),
        ({"stage": "things"}, "the things stage needs `initial`"),
        ({"stage": "things", "changes": {"tells_list": True}}, "[changes] table belongs"),
        ({"model": {"vocab_size": "big"}}, "vocab_size"),
        ({"keep_learned": True}, "keep_learned belongs to a [changes] table"),
    ],
)
def test_values_that_make_no_sense_are_refused(refused, changes, part):
    assert part in refused(**changes)


def test_a_rate_that_is_no_number_is_refused():
    with pytest.raises(RecipeError, match="learning_rate"):
        Optimiser(learning_rate=math.nan)


def test_a_file_that_is_not_toml(tmp_path):
    path = tmp_path / "recipe.toml"
    path.write_text("stage = \nwhat is this")
    with pytest.raises(RecipeError, match="is not TOML") as caught:
        read_recipe(path)
    assert "\n" not in str(caught.value)
    path.write_bytes(b"stage = '\xff\xfe'")
    with pytest.raises(RecipeError, match="is not TOML"):
        read_recipe(path)


def test_a_missing_file_and_a_folder(tmp_path):
    with pytest.raises(RecipeError, match="No such file") as caught:
        read_recipe(tmp_path / "absent.toml")
    assert "absent.toml" in str(caught.value)
    with pytest.raises(RecipeError, match="directory"):
        read_recipe(tmp_path)


def test_a_refused_recipe_is_a_usage_error():
    assert issubclass(RecipeError, UsageError)


def test_recipes_can_be_made_without_a_file():
    recipe = Recipe(
        stage="align",
        output="run",
        steps=1,
        initial="model",
        optimiser=Optimiser(learning_rate=1e-3),
    )
    assert recipe.data == Data()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"changes": {"weighting": "window"}}, "with an `initial`"),
        ({"data": {"still_share": 0.5, "long_share": 0.5}}, "usual length"),
        ({"data": {"scenes_seed": -1}}, "scenes_seed"),
        ({"data": {"relevance": "mood"}}, "relevance"),
        ({"data": {"relevance": "shuffled", "clips_per_step": 1}}, "shuffled"),
    ],
)
def test_settings_of_the_second_stage_that_make_no_sense(tmp_path, changes, words):
    with pytest.raises(RecipeError, match=words):
        read_recipe(write_recipe(tmp_path / "recipe.toml", **changes))


def test_what_belongs_to_the_aligned_model_cannot_be_changed(tmp_path):
    path = write_recipe(
        tmp_path / "recipe.toml",
        drop=("model",),
        stage="instruct",
        initial="x",
        changes={"tower": {"places": [1, 1, 1]}},
    )
    with pytest.raises(RecipeError, match="instruct stage cannot change tower"):
        read_recipe(path)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"changes": {"tower": {"fold": 2}}}, "needs keep_learned"),
        ({"changes": {"llm": {}}, "keep_learned": True}, "align stage cannot change llm"),
        ({"changes": {"weighting": "literal"}, "keep_learned": True}, "cannot change weighting"),
        ({"changes": {"tower": 2}, "keep_learned": True}, "tower must be a table"),
    ],
)
def test_the_first_stage_changes_pixels_and_tower_and_keeps_the_rest(tmp_path, changes, words):
    path = write_recipe(tmp_path / "recipe.toml", drop=("model",), initial="x", **changes)
    with pytest.raises(RecipeError, match=words):
        read_recipe(path)
