"""A whole tiny checkpoint in the authors' released layout, against what their code made of it."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from pplava_core.alignment import cosine_similarity
from pplava_core.errors import ModelError, UsageError
from pplava_core.media import resize_picture
from pplava_core.models.checkpoint import load_model
from pplava_core.models.language.generation import generate_ids
from pplava_core.models.language.generation_settings import Generation
from pplava_core.models.language.text_pieces import TextPieces
from pplava_core.models.language.words import VISUAL_ID
from pplava_core.session import PoolingChoice, Session
from pplava_core.types import Clip, ClipSource

FOLDER = Path(__file__).parent / "golden" / "clip_plain"
GOLDEN = load_file(FOLDER / "io.safetensors")
FACTS = json.loads((FOLDER / "io.json").read_bytes())
VIDEO = FACTS["video"]
TOLERANCE = 10 * FACTS["ref_f32_vs_f64_maxabs"]["video.logits"] + 1e-6


@pytest.fixture(scope="module")
def model():
    return load_model(FOLDER / "checkpoint")


@pytest.fixture(scope="module")
def clip(model):
    film = GOLDEN["video.frames_uint8"].numpy()
    source = ClipSource(
        paths=("film",), kind="video", width=film.shape[2], height=film.shape[1],
        frame_count=len(film), fps=1.0, duration_seconds=8.0, start_seconds=0.0,
        stop_seconds=8.0, reader="pyav", indices=tuple(range(len(film))),
    )  # fmt: skip
    frames = np.stack([resize_picture(frame, model.config.pixels) for frame in film])
    return Clip(frames=frames, seconds=np.arange(8.0), source=source)


@pytest.fixture(scope="module")
def session(model, clip):
    return Session(model, model.encode(clip), clip=clip)


def assert_near(actual, expected):
    torch.testing.assert_close(actual, GOLDEN[expected], rtol=0, atol=TOLERANCE)


def test_pixels_of_the_first_and_the_last_frame(model, clip):
    pictures = torch.tensor(clip.frames[[0, -1]]).movedim(-1, 1)
    assert_near(model.parts.normalised(pictures, "video")[None, :, None], "video.in.pixel_values")


def test_words_become_the_same_ids(model):
    ids = torch.tensor([model.prompt_ids(VIDEO["question"])])
    image = model.llm.config.image_token_id
    assert torch.equal(ids.masked_fill(ids == VISUAL_ID, image), GOLDEN["video.in.input_ids"])
    length = model.aligner.context_length
    ids, mask = model.words.alignment_ids([VIDEO["question"]], length)
    # theirs are padded to the end, which changes nothing
    assert length == GOLDEN["video.in.clip_ids"].shape[1]
    assert torch.equal(ids, GOLDEN["video.in.clip_ids"][:, : ids.shape[1]])
    assert mask.sum() == GOLDEN["video.in.clip_mask"].sum()


@torch.inference_mode()
def test_relevance_and_visual_tokens(model, session):
    features = session.grid.features[None]
    patches, texts = model.embed_patches(features), model.embed_texts([VIDEO["question"]])
    assert_near(cosine_similarity(patches, texts), "video.cosine")
    relevance = model.relevance(features, [VIDEO["question"]])
    assert_near(relevance, "video.weights")
    assert_near(model.visual_tokens(features, relevance).tokens, "video.visual_tokens")


@torch.inference_mode()
def test_merged_embeddings_and_logits(model, session):
    features = session.grid.features[None]
    relevance = model.relevance(features, [VIDEO["question"]])
    visual = model.visual_tokens(features, relevance, source=session.source)
    ids = torch.tensor([model.prompt_ids(VIDEO["question"])])
    embeddings = model.prompt_embeddings(visual.tokens, ids, visual.block_sizes)
    assert_near(embeddings, "video.inputs_embeds")
    assert_near(model.llm(inputs_embeds=embeddings).logits, "video.logits")


@pytest.mark.parametrize(("name", "beams"), [("greedy", 1), ("beam5", 5)])
@torch.inference_mode()
def test_the_same_ids_are_written(model, name, beams):
    expected = VIDEO[name]["new_ids"]
    written = generate_ids(
        model.llm,
        GOLDEN["video.inputs_embeds"],
        settings=Generation(max_new_tokens=len(expected), beams=beams),
        end_ids=model.words.end_ids,
    )
    assert list(written) == expected


def test_a_session_answers_with_their_words(model, session):
    expected = VIDEO["greedy"]["new_ids"]
    answer = session.ask(VIDEO["question"], generation=Generation(max_new_tokens=len(expected)))
    # bytes at random: what a stream has said already is not taken back when more come
    pieces = TextPieces(model.words.decode)
    assert answer.text == "".join(map(pieces.add, expected)) + pieces.finish()
    whole = VIDEO["greedy"]["text"].split("ASSISTANT:")[1]
    assert model.words.decode(expected).strip() == whole.strip()
    assert answer.token_count == GOLDEN["video.visual_tokens"].shape[1]


def test_its_own_path_for_films_does_not_exist(session):
    with pytest.raises(UsageError, match="no path of its own for films"):
        session.ask("What?", pooling=PoolingChoice(weighting="native"))


def copied(folder, change):
    """A copy of the checkpoint whose tensors were changed."""
    shutil.copytree(FOLDER / "clip_text", folder / "clip_text")
    shutil.copytree(FOLDER / "checkpoint", folder / "checkpoint")
    path = folder / "checkpoint" / "model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path, metadata={"format": "pt"})
    return folder / "checkpoint"


def test_a_random_table_of_tokens_is_told(tmp_path, model):
    assert model.config.notice is None
    torch.manual_seed(0)
    name = f"{PROJECTOR}.clip_text_model.embeddings.token_embedding.weight"
    folder = copied(tmp_path, lambda tensors: tensors.update({name: torch.randn(736, 48)}))
    assert "looks random (deviation 1.00)" in load_model(folder).config.notice


PROJECTOR, BRANCH = "multi_modal_projector", "vision_tower.vision_model.btadapter_cls_token"


@pytest.mark.parametrize(
    "name",
    [
        "image_newline",
        "language_model.lm_head.weight",
        "vision_tower.vision_model.encoder.layers.0.mlp.fc1.bias",
        f"{PROJECTOR}.linear_2.weight",
        f"{PROJECTOR}.clip_visual_ln.bias",
        f"{PROJECTOR}.clip_text_model.encoder.layers.1.self_attn.q_proj.weight",
        f"{PROJECTOR}.clip_text_model.embeddings.position_embedding_res",
    ],
)
def test_a_missing_tensor_is_named(tmp_path, name):
    folder = copied(tmp_path, lambda tensors: tensors.pop(name))
    with pytest.raises(ModelError, match=name.rpartition(".")[0].rpartition(".")[2] or name):
        load_model(folder)


@pytest.mark.parametrize("name", ["stray", BRANCH, f"{PROJECTOR}.stray", "language_model.x.weight"])
def test_an_unknown_tensor_is_named(tmp_path, name):
    folder = copied(tmp_path, lambda tensors: tensors.update({name: torch.zeros(1, 1, 64)}))
    with pytest.raises(ModelError, match=name.rpartition(".")[2]):
        load_model(folder)
