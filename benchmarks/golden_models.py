"""Whole checkpoints of the authors, as they release them, against what their code makes of inputs.

Everything goes the way that `pplava ask` goes: pictures and words in, `VideoLM` in between.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from golden_checks import Golden
from torch import Tensor

from pplava_core.alignment import cosine_similarity
from pplava_core.media import resize_picture
from pplava_core.models.checkpoint import load_model
from pplava_core.models.language.generation import generate_batch, generate_ids
from pplava_core.models.language.generation_settings import Generation
from pplava_core.models.language.words import VISUAL_ID
from pplava_core.models.videolm import VideoLM
from pplava_core.types import Clip, ClipSource, VisualTokens


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What a model sees of a clip, guided by one text."""

    relevance: Tensor
    cosines: Tensor
    visual: VisualTokens


def check_model(folder: Path, golden: Golden) -> None:
    """Check everything recorded of one model."""
    model = load_model(folder / "checkpoint")
    _check_video(model, golden)
    for run in ("image_wide", "multi_image2", "multi_image3"):
        if f"{run}.logits" in golden.tensors:
            model.parts.reference_axis_quirk = run == "multi_image3"
            _check_pictures(model, golden, run)
    model.parts.reference_axis_quirk = False
    if "batch2.logits" in golden.tensors:
        _check_batch(model, golden)
    if "train.loss" in golden.tensors:
        _check_training(model, golden)


def _check_video(model: VideoLM, golden: Golden) -> None:
    tensors, facts = golden.tensors, golden.facts["video"]
    film = tensors["video.frames_uint8"].numpy()
    frames = np.stack([resize_picture(frame, model.config.pixels) for frame in film])
    size = film.shape[1], film.shape[2]
    golden.near(_scaled(model, frames, "video")[None, :, None], "video.in.pixel_values")
    ids = _check_ids(model, golden, "video", facts["question"], facts["question"])
    seen = _look(model, frames, "video", size, *_text(tensors, "video.in"))
    golden.near(seen.cosines, "video.cosine")
    golden.near(seen.relevance, "video.weights")
    golden.near(seen.visual.tokens, "video.visual_tokens")
    embeddings = model.prompt_embeddings(seen.visual.tokens, ids, seen.visual.block_sizes)
    golden.near(embeddings, "video.inputs_embeds")
    golden.near(model.llm(inputs_embeds=embeddings).logits, "video.logits")
    for name, beams in (("greedy", 1), ("beam5", 5)):
        expected = facts[name]["new_ids"]
        settings = Generation(max_new_tokens=len(expected), beams=beams)
        written = list(
            generate_ids(model.llm, embeddings, settings=settings, end_ids=model.words.end_ids)
        )
        golden.same(written, f"video.{name} ids", expected=_answer(expected, model))


def _check_pictures(model: VideoLM, golden: Golden, run: str) -> None:
    """Check a picture in tiles, or a set of pictures."""
    tensors, facts = golden.tensors, golden.facts[run]
    kind = "image" if run.startswith("image") else "images"
    frames = _as_pictures(model, tensors[f"{run}.in.pixel_values"][0], kind)
    size: tuple[int, int] = tuple(tensors[f"{run}.in.image_sizes"][0].tolist())
    text = facts.get("clip_text", facts.get("question"))
    if kind == "image":
        tiles = model.parts.cut(tensors[f"{run}.image_uint8"].numpy())
        golden.near(_scaled(model, tiles, kind)[None], f"{run}.in.pixel_values")
    question = text.replace("<image> ", "")
    ids = _check_ids(model, golden, run, question, text, kind, len(frames))
    seen = _look(model, frames, kind, size, *_text(tensors, f"{run}.in"))
    expected = tensors[f"{run}.visual_tokens"]
    golden.near(seen.visual.tokens.view_as(expected), f"{run}.visual_tokens")
    embeddings = model.prompt_embeddings(seen.visual.tokens, ids, seen.visual.block_sizes)
    golden.near(model.llm(inputs_embeds=embeddings).logits, f"{run}.logits")


def _check_batch(model: VideoLM, golden: Golden) -> None:
    """Check two films that are answered together."""
    tensors, facts = golden.tensors, golden.facts["batch2"]
    films = (tensors["video.in.pixel_values"][0], tensors["batch2.in.pixel_values_of_sample1"])
    prompts = []
    for number, (pixel_values, question) in enumerate(zip(films, facts["questions"], strict=True)):
        frames = _as_pictures(model, pixel_values[:, 0], "video")
        text = tuple(tensors[f"batch2.in.clip_{part}"][[number]] for part in ("ids", "mask"))
        seen = _look(model, frames, "video", frames.shape[1:3], *text)
        ids = torch.tensor([model.prompt_ids(question)])
        prompts.append(model.prompt_embeddings(seen.visual.tokens, ids)[0])
        logits = model.llm(inputs_embeds=prompts[-1][None]).logits[0]
        expected = tensors["batch2.logits"][number, -len(logits) :]
        golden.near(logits, f"batch2.logits of {number}", expected=expected)
    written = tensors["batch2.generate.greedy"]
    count = written.shape[1] - tensors["batch2.in.input_ids"].shape[1]
    answers = generate_batch(
        model.llm,
        prompts,
        settings=Generation(max_new_tokens=count),
        end_ids=model.words.end_ids,
    )
    for number, (answer, row) in enumerate(zip(answers, written[:, -count:].tolist(), strict=True)):
        golden.same(answer, f"batch2.greedy ids of {number}", expected=_answer(row, model))


