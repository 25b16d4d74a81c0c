"""The parts of the method against the authors' modules: positions, pooling, aligners, pixels."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from golden_checks import Golden, as_grid
from torch import Tensor

from pplava_core import alignment
from pplava_core.context import extend_positions
from pplava_core.media import bounded_indices, resize_picture
from pplava_core.models.bt_adapter import BtAdapter, bt_adapter_state
from pplava_core.models.dual_encoder import DualEncoder, PatchHeadSettings, TextTowerSettings
from pplava_core.models.language.prompts import TEMPLATES
from pplava_core.models.layouts.released_weights import dual_encoder_state
from pplava_core.models.projector import Projector
from pplava_core.models.tiles import cut_llava_next
from pplava_core.pooling import pool
from pplava_core.types import PixelRule
from pplava_core.window import Window, window_for_output_size

CLIP_MEAN = torch.tensor([0.48145466, 0.4578275, 0.40821073])
CLIP_DEVIATION = torch.tensor([0.26862954, 0.26130258, 0.27577711])
EVERYTHING = 100_000.0


def check_posembed(golden: Golden) -> None:
    """Check Eq. 4, and what the text tower then adds to its tokens."""
    for kind in ("clip", "siglip"):
        table = extend_positions(golden.tensors[f"{kind}.pos_in"])
        golden.near(table, f"{kind}.pos_out")
        golden.near(table, f"{kind}.pos_res_out")
        parts = golden.weights(f"{kind}.fwd.")
        table = torch.cat([parts["position_embedding"][:20], parts["position_embedding_res"][20:]])
        for name in parts:
            if name.startswith("ids."):
                ids = parts[name]
                states = parts["token_embedding"][ids] + table[: ids.shape[1]]
                golden.near(states, f"{kind}.fwd.out.{name[4:]}")


def check_pooling(golden: Golden) -> None:
    """Check Eq. 2 and 3 in the authors' form."""
    for case in golden.facts["cases"]:
        features = golden.tensors[case["x"]].permute(0, 2, 3, 4, 1)
        if case["kernel"]:
            window = Window(tuple(case["kernel"]), tuple(case["stride"]))
        else:
            window = window_for_output_size(tuple(features.shape[1:4]), tuple(case["output_size"]))
        relevance = golden.tensors[case["w"]] if case["w"] else None
        pooled = pool(features, relevance, window=window, temperature=case["temperature"])
        golden.near(pooled.permute(0, 4, 1, 2, 3), f"{case['name']}.out", run=case["name"])


def check_clip_projector(golden: Golden) -> None:
    """Check Eq. 1 with CLIP, and the pooled and projected tokens."""
    facts = golden.facts
    for run, info in facts["runs"].items():
        weights = golden.weights(f"{run.split('.')[0]}.sd.")
        encoder = _dual_encoder(weights, *_clip_settings(facts["clip_text"], weights))
        encoder.logit_scale.fill_(info["logit_scale"])
        ids, mask = golden.tensors[f"{run}.clip_ids"], golden.tensors[f"{run}.clip_mask"]
        golden.near(encoder.embed_text(ids, mask), f"{run}.text_embed")
        _check_projector(golden, run, info, encoder, weights, ids, mask)


def check_siglip_projector(golden: Golden) -> None:
    """Check the same with SigLIP, with and without the probe's attention."""
    weights = golden.weights("sd.")
    for run, info in golden.facts["runs"].items():
        settings = _siglip_settings(golden.facts, weights, probe=info["valuew_plus"])
        encoder = _dual_encoder(weights, *settings)
        ids = golden.tensors[f"{run}.clip_ids"]
        golden.near(encoder.embed_text(ids), f"{run}.text_pooled")
        patches = encoder.embed_patches(as_grid(golden.tensors[f"{run}.image_features"]))
        golden.near(patches[0].flatten(1, 2), f"{run}.head_out")
        _check_projector(golden, run, info, encoder, weights, ids, None)


