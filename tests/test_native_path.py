"""Off means off: with the native pooling, a model's logits are those of transformers' own class.

The reference takes transformers' own road, from its processor to its model; ours goes from a
file through a session. Both get the same words.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest
import tiny_checkpoints as tiny
import torch
from PIL import Image
from small_models import write_clip

from pplava_core import media
from pplava_core.errors import UsageError
from pplava_core.feature_cache import FeatureCache
from pplava_core.models.checkpoint import load_model
from pplava_core.models.language.generation_settings import Generation
from pplava_core.models.language.words import VISUAL_ID
from pplava_core.session import PoolingChoice, Session
from pplava_core.types import Sampling

SHORT = Generation(max_new_tokens=2)
QUESTION = "how many red circles are there?"
SIZES = [(40, 40), (60, 131), (97, 45), (33, 200), (128, 101)]
"Height and width: one tile, wide, tall, very wide, nearly square."


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("native")
    made = {name: tiny.write_llava_next(root / name, text_type=name) for name in ("llama", "qwen2")}
    made["mistral"] = tiny.write_llava_next(root / "mistral", text_type="mistral")
    made["onevision"] = tiny.write_llava_onevision(root / "onevision")
    made["onevision_short"] = tiny.write_llava_onevision(root / "short", max_tiles=2)
    return made


@pytest.fixture(scope="module")
def model_of(folders):
    return {name: load_model(folder) for name, folder in folders.items()}.__getitem__


def write_pictures(folder, sizes):
    paths = []
    for number, (height, width) in enumerate(sizes):
        values = np.random.default_rng(number).integers(0, 256, (height, width, 3))
        paths.append(folder / f"{number}.png")
        Image.fromarray(values.astype(np.uint8)).save(paths[-1])
    return paths


def our_logits(model, paths, **options):
    session = Session.open(paths, model, native=True, **options)
    visual = session._native_tokens()
    kind = session.source.kind
    ids = model.prompt_ids(QUESTION, kind=kind, blocks=len(visual.block_sizes))
    embeddings = model.prompt_embeddings(visual.tokens, torch.tensor([ids]), visual.block_sizes)
    assert session.token_count(PoolingChoice(weighting="native")) == visual.tokens.shape[1]
    with torch.inference_mode():
        return model.llm(inputs_embeds=embeddings).logits, ids


@lru_cache(maxsize=2)
def their_model(folder):
    from transformers import AutoModelForImageTextToText

    return AutoModelForImageTextToText.from_pretrained(folder).eval()


def their_logits(folder, text, *, pictures=None, film=None):
    """Go transformers' own road: its processor, its model."""
    model = their_model(folder)
    images = None if pictures is None else [Image.open(path) for path in pictures]
    if model.config.model_type == "llava_onevision":
        images = images and [images]
    inputs = processor_of(folder, model.config)(
        text=text, images=images, videos=film, return_tensors="pt"
    )
    with torch.inference_mode():
        return model(**inputs).logits, inputs["input_ids"][0].tolist()


def processor_of(folder, config):
    """Put transformers' processor together, with the picture processors that read with Pillow."""
    from transformers import (
        AutoTokenizer,
        LlavaNextImageProcessorPil,
        LlavaNextProcessor,
        LlavaOnevisionImageProcessorPil,
        LlavaOnevisionProcessor,
        LlavaOnevisionVideoProcessor,
    )

    tokenizer = AutoTokenizer.from_pretrained(folder)
    if config.model_type == "llava_next":
        return LlavaNextProcessor(
            LlavaNextImageProcessorPil.from_pretrained(folder),
            tokenizer,
            patch_size=tiny.PATCH,
            vision_feature_select_strategy="default",
            num_additional_image_tokens=1,
        )
    return LlavaOnevisionProcessor(
        LlavaOnevisionImageProcessorPil.from_pretrained(folder),
        tokenizer,
        LlavaOnevisionVideoProcessor.from_pretrained(folder),
        num_image_tokens=tiny.SIGLIP_GRID**2,
        vision_feature_select_strategy="full",
        vision_aspect_ratio=config.vision_aspect_ratio,
    )


