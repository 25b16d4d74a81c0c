"""Where a model's aligner comes from: its own checkpoint, a folder of ours, or a CLIP or SigLIP.

An aligner folder is `config.json` (settings of both encoders), `model.safetensors` and the
text tower's tokenizer. Knows no prompts and no language model.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pplava_core.errors import ModelError
from pplava_core.models.dual_encoder import DualEncoder, PatchHeadSettings, TextTowerSettings
from pplava_core.models.layouts.released_weights import dual_encoder_state

if TYPE_CHECKING:
    from torch import Tensor

FOLDER, SOURCE_FOLDER = "aligner", "aligner_source"
"Beside a base model: an aligner of ours, or the CLIP or SigLIP that one is made of."
FORMAT = 1
_RANDOM_DEVIATION = 0.9
NAMED = Path(__file__).parents[1] / "store" / "aligners"
"Small configurations of the encoders that released checkpoints name."
_FROM_PRETRAINED = {
    "text_model.": "clip_text_model.",
    "text_projection.": "clip_text_projection.",
    "visual_projection.": "clip_visual_projection.",
    "vision_model.post_layernorm.": "clip_visual_ln.",
    "vision_model.head.": "clip_visual_head.",
    "logit_scale": "logit_scale",
}
"Names in CLIP's and SigLIP's own checkpoints and in the released projectors."
_VOCABULARIES = ("tokenizer.json", "vocab.json", "spiece.model")
"A tokenizer needs one of these files."


@dataclasses.dataclass(frozen=True, kw_only=True)
class Aligner:
    """A dual encoder and its tokenizer."""

    encoder: DualEncoder
    tokenizer: Any
    pads_fully: bool
    "Whether every text is filled to the tower's length."


def from_released(
    tensors: Mapping[str, Tensor], source: Path, *, patch_width: int, probe: bool, extended: bool
) -> Aligner:
    """Build the aligner that a released checkpoint's projector holds.

    Args:
        tensors: the projector's, without the prefix ``multi_modal_projector.``.
        source: folder with the configuration and tokenizer of the CLIP or SigLIP it was.
        patch_width: width of the vision tower.
        probe: the authors' option ``valuew_plus``.
        extended: whether the position table is the stretched one (Eq. 4).

    Raises:
        ModelError: a tensor or a file is missing.
    """
    text, patches = _settings(source, patch_width, probe)
    if extended:
        table = tensors.get("clip_text_model.embeddings.position_embedding")
        if table is None:
            raise ModelError("the checkpoint lacks clip_text_model's position_embedding")
        length = len(table)
        text = dataclasses.replace(text, context_length=length)
    return _built(text, patches, dual_encoder_state(tensors, text, patches), source)


def from_pretrained(source: Path, *, patch_width: int | None = None) -> Aligner:
    """Build an aligner from a CLIP's or SigLIP's own folder, its context stretched (Eq. 4).

    Args:
        source: the folder.
        patch_width: width of the vision tower that it is for; None is the source's own.

    Raises:
        ModelError: a tensor or a file is missing, or it fits another tower.
    """
    from pplava_core.models.layouts.tensor_files import read_tensors

    text, patches = _settings(source, patch_width, probe=False)
    wanted = tuple(_FROM_PRETRAINED)
    tensors = {
        _renamed(name): tensor
        for name, tensor in read_tensors(source, lambda name: name.startswith(wanted)).items()
    }
    aligner = _built(text, patches, dual_encoder_state(tensors, text, patches), source)
    aligner.encoder.extend_context()
    return aligner


def load_aligner(folder: Path) -> Aligner:
    """Load an aligner folder.

    Raises:
        ModelError: it is incomplete, damaged, or of another format.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = folder / "config.json"
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if values.get("format") != FORMAT:
            raise ModelError(f"{path} has format {values.get('format')!r}; {FORMAT} is read")
        text = TextTowerSettings(**values["text"])
        patches = PatchHeadSettings(**values["patches"])
        weights = load_file(folder / "model.safetensors")
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise ModelError(f"{folder} is not an aligner: {error}") from error
    return _built(text, patches, weights, folder)


def save_aligner(
    aligner: Aligner, folder: Path, *, training: Mapping[str, Any] | None = None
) -> None:
    """Write an aligner folder, whole or not at all.

    Args:
        aligner: what to write.
        folder: its name.
        training: what made the weights; kept in ``config.json`` for people.
    """
    from safetensors.torch import save_file

    from pplava_core.atomic import replacing

    folder.mkdir(parents=True, exist_ok=True)
    aligner.tokenizer.save_pretrained(folder)
    state = {
        name: t.detach().cpu().contiguous() for name, t in aligner.encoder.state_dict().items()
    }
    with replacing(folder / "model.safetensors") as path:
        save_file(state, path)
    values = {
        "format": FORMAT,
        "text": dataclasses.asdict(aligner.encoder.text_settings),
        "patches": dataclasses.asdict(aligner.encoder.patch_settings),
        "training": dict(training or {}),
    }
    with replacing(folder / "config.json") as path:
        path.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def is_used(name: str) -> bool:
    """Tell whether a tensor of a CLIP, a SigLIP or an aligner folder becomes part of an aligner."""
    return name.startswith((*_FROM_PRETRAINED, "text.", "patches."))