def _check_training(model: VideoLM, golden: Golden) -> None:
    """Check tokens, supervised logits and the loss of the authors' training items."""
    tensors = golden.tensors
    places = tensors["train.supervised_index"]
    supervised, predictions, labels = [], [], []
    for number, ids in enumerate(tensors["train.batch.input_ids"]):
        item = f"train.item{number}"
        kind, frames = _training_pictures(model, golden, number)
        size = tuple(tensors[f"{item}.image_sizes"].tolist())
        seen = _look(model, frames, kind, size, *_text(tensors, item))
        expected = tensors[f"train.visual_tokens.{number}"]
        golden.near(seen.visual.tokens.view_as(expected), f"train.visual_tokens.{number}")
        ids = ids[: tensors[f"{item}.input_ids"].shape[0]]
        ids = ids.masked_fill(ids == model.llm.config.image_token_id, VISUAL_ID)[None]
        embeddings = model.prompt_embeddings(seen.visual.tokens, ids, seen.visual.block_sizes)
        own = places[places[:, 0] == number, 1]
        logits = model.llm(inputs_embeds=embeddings).logits[0]
        supervised.append(logits[own])
        predictions.append(logits[own - 1])
        labels.append(tensors["train.merged_labels"][number, own])
    golden.near(torch.cat(supervised), "train.logits_supervised")
    loss = torch.nn.functional.cross_entropy(torch.cat(predictions), torch.cat(labels))
    golden.near(loss[None], "train.loss")


def _training_pictures(model: VideoLM, golden: Golden, number: int) -> tuple[str, np.ndarray]:
    tensors = golden.tensors
    kind = {"video": "video", "image": "image", "multi-image": "images"}[
        golden.facts["train"][f"item{number}"]["media_type"]
    ]
    if kind == "video":
        pixel_values = tensors["video.in.pixel_values"][0, :, 0]
    else:
        pixel_values = tensors[f"train.item{number}.pixel_values"].flatten(0, 1)
    return kind, _as_pictures(model, pixel_values, kind)


def _check_ids(
    model: VideoLM,
    golden: Golden,
    run: str,
    question: str,
    text: str,
    kind: Any = "video",
    blocks: int = 1,
) -> Tensor:
    """Check a prompt's ids and the text tower's; return the prompt's, with its places."""
    ids = torch.tensor(
        [model.prompt_ids(question, kind=kind, blocks=blocks if kind == "images" else 1)]
    )
    golden.same(
        ids.masked_fill(ids == VISUAL_ID, model.llm.config.image_token_id), f"{run}.in.input_ids"
    )
    assert model.aligner is not None
    length = model.aligner.context_length
    clip_ids, _ = model.words.alignment_ids([text], length)
    expected = golden.tensors[f"{run}.in.clip_ids"]
    golden.same(clip_ids, f"{run}.in.clip_ids", expected=expected[:, : clip_ids.shape[1]])
    return ids


def _look(
    model: VideoLM,
    frames: np.ndarray,
    kind: Any,
    size: Any,
    ids: Tensor,
    mask: Tensor | None,
) -> Seen:
    """Encode pictures, align them to a text of the text tower's ids, and pool them."""
    source = ClipSource(
        paths=("golden",),
        kind=kind,
        height=size[0],
        width=size[1],
        frame_count=len(frames),
        fps=1.0,
        duration_seconds=float(len(frames)),
        start_seconds=0.0,
        stop_seconds=float(len(frames)),
        reader="golden",
        indices=tuple(range(len(frames))),
    )
    seconds = np.arange(len(frames), dtype=np.float64)
    grid = model.encode(Clip(frames=frames, seconds=seconds, source=source))
    features, aligner = grid.features[None], model.aligner
    patches, texts = model.embed_patches(features), aligner.embed_text(ids, mask)
    relevance = aligner.score(patches, texts, features)
    film = kind == "video"
    window = model.config.window if film else model.config.image_window
    visual = model.visual_tokens(features, relevance, window=window, source=source)
    return Seen(relevance=relevance, cosines=cosine_similarity(patches, texts), visual=visual)


def _text(tensors: dict[str, Tensor], prefix: str) -> tuple[Tensor, Tensor | None]:
    """Return the text tower's ids ``(1, L)`` and, where there is one, their mask."""
    mask = tensors.get(f"{prefix}.clip_mask")
    ids = torch.atleast_2d(tensors[f"{prefix}.clip_ids"])
    return ids, None if mask is None else torch.atleast_2d(mask)


def _scaled(model: VideoLM, pictures: np.ndarray, kind: str) -> Tensor:
    pixels: Tensor = model.parts.normalised(torch.tensor(pictures).movedim(-1, 1), kind)
    return pixels


def _as_pictures(model: VideoLM, pixel_values: Tensor, kind: str) -> np.ndarray:
    """Return the 8-bit pictures ``(N, H, W, 3)`` that normalised ones were made of."""
    table = model.config.tower
    which = "video" if kind == "video" and "video_mean" in table else "image"
    mean, deviation = (torch.tensor(table[f"{which}_{part}"]) for part in ("mean", "deviation"))
    pictures = pixel_values.flatten(0, -4).movedim(-3, -1) * deviation + mean
    return (pictures * 255).round().to(torch.uint8).numpy()


def _answer(ids: list[int], model: VideoLM) -> list[int]:
    """Return the ids before the first end mark."""
    ends = [place for place, token in enumerate(ids) if token in model.words.end_ids]
    return ids[: ends[0]] if ends else ids
