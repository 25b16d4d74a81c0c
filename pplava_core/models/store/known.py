"""Models that can be fetched by a short name: where they lie, and what they need.

A small data file, read without torch or a network. Nobody who wrote it could open the hub's
pages, so its licences are marked unverified; sizes and memory follow from the models' shapes.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
UNVERIFIED = "unverified"

_BYTES_PER_PARAMETER = 2.0
_BYTES_PER_QUANTIZED = (4 + 8 / 64 + 32 / (64 * 256)) / 8
"""NF4: 4 bits, a block of 64 shares an 8-bit scale, and 256 blocks share a 32-bit one."""


@dataclass(frozen=True, kw_only=True)
class AlignerSource:
    """Where the dual encoder of a model comes from: text tower, projection, tokenizer."""

    repo: str
    "On the hub."
    weights_inside: bool
    "Whether the model's own folder holds its weights, so that only small files are wanted."

    @property
    def parameters(self) -> int:
        """How many parameters of it a model uses."""
        return int(_table()["aligners"][self.repo]["parameters"])

    @property
    def download_bytes(self) -> int:
        """About how much is fetched for it."""
        return 0 if self.weights_inside else int(_table()["aligners"][self.repo]["download_bytes"])

    @property
    def bundled(self) -> Path:
        """The folder of its small configuration files inside this package."""
        return HERE / "aligners" / self.repo.partition("/")[2]

    @property
    def has_bundled_tokenizer(self) -> bool:
        """Whether its tokenizer's settings are bundled too, so that nothing small is wanted.

        CLIP's vocabulary comes with open_clip.
        """
        return (self.bundled / "tokenizer_config.json").is_file()


@dataclass(frozen=True, kw_only=True)
class KnownModel:
    """A model that has a short name here."""

    name: str
    repo: str
    "On the hub, as `owner/repo`."
    subfolder: str
    "Inside the repository; empty where the model lies at its top."
    description: str
    backbone: str
    "Which adapter of `models.backbones` it needs."
    licence: str
    "With `(unverified)` where nobody here has read the hub's page."
    quantizable_parameters: int
    "Weights of the language model's layers: what 4-bit loading makes smaller."
    other_parameters: int
    "All others: towers, projector, word embeddings, norms."
    aligner: AlignerSource | None
    "None where training has to make one first."

    @property
    def download_bytes(self) -> int:
        """About how much is fetched: two bytes a parameter, and the aligner's own files."""
        own = int(_BYTES_PER_PARAMETER * (self.quantizable_parameters + self.other_parameters))
        return own + (self.aligner.download_bytes if self.aligner else 0)

    def weights_bytes(self, *, quantized: bool = False) -> int:
        """Compute the memory for the weights alone, in bfloat16; frames and words come on top.

        Args:
            quantized: whether the language model's layers are kept in 4 bits (NF4 with
                double quantisation).
        """
        each = _BYTES_PER_QUANTIZED if quantized else _BYTES_PER_PARAMETER
        beside = self.aligner.parameters if self.aligner and not self.aligner.weights_inside else 0
        rest = _BYTES_PER_PARAMETER * (self.other_parameters + beside)
        return round(each * self.quantizable_parameters + rest)


@cache
def known_models() -> tuple[KnownModel, ...]:
    """Return the models that have a short name, in the data file's order."""
    return tuple(_known(values) for values in _table()["models"])


def find_known(name: str) -> KnownModel | None:
    """Find a known model by its short name, or by its `owner/repo` if that holds just one."""
    found = [model for model in known_models() if model.name == name]
    found += [model for model in known_models() if model.repo == name and not model.subfolder]
    return found[0] if found else None


def known_at(repo: str, subfolder: str) -> KnownModel | None:
    """Find the known model that lies in this folder of this repository."""
    found = (
        known for known in known_models() if (known.repo, known.subfolder) == (repo, subfolder)
    )
    return next(found, None)


@cache
def _table() -> dict[str, Any]:
    table: dict[str, Any] = json.loads((HERE / "known_models.json").read_text(encoding="utf-8"))
    return table


def _known(values: dict[str, Any]) -> KnownModel:
    licence, aligner = values["licence"], values["aligner"]
    if not values["licence_verified"]:
        licence = f"{licence} ({UNVERIFIED})" if licence else UNVERIFIED
    return KnownModel(
        name=values["name"],
        repo=values["repo"],
        subfolder=values.get("subfolder", ""),
        description=values["description"],
        backbone=values["backbone"],
        licence=licence,
        quantizable_parameters=values["parameters"]["quantizable"],
        other_parameters=values["parameters"]["other"],
        aligner=AlignerSource(**aligner) if aligner else None,
    )
