"""The JSON of one model, on this machine or not: the same keys for both."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pplava_cli.records import SCHEMA

if TYPE_CHECKING:
    from pplava_core.models.catalog import ModelEntry
    from pplava_core.models.store.known import KnownModel


def catalog_record(entry: ModelEntry) -> dict[str, Any]:
    """Describe a model that is on this machine, without loading it."""
    from pplava_core.models.store import shelf

    facts = shelf.facts_of(entry.folder)
    record = facts.record if facts else None
    return {
        "schema": SCHEMA,
        "type": "model",
        "name": entry.name,
        "description": entry.description,
        "licence": entry.licence,
        "size_bytes": entry.size_bytes,
        "backbone": entry.backbone,
        "source": entry.source,
        "folder": str(entry.folder),
        "repo": record.repo if record else None,
        "revision": record.revision if record else None,
        **_memory(facts.known if facts else None),
    }


def known_record(known: KnownModel) -> dict[str, Any]:
    """Describe a model that could be fetched, with the keys of `catalog_record`."""
    return {
        "schema": SCHEMA,
        "type": "model",
        "name": known.name,
        "description": known.description,
        "licence": known.licence,
        "size_bytes": known.download_bytes,
        "backbone": known.backbone,
        "source": "known",
        "folder": None,
        "repo": known.repo,
        "revision": None,
        **_memory(known),
    }


def _memory(known: KnownModel | None) -> dict[str, int | None]:
    return {
        "weights_bytes": known.weights_bytes() if known else None,
        "quantized_weights_bytes": known.weights_bytes(quantized=True) if known else None,
    }
