"""A pull that is killed in the middle of a file goes on there the next time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hub_server import CLIP_REPOSITORY, base_model, clip_model, running_hub

from pplava_core.models.store.shelf import verify

CHUNK_BYTES = 10 * 1024 * 1024
"What huggingface_hub writes at once."
WEIGHTS = bytes(range(256)) * 4 * 1024 * 24
PATIENCE_SECONDS = 60


@pytest.fixture
def hub():
    with running_hub(owner__small=base_model(WEIGHTS)) as hub:
        hub.repositories[CLIP_REPOSITORY] = clip_model()
        yield hub


@pytest.fixture
def environment(hub, own_directories):
    kept = {name: os.environ[name] for name in ("PATH", "PPLAVA_CACHE_DIR", "PPLAVA_CONFIG")}
    return kept | {
        "HF_ENDPOINT": hub.endpoint,
        "HF_HOME": str(own_directories / "hub"),
        "PYTHONPATH": str(Path(__file__).parent.parent),
    }


COMMAND = [sys.executable, "-m", "pplava_cli", "models", "pull", "owner/small"]


def wait_for(partial: Path, process: subprocess.Popen) -> int:
    """Wait until most of the weights have arrived, and return how much."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        sizes = [path.stat().st_size for path in (partial / ".incoming").glob("sha256-*")]
        if max(sizes, default=0) >= 2 * CHUNK_BYTES:
            return max(sizes)
        time.sleep(0.05)
    raise AssertionError(f"nothing arrived; the client's exit code is {process.poll()}")


def test_resume_after_sigkill(hub, environment):
    models = Path(environment["PPLAVA_CACHE_DIR"]) / "models"
    partial, folder = models / "owner--small.partial", models / "owner--small"
    hub.stall_after_bytes = 2 * CHUNK_BYTES + 1000
    process = subprocess.Popen(
        COMMAND, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        arrived_bytes = wait_for(partial, process)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert not folder.exists()

    hub.stall_after_bytes = None
    hub.log.clear()
    run = subprocess.run(COMMAND, env=environment, capture_output=True, text=True)
    assert (run.returncode, run.stderr.count("Traceback")) == (0, 0)
    (asked,) = [one for one in hub.requests_of("model.safetensors") if one.origin == "store"]
    assert asked.range == f"bytes={arrived_bytes}-"
    assert not hub.requests_of("tokenizer.json")
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    assert not partial.exists()
    verify(folder)