def doubt_about(aligner: Aligner) -> str | None:
    """Say so if the text tower's table of tokens is as it was drawn, and was never learnt.

    The authors' code makes that table anew, of numbers of deviation 1, when it stretches the
    tower's context, and trains it only in some variants. CLIP's own is far narrower.
    """
    deviation = aligner.encoder.text.token_embedding.weight.float().std().item()
    if deviation < _RANDOM_DEVIATION:
        return None
    return (
        f"its text tower's table of tokens looks random (deviation {deviation:.2f}), so relevance "
        "may not follow the question; compare with --pooling average"
    )


def named_source(name: str, folder: Path) -> Path:
    """Find the folder of a CLIP's or SigLIP's configuration and tokenizer.

    Args:
        name: what a released checkpoint calls it: a name on the hub, or a relative path.
        folder: the checkpoint's folder.

    Raises:
        ModelError: it is nowhere.
    """
    beside, relative = folder / SOURCE_FOLDER, folder / name
    for place in (beside, relative, NAMED / Path(name).name):
        if (place / "config.json").is_file():
            return place
    raise ModelError(
        f"{folder} needs the tokenizer and configuration of {name}: put them into {beside}, "
        "or fetch the model with `pplava models pull`, which does"
    )


def _settings(
    source: Path, patch_width: int | None, probe: bool
) -> tuple[TextTowerSettings, PatchHeadSettings]:
    """Return both encoders' settings from a CLIP's or SigLIP's configuration."""
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(source, local_files_only=True, trust_remote_code=False)
        text, is_clip = config.text_config, config.model_type == "clip"
    except Exception as error:  # transformers has several classes for a bad configuration
        raise ModelError(f"{source} is no CLIP's or SigLIP's folder: {_first(error)}") from error
    if config.model_type not in ("clip", "siglip"):
        raise ModelError(f"{source} is a {config.model_type}; a clip or siglip can be an aligner")
    width = config.projection_dim if is_clip else text.hidden_size
    settings = TextTowerSettings(
        width=text.hidden_size,
        layers=text.num_hidden_layers,
        heads=text.num_attention_heads,
        vocab_size=text.vocab_size,
        embed_dim=width,
        context_length=text.max_position_embeddings,
        mlp_width=text.intermediate_size,
        activation="gelu_tanh" if text.hidden_act == "gelu_pytorch_tanh" else text.hidden_act,
        causal=is_clip,
        # OpenAI's configurations name 2 as the end; their tokenizer's is the highest id
        pooling=("argmax" if text.eos_token_id == 2 else "eos") if is_clip else "last",
        eos_id=text.eos_token_id,
        projection_bias=not is_clip,
        eps=text.layer_norm_eps,
    )
    vision = config.vision_config
    patches = PatchHeadSettings(
        kind="clip" if is_clip else "siglip",
        width=patch_width or vision.hidden_size,
        embed_dim=width,
        mlp_width=None if is_clip else vision.intermediate_size,
        probe_heads=vision.num_attention_heads if probe else None,
        eps=vision.layer_norm_eps,
    )
    return settings, patches


def _built(
    text: TextTowerSettings, patches: PatchHeadSettings, weights: Mapping[str, Tensor], folder: Path
) -> Aligner:
    import torch

    with torch.device("meta"):
        encoder = DualEncoder(text, patches)
    try:
        encoder.load_state_dict(dict(weights), assign=True)
    except RuntimeError as error:
        raise ModelError(f"the aligner of {folder} does not fit: {_first(error)}") from error
    tokenizer = _tokenizer(folder)
    if len(tokenizer) > text.vocab_size:
        raise ModelError(
            f"the tokenizer of {folder} has {len(tokenizer)} tokens, more than the "
            f"{text.vocab_size} of the text tower; the folder is mixed from two models"
        )
    return Aligner(
        encoder=encoder.eval(),
        tokenizer=tokenizer,
        pads_fully=text.pooling == "last",
    )


def _tokenizer(folder: Path) -> Any:
    """Load the text tower's tokenizer through transformers."""
    from transformers import AutoTokenizer

    try:
        if folder.parent == NAMED:
            return _clip_tokenizer(folder)
        # without any of these transformers makes a tokenizer that knows no words
        if not any((folder / name).is_file() for name in _VOCABULARIES):
            raise OSError(f"it has none of {', '.join(_VOCABULARIES)}")
        return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except ModelError:
        raise
    except Exception as error:  # the library's own parser raises plain ones
        raise ModelError(f"{folder} has no usable tokenizer: {_first(error)}") from error


def _clip_tokenizer(folder: Path) -> Any:
    """Build CLIP's tokenizer from the merges that open_clip carries.

    Raises:
        ModelError: the encoder is not a CLIP, whose vocabulary alone is at hand.
    """
    from transformers import CLIPTokenizer

    from pplava_core.models.open_clip_parts import read_merges

    if not (folder / "tokenizer_config.json").is_file():
        raise ModelError(
            f"the tokenizer of {folder.name} is not at hand; `pplava models pull` fetches it "
            f"into the model's {SOURCE_FOLDER}/"
        )
    vocabulary, merges = read_merges()
    made: Any = CLIPTokenizer  # its annotation forgets that merges come in pairs
    return made(vocab=vocabulary, merges=merges)


def _renamed(name: str) -> str:
    for theirs, released in _FROM_PRETRAINED.items():
        if name.startswith(theirs):
            return released + name.removeprefix(theirs)
    return name


def _first(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:2])[:300]
