"""What the first questions of a run will look like to the model, without asking any.

Clips are opened, since subtitles depend on which frames are taken, but nothing is encoded
and nothing is generated.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from pplava_core.errors import InputError, PplavaError
from pplava_core.evals.base import Item, Prompt
from pplava_core.evals.runs.clips import ClipReading, read_clips
from pplava_core.evals.runs.running import Work, group_items
from pplava_core.models.language.words import VISUAL_ID

VISUAL = "<visual tokens>"


@dataclass(frozen=True, kw_only=True)
class Rehearsed:
    """One question as it would be put."""

    item: Item
    prompt: Prompt
    text: str
    "The whole prompt with the model's own marks; `VISUAL` stands for the frames."
    frames: int
    max_new_tokens: int
    error: str | None
    "Why the question cannot be asked so; subtitles that cannot be had are left out."


def rehearse(items: Sequence[Item], work: Work) -> Iterator[Rehearsed]:
    """Yield the items' prompts, byte for byte as the model will read them."""
    config = work.model.config
    groups = group_items(items, work)
    reading = ClipReading(
        pixels=config.pixels,
        default_num_frames=config.num_frames,
        reader=work.reader,
        workers=0,
    )
    clips = read_clips([group.clip for group in groups], reading)
    for group, clip in zip(groups, clips, strict=True):
        failed = isinstance(clip, PplavaError)
        seconds = () if isinstance(clip, PplavaError) else tuple(map(float, clip.seconds))
        for item in group.items:
            prompt, error = _worded(item, work, seconds)
            yield Rehearsed(
                item=item,
                prompt=prompt,
                text=_whole(prompt, work),
                frames=len(seconds),
                max_new_tokens=work.benchmark.max_new_tokens(item, work.settings),
                error=str(clip) if failed else error,
            )


def _worded(item: Item, work: Work, seconds: Sequence[float]) -> tuple[Prompt, str | None]:
    """Word an item, without its subtitles where they cannot be had; say why not."""
    try:
        return work.benchmark.prompt(item, work.settings, seconds), None
    except InputError as error:
        bare = replace(work.settings, subtitles=False)
        return work.benchmark.prompt(item, bare, seconds), str(error)


def _whole(prompt: Prompt, work: Work) -> str:
    """Turn the ids that the model reads back into text, control marks and all."""
    ids = work.model.prompt_ids(
        prompt.query, system=prompt.system, answer_prefix=prompt.answer_prefix
    )
    tokenizer = work.model.words.tokenizer
    pieces: list[list[int]] = [[]]
    for token in ids:
        if token == VISUAL_ID:
            pieces.append([])
        else:
            pieces[-1].append(token)
    return VISUAL.join(tokenizer.decode(piece, skip_special_tokens=False) for piece in pieces)
