"""The whole model at a very small width: tokens, relevance, and what a cache may not change."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from small_models import GRID_SIZE, PICTURE_SIZE, WIDTH, small_model

from pplava_core.errors import ShapeError, UsageError
from pplava_core.models.language.generation import Generation, generate_ids
from pplava_core.models.language.words import VISUAL_ID, pad_rows
from pplava_core.models.videolm import WEIGHTINGS
from pplava_core.types import Clip, ClipSource
from pplava_core.window import Window

QUESTIONS = ["how many objects are there?", "where is the red circle?", "blue?"]


POOLINGS = tuple(weighting for weighting in WEIGHTINGS if weighting != "native")


@pytest.fixture(scope="module")
def model():
    return small_model(seed=2)


def some_features(count=1, frames=4, rows=GRID_SIZE, columns=GRID_SIZE, *, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, frames, rows, columns, WIDTH, generator=generator)


def prompt_of(model, features, question, **pooling):
    tokens = model.visual_tokens(features, model.relevance(features, [question]), **pooling).tokens
    return model.prompt_embeddings(tokens, torch.tensor([model.prompt_ids(question)]))


def answer_without_cache(model, embeddings, count):
    """Write greedily by reading the whole text anew for every token."""
    ids = []
    embed = model.llm.get_input_embeddings()
    for _ in range(count):
        logits = model.llm(inputs_embeds=embeddings, use_cache=False).logits[0, -1]
        chosen = int(logits.argmax())
        if chosen == model.words.end_id:
            break
        ids.append(chosen)
        embeddings = torch.cat([embeddings, embed(torch.tensor([[chosen]]))], dim=1)
    return ids


@torch.inference_mode()
def test_writing_with_a_cache_equals_writing_without(model):
    settings = Generation(max_new_tokens=12)
    answers = set()
    for seed in range(5):
        prompt = prompt_of(model, some_features(seed=seed), QUESTIONS[seed % 3])
        cached = list(
            generate_ids(model.llm, prompt, settings=settings, end_ids=model.words.end_ids)
        )
        assert cached == answer_without_cache(model, prompt, 12)
        answers.add(tuple(cached))
    assert len(answers) > 1


WINDOWS = [
    Window((2, 2, 2)),
    Window((1, 3, 3)),
    Window((3, 5, 4)),
    Window((2, 3, 2), (1, 2, 1)),
    Window((2, 2, 2), (3, 3, 3)),
    Window((4, 6, 6)),
    Window((1, 1, 1)),
]


@torch.inference_mode()
@pytest.mark.parametrize("weighting", POOLINGS)
@pytest.mark.parametrize("window", WINDOWS, ids=str)
def test_every_weighting_leaves_as_many_tokens_as_the_window(model, weighting, window):
    features = some_features(2)
    relevance = model.relevance(features, QUESTIONS[:2])
    visual = model.visual_tokens(features, relevance, window=window, weighting=weighting)
    size = (4, 6, 6)
    if weighting != "none":
        size = window.output_size(size)
    assert visual.tokens.shape == (2, math.prod(size), WIDTH)
    assert visual.tokens.isfinite().all()


@torch.inference_mode()
@pytest.mark.parametrize("weighting", POOLINGS)
def test_several_questions_about_a_clip_share_its_grid(weighting):
    told = {"tells_average": True, "tells_count": True, "tells_list": True}
    model = small_model(seed=2, tells_magnitude=True, **told)
    torch.nn.init.normal_(model.parts.things.read[-1].weight)
    torch.nn.init.normal_(model.parts.tally.tell_held.weight)
    clips, clip_of = some_features(2), torch.tensor([1, 0, 1])
    relevance = model.relevance(clips[clip_of], QUESTIONS)
    read = []
    model.parts.things.register_forward_pre_hook(lambda _, inputs: read.append(len(inputs[0])))
    shared = model.visual_tokens(clips, relevance, weighting=weighting, clip_of=clip_of)
    apart = model.visual_tokens(clips[clip_of], relevance, weighting=weighting)
    torch.testing.assert_close(shared.tokens, apart.tokens)
    assert not torch.allclose(shared.tokens[0], shared.tokens[1])
    known = model.read_things(clips)
    assert read == [2, 3, 2]
    again = model.visual_tokens(
        clips, relevance, weighting=weighting, clip_of=clip_of, things=known
    )
    assert torch.equal(again.tokens, shared.tokens)
    assert read == [2, 3, 2]


@torch.inference_mode()
@pytest.mark.parametrize("shape", [(1, 6, 6), (5, 6, 6), (3, 2, 9), (33, 6, 6)])
def test_grids_of_other_sizes_fit(model, shape):
    features = some_features(1, *shape)
    relevance = model.relevance(features, QUESTIONS[:1])
    window = model.config.window.fitted(shape)
    visual = model.visual_tokens(features, relevance, window=window)
    assert visual.tokens.shape[1] == math.prod(window.output_size(shape))


@torch.inference_mode()
def test_the_configs_window_and_weighting_are_the_default(model):
    features = some_features()
    relevance = model.relevance(features, QUESTIONS[:1])
    plain = model.visual_tokens(features, relevance)
    named = model.visual_tokens(
        features, relevance, window=model.config.window, weighting=model.config.weighting
    )
    assert torch.equal(plain.tokens, named.tokens)
    assert plain.block_sizes == (18,)


@torch.inference_mode()
def test_no_pooling_equals_windows_of_one_patch(model):
    features = some_features()
    relevance = model.relevance(features, QUESTIONS[:1])
    none = model.visual_tokens(features, None, weighting="none")
    one = model.visual_tokens(features, None, window=Window((1, 1, 1)), weighting="average")
    assert torch.equal(none.tokens, one.tokens)
    shared = model.visual_tokens(features, relevance, window=Window((1, 1, 1)), weighting="window")
    assert torch.allclose(none.tokens, shared.tokens, atol=1e-5)


@torch.inference_mode()
def test_weightings_differ(model):
    features = some_features()
    relevance = model.relevance(features, QUESTIONS[:1])
    made = [
        model.visual_tokens(features, relevance, weighting=weighting).tokens
        for weighting in POOLINGS
        if weighting != "none"
    ]
    for number, one in enumerate(made):
        for other in made[:number]:
            assert not torch.allclose(one, other, atol=1e-4)


@torch.inference_mode()
def test_tokens_know_where_they_lie(model):
    features = some_features()[:, :1, :1, :1].expand(1, 4, 6, 6, WIDTH)
    tokens = model.visual_tokens(features, None, weighting="average").tokens[0]
    assert len({tuple(row) for row in tokens.round(decimals=4).tolist()}) == len(tokens)


@torch.inference_mode()
def test_relevance_is_a_share_and_depends_on_the_text(model):
    features = some_features(3)
    shares = model.relevance(features, QUESTIONS)
    assert shares.shape == (3, 4, 6, 6)
    assert shares.dtype == torch.float32
    assert shares.sum((1, 2, 3)) == pytest.approx([1.0] * 3, abs=1e-5)
    assert (shares >= 0).all()
    same = features[:1].expand(3, -1, -1, -1, -1)
    others = model.relevance(same, QUESTIONS)
    assert not torch.allclose(others[0], others[1])
    assert not torch.allclose(others[1], others[2])


@torch.inference_mode()
def test_a_batch_equals_one_by_one(model):
    features = some_features(3)
    together = model.relevance(features, QUESTIONS)
    tokens = model.visual_tokens(features, together).tokens
    for number, question in enumerate(QUESTIONS):
        one = features[number : number + 1]
        alone = model.relevance(one, [question])
        assert torch.allclose(alone[0], together[number], atol=1e-6)
        assert torch.allclose(model.visual_tokens(one, alone).tokens[0], tokens[number], atol=1e-5)


def clip_of(frames, size=PICTURE_SIZE):
    pictures = np.random.default_rng(frames).integers(0, 256, (frames, size, size, 3), np.uint8)
    source = ClipSource(
        paths=("film.mp4",),
        kind="video" if frames > 1 else "image",
        width=size,
        height=size,
        frame_count=frames,
        fps=1.0,
        duration_seconds=float(frames),
        start_seconds=0.0,
        stop_seconds=float(frames),
        reader="pyav",
        indices=tuple(range(frames)),
    )
    return Clip(frames=pictures, seconds=np.arange(frames) + 0.5, source=source)


def test_many_frames_are_encoded_a_few_at_a_time(model):
    clip = clip_of(37)
    calls = []
    grid = model.encode(clip, lambda done, total: calls.append((done, total)))
    assert grid.features.shape == (37, GRID_SIZE, GRID_SIZE, WIDTH)
    assert calls == [(16, 37), (32, 37), (37, 37)]
    assert grid.source == clip.source
    assert (grid.seconds == clip.seconds).all()
    pictures = torch.from_numpy(clip.frames[20:21]).permute(0, 3, 1, 2)
    with torch.inference_mode():
        assert torch.allclose(grid.features[20], model.parts.tower(pictures)[0], atol=1e-5)


@torch.inference_mode()
def test_a_single_picture_is_a_clip_of_one_frame(model):
    grid = model.encode(clip_of(1))
    features = grid.features[None]
    relevance = model.relevance(features, QUESTIONS[:1])
    tokens = model.visual_tokens(features, relevance, window=model.config.image_window)
    assert tokens.block_sizes == (9,)


def test_frames_of_another_size_are_refused(model):
    with pytest.raises(ShapeError, match="48"):
        model.encode(clip_of(2, size=32))


@torch.inference_mode()
def test_what_does_not_fit_is_refused(model):
    features = some_features()
    relevance = model.relevance(features, QUESTIONS[:1])
    with pytest.raises(ShapeError):
        model.visual_tokens(features, relevance, window=Window((5, 1, 1)))
    with pytest.raises(UsageError, match="unknown weighting 'guess'"):
        model.visual_tokens(features, relevance, weighting="guess")


@torch.inference_mode()
def test_padding_of_texts_changes_nothing(model):
    alone = model.embed_texts(["blue?"])
    padded = model.embed_texts(
        ["blue?", "how many large and small objects are there in all of it?"]
    )
    assert torch.allclose(alone[0], padded[0], atol=1e-6)


@torch.inference_mode()
def test_a_very_long_question_is_cut_for_the_text_tower(model):
    assert model.embed_texts(["where is it? " * 200]).shape == (1, WIDTH)


def test_a_prompt_holds_the_turns_before_it(model):
    plain = model.prompt_ids("what?")
    with_history = model.prompt_ids("what?", [("where?", "top left")])
    assert plain[:2] == with_history[:2] == [model.words.start_id, VISUAL_ID]
    plain, with_history = plain[2:], with_history[2:]
    assert with_history[-len(plain) :] == plain
    text = model.words.tokenizer.decode(with_history, skip_special_tokens=False)
    asked = [text.index(part) for part in ("where?", "top left", "<end>", "what?", "<assistant>")]
    assert asked[:4] == sorted(asked[:4])
    assert plain[0] == model.words.tokenizer.token_to_id("<user>")
    assert plain[-1] == model.words.tokenizer.token_to_id("<assistant>")


def test_rows_are_padded_on_the_right():
    ids, mask = pad_rows([[5, 6], [7], [8, 9, 10]], 0)
    assert ids.tolist() == [[5, 6, 0], [7, 0, 0], [8, 9, 10]]
    assert mask.tolist() == [[True, True, False], [True, False, False], [True] * 3]
