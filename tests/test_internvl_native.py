"""InternVL without pooling: what the language model gets is what transformers' own class gets.

Ours goes from files through a session; the other side through transformers' processor.
"""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_internvl import write_internvl

from pplava_core import media
from pplava_core.models.checkpoint import load_model
from pplava_core.models.language.generation import Generation
from pplava_core.session import Ask, PoolingChoice, Session
from pplava_core.shapes.film import encode_mp4
from pplava_core.types import Sampling

SIZE, FRAMES = 64, 3
QUESTION = "how many objects are there?"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    import transformers

    folder = write_internvl(tmp_path_factory.mktemp("model") / "tiny", size=SIZE)
    processor = transformers.InternVLProcessor(
        transformers.GotOcr2ImageProcessorPil.from_pretrained(folder),
        transformers.AutoTokenizer.from_pretrained(folder),
        transformers.InternVLVideoProcessor.from_pretrained(folder),
        image_seq_length=256,
        chat_template=(folder / "chat_template.jinja").read_text(),
    )
    theirs = transformers.InternVLForConditionalGeneration.from_pretrained(folder).eval()
    return SimpleNamespace(processor=processor, theirs=theirs, ours=load_model(folder))


def noise(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (*shape, 3), dtype=np.uint8)


def save_picture(path, height, width, seed=0):
    Image.fromarray(noise(height, width, seed=seed)).save(path)
    return path


def expected(tiny, kind, count, **visuals):
    """Return transformers' ids, logits and greedy ids."""
    parts = [{"type": kind}] * count + [{"type": "text", "text": QUESTION}]
    text = tiny.processor.apply_chat_template(
        [{"role": "user", "content": parts}], add_generation_prompt=True
    )
    inputs = tiny.processor(text=text, return_tensors="pt", **visuals)
    with torch.inference_mode():
        logits = tiny.theirs(**inputs).logits
        ids = tiny.theirs.generate(**inputs, max_new_tokens=6, do_sample=False)
    return inputs["input_ids"][0], logits[0], ids[0, inputs["input_ids"].shape[1] :]


def check_equal(tiny, session, wanted, pooling="native"):
    ids, logits, greedy = wanted
    choice = PoolingChoice(weighting=pooling)
    prompt = session._prompt(Ask(question=QUESTION), choice, 6)
    assert prompt.embeddings.shape[1] == len(ids)
    assert prompt.token_count == int((ids == tiny.theirs.config.image_token_id).sum())
    with torch.inference_mode():
        ours = tiny.ours.llm(inputs_embeds=prompt.embeddings).logits[0]
    assert float((ours - logits).abs().max()) <= 1e-4
    answer = session.ask(QUESTION, pooling=choice, generation=Generation(max_new_tokens=6))
    wanted_text = tiny.processor.tokenizer.decode(greedy, skip_special_tokens=True)
    assert answer.text == wanted_text.strip()


@pytest.mark.parametrize(("height", "width", "tiles"), [(64, 200, 4), (150, 90, 7), (33, 30, 1)])
def test_a_picture_is_its_tiles_and_the_whole(tiny, tmp_path, height, width, tiles):
    path = save_picture(tmp_path / "picture.png", height, width)
    session = Session.open([path], tiny.ours, native=True)
    assert session.grid.features.shape == (tiles, 16, 16, 64)
    wanted = expected(tiny, "image", 1, images=[Image.open(path)], crop_to_patches=True)
    check_equal(tiny, session, wanted)
    assert session.token_count(PoolingChoice(weighting="native")) == tiles * 256


def test_a_set_of_pictures_is_cut_each_by_itself(tiny, tmp_path):
    sizes = ((50, 90), (80, 70), (200, 64))
    paths = [
        save_picture(tmp_path / f"{seed}.png", *size, seed=seed) for seed, size in enumerate(sizes)
    ]
    session = Session.open(paths, tiny.ours, native=True)
    assert session.source.tile_counts == (3, 1, 4)
    wanted = expected(tiny, "image", 3, images=[Image.open(path) for path in paths])
    check_equal(tiny, session, wanted)


def test_every_patch_of_a_set_is_a_tile_each(tiny, tmp_path):
    paths = [save_picture(tmp_path / f"{seed}.png", 50, 90, seed=seed) for seed in range(2)]
    session = Session.open(paths, tiny.ours)
    pictures = [Image.open(path) for path in paths]
    wanted = expected(tiny, "image", 2, images=pictures, crop_to_patches=False)
    check_equal(tiny, session, wanted, "none")


@pytest.mark.parametrize("size", [(SIZE, SIZE), (90, 120)])
def test_a_film_is_numbered_frames(tiny, tmp_path, size):
    path = tmp_path / "film.mp4"
    encode_mp4(noise(9, *size), path, fps=4.0)
    sampling = Sampling(num_frames=FRAMES)
    session = Session.open([path], tiny.ours, sampling=sampling, native=True)
    whole = media.load_clip(path, sampling=sampling, pixels=None)
    wanted = expected(tiny, "video", 1, videos=[torch.from_numpy(whole.frames).permute(0, 3, 1, 2)])
    check_equal(tiny, session, wanted)
    if size == (SIZE, SIZE):  # nothing is resized, and every patch is what there is
        check_equal(tiny, Session.open([path], tiny.ours, sampling=sampling), wanted, "none")


def test_other_frames_differ_from_the_processors_by_rounding_alone(tiny, tmp_path):
    path = tmp_path / "film.mp4"
    encode_mp4(noise(4, 90, 120), path, fps=4.0)
    sampling = Sampling(num_frames=2)
    ours = Session.open([path], tiny.ours, sampling=sampling).clip().frames
    theirs = Session.open([path], tiny.ours, sampling=sampling, native=True).preparation.cut
    whole = media.load_clip(path, sampling=sampling, pixels=None)
    resized = np.concatenate([theirs(frame) for frame in whole.frames])
    assert resized.shape == ours.shape
    assert int(np.abs(resized.astype(int) - ours.astype(int)).max()) <= 1