def check_btadapter(golden: Golden) -> None:
    """Check the side branch of CLIP's tower, on films, sets of pictures and the 3-frame quirk."""
    from transformers import CLIPVisionConfig, CLIPVisionModel

    facts = golden.facts
    vision = CLIPVisionModel(CLIPVisionConfig(**facts["vision"], attn_implementation="sdpa"))
    released = {f"vision_{n}": t for n, t in golden.weights("sd.vision_").items()}
    own = {n.removeprefix("vision_model."): t for n, t in released.items() if "btadapter" not in n}
    vision.eval().load_state_dict(own)
    adapter = BtAdapter(vision.config, depth=facts["depth"], max_frames=facts["max_T"])
    tower = {f"vision_tower.{name}": tensor for name, tensor in released.items()}
    adapter.load_state_dict(bt_adapter_state(tower, adapter))
    state = facts["vision"]["num_hidden_layers"] - 1
    for run in facts["runs"]:
        pixels, quirk = golden.tensors[f"{run}.pixel_values"], "quirk" in run
        if pixels.ndim == 4:
            states = [adapter(vision, pixels, separate=True)]
        else:
            if pixels.shape[1] == 3 and not quirk:
                pixels = pixels.transpose(1, 2)
            states = [adapter(vision, clip, reference_axis_quirk=quirk) for clip in pixels]
        name = f"{run}.hidden_states.{state}"
        together = torch.cat(states).view_as(golden.tensors[name])
        golden.near(together, name, run=f"{run}.hidden_states[-2]")


def check_data_pipeline(golden: Golden) -> None:
    """Check which frames are taken, what becomes of pictures, and prompts of several turns.

    The file's other samplers (`get_seq_frames`, `get_frame_indices`) are of no use here: the
    authors' evaluation does not call them, and training draws its own frames.
    """
    facts = golden.facts
    for number, case in enumerate(facts["EvalDataset.get_index"]["cases"]):
        start, stop = case["bound"] or (-EVERYTHING, EVERYTHING)
        indices = bounded_indices(
            start,
            stop,
            fps=case["fps"],
            last_index=case["max_frame"],
            first_index=case["first_idx"],
            num_frames=len(case["indices"]),
        )
        golden.same(indices, f"get_index {number}", expected=case["indices"])
    for case in facts["multi_turn"]:
        template = TEMPLATES[_template(case["conv"])]
        prompt = template.render("Second question", history=[("First question", "First answer.")])
        golden.same(prompt, f"multi_turn {case['conv']}", expected=case["prompt_open"])
    for number in range(sum(name.endswith("image_uint8") for name in golden.tensors)):
        _check_pixels(golden, f"pre{number}", facts["preprocess_size"])


def _check_pixels(golden: Golden, name: str, side: int) -> None:
    picture = golden.tensors[f"{name}.image_uint8"].numpy()

    def scaled(pixels: Any) -> Tensor:
        return ((torch.tensor(pixels) / 255 - CLIP_MEAN) / CLIP_DEVIATION).movedim(-1, -3)

    squashed = resize_picture(picture, PixelRule(height=side, width=side))
    golden.near(scaled(squashed)[None, None], f"{name}.clip_video")
    if f"{name}.siglip_video_384_every7th" in golden.tensors:
        rule = PixelRule(height=384, width=384, resize="pad_short")
        padded = resize_picture(picture, rule)[::7, ::7]
        golden.near(scaled(padded)[None, None], f"{name}.siglip_video_384_every7th")
    if f"{name}.clip_anyres" in golden.tensors:
        sizes = [(1, 2), (2, 1), (2, 2), (3, 1), (1, 3)]
        pinpoints = [[side * rows, side * columns] for rows, columns in sizes]
        tiles = cut_llava_next(picture, pinpoints, side, short_padding=True)
        golden.near(scaled(tiles)[None], f"{name}.clip_anyres")


