"""LLaVA-Video as lmms-lab publishes it: other names, a flat configuration, SigLIP beside it."""

from __future__ import annotations

import numpy as np
import pytest
import tiny_checkpoints as tiny
import torch
from original_layout import tower_from_siglip, write_original
from PIL import Image
from small_models import write_clip

from pplava_core.errors import ModelError
from pplava_core.models.checkpoint import describe_model, load_model
from pplava_core.models.language.generation_settings import Generation
from pplava_core.models.language.words import VISUAL_ID
from pplava_core.session import PoolingChoice, Session

NATIVE = PoolingChoice(weighting="native")
THETA = {"rope_parameters": {"rope_type": "default", "rope_theta": 1e6}}


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    root = tmp_path_factory.mktemp("sources")
    siglip = tiny.write_siglip(root / "siglip")
    onevision = tiny.write_llava_onevision(root / "onevision", **THETA)
    tower_from_siglip(onevision, siglip)
    return onevision, siglip


@pytest.fixture
def original(sources, tmp_path):
    def write(**options):
        return write_original(*sources, tmp_path / "original", **options)

    return write


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    folder = tmp_path_factory.mktemp("films")
    noise = np.random.default_rng(4).integers(0, 256, (60, 131, 3)).astype(np.uint8)
    Image.fromarray(noise).save(folder / "picture.png")
    return [write_clip(folder / "film.mp4"), folder / "picture.png"]


@torch.inference_mode()
def logits(model, path, weighting):
    session = Session.open([path], model, native=weighting == "native")
    choice = PoolingChoice(weighting=weighting)
    visual = model.visual_tokens(
        session.grid.features[None],
        None,
        window=session.window_for(choice),
        weighting=weighting,
        source=session.source,
    )
    return model.llm(inputs_embeds=visual.tokens).logits


@pytest.mark.parametrize("tower", ["own", "whole", "none"])
def test_logits_are_those_of_the_same_model_in_transformers_layout(tower, sources, original, films):
    known, loaded = load_model(sources[0]), load_model(original(tower=tower))
    assert loaded.config.template == "llava_video"
    assert loaded.config.is_base
    # OneVision's own folder has other statistics for films
    assert loaded.config.tower["image_mean"] == known.config.tower["image_mean"]
    known.config.tower.pop("video_mean")
    for path in films:
        for weighting in ("native", "average"):
            expected = logits(known, path, weighting)
            assert expected.std() > 0.1
            torch.testing.assert_close(logits(loaded, path, weighting), expected, rtol=0, atol=0)


def test_it_answers_guided_by_the_siglip_beside_it(original, films):
    model = load_model(original(tower="none"))
    assert model.aligner.context_length == 196
    answer = Session.open([films[0]], model).ask(
        "a red circle?", generation=Generation(max_new_tokens=3)
    )
    assert answer.evidence


def test_its_tokenizer_has_no_word_for_a_picture(sources, original):
    loaded, known = load_model(original()), load_model(sources[0])
    for kind, blocks in (("video", 1), ("images", 3)):
        ids = loaded.prompt_ids("what? <image>", [("a?", "b.")], kind=kind, blocks=blocks)
        assert sum(token == VISUAL_ID for token in ids) == blocks
        known.words.template = loaded.words.template
        assert ids == known.prompt_ids("what? <image>", [("a?", "b.")], kind=kind, blocks=blocks)
    assert loaded.words.end_ids >= {loaded.words.tokenizer.convert_tokens_to_ids("<|im_end|>")}


@torch.inference_mode()
@pytest.mark.parametrize("where", ["grid", "frame", "one_token", "no_token"])
def test_newlines_of_films_are_where_the_folder_says(where, original, films):
    model = load_model(original(mm_newline_position=where))
    session = Session.open([films[0]], model, native=True)
    tokens = session._native_tokens().tokens[0]
    newline = model.llm.model.image_newline
    grid = model.llm.model.multi_modal_projector(session.grid.features.flatten(1, 2))
    pooled = model.llm.model.apply_pooling(grid)
    expected = []
    for frame in pooled.unflatten(1, (4, 4)):
        for row in frame:
            expected += [*row, *([newline] if where == "grid" else [])]
        expected += [newline] if where == "frame" else []
    expected += [newline] if where == "one_token" else []
    torch.testing.assert_close(tokens, torch.stack(expected), rtol=0, atol=0)


def test_model_type_may_be_another_and_sizes_a_range(sources, original):
    folder = original(model_type="llava", image_grid_pinpoints="(1x1),...,(4x4)")
    assert describe_model(folder).backbone == "llava_video"
    known = load_model(sources[0]).llm.config.image_grid_pinpoints
    assert load_model(folder).llm.config.image_grid_pinpoints == known


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"mm_projector_type": "mlp3x_gelu"}, "mm_projector_type is 'mlp3x_gelu'"),
        ({"mm_spatial_pool_mode": "average"}, "mm_spatial_pool_mode is 'average'"),
        ({"mm_spatial_pool_stride": 4}, "mm_spatial_pool_stride is 4"),
        ({"add_faster_video": True}, "add_faster_video is True"),
        ({"mm_newline_position": "everywhere"}, "mm_newline_position is 'everywhere'"),
        ({"mm_hidden_size": 1024}, "for a tower of width 1024"),
        ({"image_grid_pinpoints": "many"}, "image_grid_pinpoints is 'many'"),
        ({"num_hidden_layers": 3}, "lacks the tensor model.language_model.layers.2"),
        ({"num_hidden_layers": 1}, "unknown tensor model.language_model.layers.1"),
    ],
)
def test_what_it_does_not_compute_is_refused(changes, complaint, original):
    with pytest.raises(ModelError) as caught:
        load_model(original(**changes))
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)


def test_without_the_siglip_the_line_says_where_it_goes(original):
    folder = original(tower="none")
    for path in (folder / "aligner_source").iterdir():
        path.unlink()
    (folder / "aligner_source").rmdir()
    with pytest.raises(ModelError) as caught:
        load_model(folder)
    # the bundled configuration is of the real size
    assert "width" in str(caught.value)
