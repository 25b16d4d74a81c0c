"""How much host memory loading takes beyond the model itself, on a random model of 1.4 GB.

    python benchmarks/loading_memory.py

Writes a checkpoint of several shards to a temporary folder, loads it in a process of its own
and samples that process's anonymous memory 200 times a second (pages mapped from the weight
files do not count: the system takes them back whenever it likes). Against it stand the model's
parameters in the process and the largest shard; below 1.15 times their sum, the weights are
never held twice.
"""

from __future__ import annotations

import argparse
import select
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from random_checkpoint import HALF_BILLION, write_random_checkpoint

_CHILD = """
import sys
from pathlib import Path
import torch, transformers, bitsandbytes
from transformers import LlavaNextForConditionalGeneration
from pplava_core.models.checkpoint import load_model
from pplava_core.models.placement import Placement
print("ready", flush=True)
sys.stdin.readline()
quantize = None if sys.argv[2] == "whole" else sys.argv[2]
model = load_model(Path(sys.argv[1]), Placement(dtype=torch.bfloat16, quantize=quantize))
print(sum(p.numel() * p.itemsize for p in model.parameters()), flush=True)
"""


def anonymous_bytes(process_id: int) -> int:
    status = Path(f"/proc/{process_id}/status").read_text()
    line = next((line for line in status.splitlines() if line.startswith("RssAnon")), "_ 0")
    return int(line.split()[1]) * 1024


def run(folder: Path, way: str) -> tuple[int, int]:
    """Return the model's bytes, and the most that loading took."""
    command = [sys.executable, "-c", _CHILD, str(folder), way]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdout.readline()
        before = peak = anonymous_bytes(child.pid)
        child.stdin.write("go\n")
        child.stdin.flush()
        while child.poll() is None and not select.select([child.stdout], [], [], 0.005)[0]:
            peak = max(peak, anonymous_bytes(child.pid))
        return int(child.stdout.readline()), peak - before


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shard-megabytes", type=int, default=300)
    parser.add_argument("--ways", nargs="+", default=["whole", "8bit", "4bit"])
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "model"
        write_random_checkpoint(
            folder,
            HALF_BILLION,
            dtype=torch.bfloat16,
            shard_bytes=arguments.shard_megabytes * 2**20,
        )
        shard = max(path.stat().st_size for path in folder.glob("*.safetensors"))
        for way in arguments.ways:
            size, taken = run(folder, way)
            print(
                f"{way}: model {size / 1e9:.2f} GB, largest shard {shard / 1e9:.2f} GB, "
                f"loading took {taken / 1e9:.2f} GB: {taken / (size + shard):.2f} x model + shard"
            )


if __name__ == "__main__":
    main()