def _check_projector(
    golden: Golden,
    run: str,
    info: dict[str, Any],
    encoder: DualEncoder,
    weights: dict[str, Tensor],
    ids: Tensor,
    mask: Tensor | None,
) -> None:
    """Check cosines, weights and tokens of one run."""
    features = as_grid(golden.tensors[f"{run}.image_features"])
    patches, texts = encoder.embed_patches(features), encoder.embed_text(ids, mask)
    golden.near(alignment.cosine_similarity(patches, texts), f"{run}.cosine")
    relevance = encoder.relevance(features, ids, text_mask=mask)
    golden.near(relevance, f"{run}.weights")
    projector = Projector(*(weights["linear_1.weight"].shape[::-1]), len(weights["linear_2.bias"]))
    projector.load_state_dict({n: t for n, t in weights.items() if n.startswith("linear_")})
    kind = "" if info["video"] else "image_"
    facts = golden.facts
    window = Window(tuple(facts[f"{kind}kernel"]), tuple(facts[f"{kind}stride"]))
    pooled = partial(pool, relevance=relevance, window=window, temperature=facts["pooling_temp"])
    golden.near(projector.project_then_weigh(features, pooled).flatten(1, 3), f"{run}.out")


def _dual_encoder(
    weights: dict[str, Tensor], text: TextTowerSettings, patches: PatchHeadSettings
) -> DualEncoder:
    encoder = DualEncoder(text, patches).eval().requires_grad_(False)
    encoder.load_state_dict(dual_encoder_state(weights, text, patches))
    return encoder


def _clip_settings(
    text: dict[str, Any], weights: dict[str, Tensor]
) -> tuple[TextTowerSettings, PatchHeadSettings]:
    shared, width = weights["clip_visual_projection.weight"].shape
    settings = TextTowerSettings(
        width=text["hidden_size"],
        layers=text["num_hidden_layers"],
        heads=text["num_attention_heads"],
        vocab_size=len(weights["clip_text_model.embeddings.token_embedding.weight"]),
        embed_dim=shared,
        context_length=_positions(weights),
        mlp_width=text["intermediate_size"],
        activation=text["hidden_act"],
        pooling="argmax" if text["eos_token_id"] == 2 else "eos",
        eos_id=text["eos_token_id"],
    )
    return settings, PatchHeadSettings(width=width, embed_dim=shared)


def _siglip_settings(
    facts: dict[str, Any], weights: dict[str, Tensor], *, probe: bool
) -> tuple[TextTowerSettings, PatchHeadSettings]:
    vision = facts["vision"]
    shared, common = len(weights["clip_text_model.head.bias"]), {"eps": facts["layer_norm_eps"]}
    settings = TextTowerSettings(
        width=vision["hidden_size"],
        layers=facts["text_layers"],
        heads=vision["num_attention_heads"],
        vocab_size=len(weights["clip_text_model.embeddings.token_embedding.weight"]),
        embed_dim=shared,
        context_length=_positions(weights),
        mlp_width=vision["intermediate_size"],
        activation="gelu_tanh",
        causal=False,
        pooling="last",
        projection_bias=True,
        **common,
    )
    heads = vision["num_attention_heads"] if probe else None
    head = PatchHeadSettings(
        kind="siglip",
        width=vision["hidden_size"],
        embed_dim=shared,
        mlp_width=vision["intermediate_size"],
        probe_heads=heads,
        **common,
    )
    return settings, head


def _positions(weights: dict[str, Tensor]) -> int:
    tables = [tensor for name, tensor in weights.items() if ".position_embedding" in name]
    return len(tables[0])


def _template(conversation: str) -> str:
    """Return our name of one of the authors' conversations."""
    return conversation.removeprefix("plain_").removeprefix("conv_")


MODULES = {
    "posembed": check_posembed,
    "pooling": check_pooling,
    "clip_projector": check_clip_projector,
    "siglip_projector": check_siglip_projector,
    "btadapter": check_btadapter,
    "data_pipeline": check_data_pipeline,
}
