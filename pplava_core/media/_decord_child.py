"""The child process that decord runs in: one video, frames on demand, nothing else.

Run as a script by `_decord`, which can kill it: decord is known to loop for ever on some
files, in native code that only a signal stops. Stands alone on purpose: it imports decord and
the standard library. Every answer on standard output is a line of JSON, followed, for a
frame, by its raw RGB bytes. Every line on standard input is the index of a wanted frame.
"""

import json
import os
import sys
from typing import Any, BinaryIO


def main() -> None:
    """Open the video named by the first argument and serve its frames."""
    # decord's libraries may print: what they print must not end up among the answers
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    try:
        _serve(sys.argv[1], answers)
    except Exception as error:
        _answer(answers, {"error": (str(error).splitlines() or [type(error).__name__])[0]})


def _serve(path: str, answers: BinaryIO) -> None:
    import decord

    video = decord.VideoReader(path, num_threads=1)
    times = video.get_frame_timestamp(range(len(video)))
    _answer(
        answers,
        {
            "seconds": [float(start) for start, _ in times],
            "stop_seconds": float(times[-1][1]) if len(times) else 0.0,
            "fps": float(video.get_avg_fps()),
        },
    )
    for line in sys.stdin:
        picture = video[int(line)].asnumpy()
        _answer(answers, {"shape": picture.shape}, picture.tobytes())


def _answer(answers: BinaryIO, header: dict[str, Any], body: bytes = b"") -> None:
    answers.write(json.dumps(header).encode() + b"\n" + body)
    answers.flush()


if __name__ == "__main__":
    main()
