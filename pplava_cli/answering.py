"""Asking one question about several inputs: one answer each, in order.

Shared by the commands that answer and leave. A failure on one input is told and counted
and never stops the rest. Knows nothing of flags.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pplava_cli import opening
from pplava_cli.console import Output, printable, without_controls
from pplava_cli.failures import exit_code_of_run
from pplava_cli.inputs import Input
from pplava_cli.interrupts import first_interrupt
from pplava_cli.options import ModelOptions
from pplava_cli.records import answer_record, error_record
from pplava_cli.sampling_line import clock, sampling_line
from pplava_cli.wishes import Wishes

if TYPE_CHECKING:
    from pplava_core.models.videolm import VideoLM
    from pplava_core.session import AnswerStream, PoolingChoice, Session, Turn
    from pplava_core.types import Answer, ClipSource, Moment


@dataclass(frozen=True, kw_only=True)
class Request:
    """One question and how it is to be answered."""

    question: str
    wishes: Wishes
    evidence: bool = False
    "Whether the moments that weighed most are shown too."


def answer_inputs(
    inputs: Sequence[Input], request: Request, model_options: ModelOptions, out: Output
) -> int:
    """Answer the request for every input; the model is loaded only if one can be read.

    Returns:
        The exit code.

    Raises:
        ModelError: the model is missing or broken, so that nothing can be answered.
        KeyboardInterrupt: Ctrl-C was pressed; what was written of an answer is shown before.
    """
    model: VideoLM | None = None
    if any(one.error is None for one in inputs):
        model = opening.open_model(model_options, out, request.wishes)
    failures: list[Exception] = []
    several = len(inputs) > 1
    for one in inputs:
        try:
            _answer_one(one, request, model, out, several=several)
        except Exception as error:
            failures.append(error)
            if out.json:
                out.record(error_record(one.paths, request.question, error))
            out.failure(error, about=one.name if several else None)
    return exit_code_of_run(len(inputs) - len(failures), failures)


def _answer_one(
    one: Input, request: Request, model: VideoLM | None, out: Output, *, several: bool
) -> None:
    if one.error is not None:
        raise one.error
    assert model is not None
    wishes = request.wishes
    session = opening.open_session(
        one.paths,
        model,
        sampling=wishes.sampling,
        reader=wishes.reader,
        out=out,
        native=wishes.pooling_wishes.is_native,
    )
    tell_sampling(session, wishes.pooling, out)
    answer = _stream_answer(session, request, out, name=one.name if several else None)
    if out.json:
        out.record(answer_record(session, answer, wishes.generation, evidence=request.evidence))
    elif request.evidence:
        for line in evidence_lines(answer, session.source):
            out.line("  " + line)
    if answer.stopped == "interrupted":
        raise KeyboardInterrupt


def tell_sampling(session: Session, pooling: PoolingChoice, out: Output) -> None:
    """Say who will be asked, what was read of a clip, and what is doubtful about its pooling."""
    opening.tell_notice(session.model, out)
    out.note(sampling_line(session, pooling))
    warning = session.warning_for(pooling)
    if warning is not None:
        out.warn(warning)


def begin_answer(
    session: Session, question: str, wishes: Wishes, out: Output, *, history: Sequence[Turn] = ()
) -> AnswerStream:
    """Put a question to the model, and tell what of the prompt had to be left out."""
    stream = session.stream(
        question, pooling=wishes.pooling, generation=wishes.generation, history=history
    )
    for warning in stream.warnings:
        out.warn(warning)
    return stream


def _stream_answer(session: Session, request: Request, out: Output, *, name: str | None) -> Answer:
    """Write the answer in words, as it comes on a terminal and whole into a pipe."""
    stream = begin_answer(session, request.question, request.wishes, out)
    prefix = "" if name is None else f"{printable(name)}: "
    with first_interrupt(stream.stop):  # the answer ends at the next word
        if out.streams:
            out.piece(prefix)
            show_pieces(stream, out, one_line=name is not None)
            return stream.answer
        for _ in stream:
            pass
    text = without_controls(stream.answer.text)
    if not out.json:
        out.line(prefix + (text if name is None else " ".join(text.split())))
    return stream.answer


def show_pieces(stream: AnswerStream, out: Output, *, one_line: bool) -> None:
    """Write an answer piece by piece and end its line, also when it is cut short."""
    started = False
    try:
        for piece in stream:
            text = without_controls(piece)
            text = text if started else text.lstrip()
            started = started or bool(text)
            out.piece(text.replace("\n", " ") if one_line else text)
    finally:
        out.line()


def evidence_lines(answer: Answer, source: ClipSource) -> list[str]:
    """Write the moments that weighed most, one a line; pictures are counted, not timed."""
    from pplava_core.evidence import span_of

    has_clock = span_of(source) is not None
    return [_moment_line(moment, has_clock=has_clock) for moment in answer.evidence]


def _moment_line(moment: Moment, *, has_clock: bool) -> str:
    share = f"{100 * moment.share:.0f} % of the relevance"
    if has_clock:
        span = f"{clock(moment.start_seconds)} – {clock(moment.stop_seconds)}"
        return f"{span}: {share}, most at {clock(moment.peak_seconds)}"
    first, last = round(moment.start_seconds) + 1, round(moment.stop_seconds)
    pictures = f"picture {first}" if last <= first else f"pictures {first} – {last}"
    return f"{pictures}: {share}"
