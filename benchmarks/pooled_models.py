"""What pooling saves a large model: seconds, tokens a second and memory, with random weights.

    python benchmarks/pooled_models.py                 # on a GPU: the shapes of a 7B model
    python benchmarks/pooled_models.py --shapes small  # anywhere: the same build, scaled down

One rendered film of 32 frames, asked about in five ways: every patch (18,432 tokens), the plain
average of 2x2 windows (4,608), and the average, the authors' and the literal weighting of
2x3x3 windows (1,024). The ways take turns in one process, so that a busy machine slows all
alike; the least of several rounds counts. Prints a Markdown table for docs/performance.md:
time to decode and to encode, time to the first token (pooling, projector and prompt), tokens
a second after it, seconds for the whole video, the peak of the GPU's memory, and the whole as
a multiple of the fastest. The answers of random weights are noise.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from random_checkpoint import SEVEN_BILLION, SMALL, write_random_checkpoint

from pplava_core import media
from pplava_core.models.checkpoint import load_model
from pplava_core.models.language.generation import Generation, generate_ids
from pplava_core.models.placement import Placement
from pplava_core.models.videolm import VideoLM
from pplava_core.session import PoolingChoice, Session
from pplava_core.shapes.film import encode_mp4
from pplava_core.types import Sampling
from pplava_core.window import Window

NUM_FRAMES, ANSWER_TOKENS = 32, 64
QUESTION = "what is it?"
WAYS = {
    "none": PoolingChoice(weighting="none"),
    "average 1x2x2": PoolingChoice(weighting="average", window=Window((1, 2, 2))),
    "average 2x3x3": PoolingChoice(weighting="average", window=Window((2, 3, 3))),
    "authors 2x3x3": PoolingChoice(weighting="authors", window=Window((2, 3, 3))),
    "literal 2x3x3": PoolingChoice(weighting="literal", window=Window((2, 3, 3))),
}


def synchronise(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def write_film(path: Path) -> Path:
    noise = np.random.default_rng(0).integers(0, 255, (12, 240, 320, 3), dtype=np.uint8)
    encode_mp4(np.repeat(noise, 8, axis=0), path, fps=24.0)
    return path


def opened(film: Path, model: VideoLM) -> tuple[Session, float, float]:
    """Return a session, and the seconds that decoding and encoding took."""
    sampling = Sampling(num_frames=NUM_FRAMES)
    start = time.perf_counter()
    clip = media.load_clip(film, sampling=sampling, pixels=model.config.pixels)
    decoded = time.perf_counter()
    grid = model.encode(clip)
    return Session(model, grid), decoded - start, synchronise(model.device) - decoded


@torch.inference_mode()
def asked(session: Session, choice: PoolingChoice) -> tuple[float, float, int]:
    """Return seconds to the first token, seconds for the rest, and the visual tokens."""
    model = session.model
    session._patches = None  # as for the first question about a clip
    start = synchronise(model.device)
    stream = session.stream(
        QUESTION, pooling=choice, generation=Generation(max_new_tokens=ANSWER_TOKENS)
    )
    ids = generate_ids(
        model.llm,
        stream._prompt.embeddings,
        settings=Generation(max_new_tokens=ANSWER_TOKENS),
        end_ids=(),
    )
    next(ids)
    first = synchronise(model.device)
    for _ in ids:
        pass
    return first - start, synchronise(model.device) - first, session.token_count(choice)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    shapes = {"7b": SEVEN_BILLION, "small": SMALL}
    on_gpu = torch.cuda.is_available()
    parser.add_argument("--shapes", choices=shapes, default="7b" if on_gpu else "small")
    parser.add_argument("--device", default="cuda" if on_gpu else "cpu")
    parser.add_argument("--quantize", choices=("4bit", "8bit"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    arguments = parser.parse_args()
    dtype = torch.bfloat16 if arguments.device.startswith("cuda") else torch.float32
    placement = Placement(device=arguments.device, dtype=dtype, quantize=arguments.quantize)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "random"
        write_random_checkpoint(folder, shapes[arguments.shapes], dtype=dtype, shard_bytes=2**30)
        model = load_model(folder, placement)
        film = write_film(Path(temporary) / "film.mp4")
        measure(model, film, placement, arguments.ways, arguments.rounds)


def measure(model: VideoLM, film: Path, placement: Placement, ways: list[str], rounds: int) -> None:
    on_gpu = model.device.type == "cuda"
    best = {way: [float("inf")] * 2 for way in ways}
    opening, peaks, tokens = [float("inf")] * 2, dict.fromkeys(ways, 0), {}
    for _ in range(rounds):
        if on_gpu:
            torch.cuda.reset_peak_memory_stats()
        session, *seconds = opened(film, model)
        opening = [min(pair) for pair in zip(opening, seconds, strict=True)]
        encoding_peak = torch.cuda.max_memory_allocated() if on_gpu else 0
        for way in ways:
            if on_gpu:
                torch.cuda.reset_peak_memory_stats()
            *seconds, tokens[way] = asked(session, WAYS[way])
            best[way] = [min(pair) for pair in zip(best[way], seconds, strict=True)]
            peak = torch.cuda.max_memory_allocated() if on_gpu else 0
            peaks[way] = max(peaks[way], peak, encoding_peak)
    name = torch.cuda.get_device_name() if on_gpu else f"CPU, {torch.get_num_threads()} threads"
    parameters = sum(parameter.numel() for parameter in model.parameters())
    print(f"{name}; {placement}; {parameters / 1e9:.2f} G stored values; torch {torch.__version__}")
    print(f"decode {opening[0]:.3f} s, encode {opening[1]:.3f} s, {NUM_FRAMES} frames\n")
    print(
        "| pooling | tokens | first token (s) | tokens a second | video (s) | ratio | peak (GB) |"
    )
    print("|---|---|---|---|---|---|---|")
    whole = {way: sum(opening) + sum(best[way]) for way in ways}
    for way, (first, rest) in best.items():
        speed = (ANSWER_TOKENS - 1) / rest
        memory = f"{peaks[way] / 1e9:.2f}" if on_gpu else ""
        ratio = whole[way] / min(whole.values())
        print(
            f"| {way} | {tokens[way]:,} | {first:.3f} | {speed:.1f} | {whole[way]:.2f} "
            f"| {ratio:.1f} | {memory} |"
        )


if __name__ == "__main__":
    main()