def assert_same(folder, model, paths, *, film=None, kind, **options):
    ours, ids = our_logits(model, paths, **options)
    text = model.words.template.render(QUESTION, visuals=ids.count(VISUAL_ID), kind=kind)
    if film is None:
        theirs, their_ids = their_logits(folder, text, pictures=paths)
    else:
        theirs, their_ids = their_logits(folder, text.replace("<image>", "<video>"), film=film)
    place = model.llm.config.image_token_id if film is None else model.llm.config.video_token_id
    assert [one for one in their_ids if one != place] == [one for one in ids if one != VISUAL_ID]
    assert ours.shape == theirs.shape
    assert theirs.std() > 0.1
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4)


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize("name", ["llama", "onevision", "onevision_short"])
def test_picture(name, size, folders, model_of, tmp_path):
    paths = write_pictures(tmp_path, [size])
    assert_same(folders[name], model_of(name), paths, kind="image")


@pytest.mark.parametrize("name", ["mistral", "qwen2"])
def test_other_language_models(name, folders, model_of, tmp_path):
    paths = write_pictures(tmp_path, [(60, 131)])
    assert_same(folders[name], model_of(name), paths, kind="image")


@pytest.mark.parametrize("name", ["llama", "qwen2", "onevision"])
def test_set_of_pictures(name, folders, model_of, tmp_path):
    paths = write_pictures(tmp_path, SIZES)
    assert_same(folders[name], model_of(name), paths, kind="images")


@pytest.mark.parametrize("count", [1, 3, 8])
def test_film(count, folders, model_of, tmp_path):
    path, sampling = write_clip(tmp_path / "film.mp4"), Sampling(num_frames=count)
    frames = media.load_clip(path, sampling=sampling, pixels=None).frames
    film = [torch.from_numpy(frames).permute(0, 3, 1, 2)]
    model = model_of("onevision")
    assert_same(folders["onevision"], model, [path], film=film, kind="video", sampling=sampling)


def test_llava_next_has_no_path_for_films(model_of, tmp_path):
    session = Session.open([write_clip(tmp_path / "film.mp4")], model_of("llama"), native=True)
    with pytest.raises(UsageError, match="no path of its own for films"):
        session.ask(QUESTION, pooling=PoolingChoice(weighting="native"))


def test_the_two_ways_to_open_a_clip_are_kept_apart(model_of, tmp_path):
    cache, paths = FeatureCache(tmp_path / "cache"), write_pictures(tmp_path, SIZES[1:3])
    native, pooled = PoolingChoice(weighting="native"), PoolingChoice(weighting="average")
    model = model_of("llama")
    for choice, other in ((native, pooled), (pooled, native)):
        wanted = choice is native
        for from_cache in (False, True):
            session = Session.open(paths, model, cache=cache, native=wanted)
            assert session.from_cache == from_cache
            answer = session.ask(QUESTION, pooling=choice, generation=SHORT)
            assert answer.token_count == session.token_count(choice)
            with pytest.raises(UsageError, match=f"native={not wanted}"):
                session.ask(QUESTION, pooling=other)
            assert len(session.seconds) == len(session.clip().frames) == 2
            assert bool(session.source.tile_counts) == wanted


def test_a_single_picture_is_cut_alike_for_both(model_of, tmp_path):
    cache, paths = FeatureCache(tmp_path / "cache"), write_pictures(tmp_path, SIZES[1:2])
    model = model_of("onevision")
    for number, weighting in enumerate(("native", "average", "none")):
        choice = PoolingChoice(weighting=weighting)
        session = Session.open(paths, model, cache=cache, native=weighting == "native")
        assert session.from_cache == (number > 0)
        answer = session.ask(QUESTION, pooling=choice, generation=SHORT)
        assert answer.token_count == session.token_count(choice)
        assert session.source.picture_sizes == ((60, 131),)
        assert session.source.tile_counts == (len(session.grid.features),)
