"""Pulling from a small hub with one base model in it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hub_server import CLIP_REPOSITORY, Hub, base_model, clip_model, running_hub

from pplava_core.errors import ModelError
from pplava_core.models.store import HubSource, Pulled, pull


@contextmanager
def small_hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """Run a hub with `owner/small`, and let this process pull from it."""
    with running_hub(owner__small=base_model()) as hub:
        hub.repositories[CLIP_REPOSITORY] = clip_model()
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
        monkeypatch.delenv("HF_TOKEN", raising=False)
        yield hub


def pull_text(text: str, **options) -> Pulled:
    """Pull what a user would type."""
    return pull(HubSource.parse(text), **options)


def refusal(text: str = "owner/small", **options) -> str:
    """Pull what cannot be pulled, and return the one line that says why."""
    with pytest.raises(ModelError) as error:
        pull_text(text, **options)
    assert "\n" not in str(error.value)
    return str(error.value)
