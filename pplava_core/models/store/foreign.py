"""What a `config.json` of transformers says about a model: enough to list it and to fetch for it.

Reads JSON and nothing else: no weights, no network, no transformers. A folder in this
project's own format is none of its business.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pplava_core.errors import ModelError
from pplava_core.models import backbones
from pplava_core.models.store.known import AlignerSource

_CLIP = "openai/clip-vit-large-patch14-336"
_SIGLIP = "google/siglip-so400m-patch14-384"


@dataclass(frozen=True, kw_only=True)
class ForeignModel:
    """A model folder in somebody else's format."""

    backbone: str
    "Which adapter of `models.backbones` takes it; empty if none does."
    model_type: str
    "As its configuration calls itself."
    aligner: AlignerSource | None
    "Where its dual encoder comes from; None where there is none to fetch."


def describe_foreign(folder: Path) -> ForeignModel | None:
    """Say what lies in a folder of somebody else's format; None if it is not one.

    Never raises for what is in the file: a damaged one is for the loader to explain.
    """
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(config, dict) or not isinstance(config.get("model_type"), str):
        return None
    return ForeignModel(
        backbone=_backbone(config),
        model_type=config["model_type"],
        aligner=_aligner(config),
    )


def _backbone(config: dict[str, Any]) -> str:
    try:
        return backbones.backbone_of(config)
    except ModelError:
        return ""


def _aligner(config: dict[str, Any]) -> AlignerSource | None:
    """Find the dual encoder that a vision tower was trained with."""
    inside = config.get("pooling") == "ppllava"
    vision = config.get("vision_config")
    tower = vision.get("model_type") if isinstance(vision, dict) else config.get("mm_vision_tower")
    tower = str(tower).lower()
    for word, repo in (("siglip", _SIGLIP), ("clip", _CLIP)):
        if word in tower:
            return AlignerSource(repo=repo, weights_inside=inside)
    return None
