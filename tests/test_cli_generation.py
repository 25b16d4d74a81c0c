"""How answers are written, by flags: what reaches the session, contradictions, Ctrl-C."""

from __future__ import annotations

import io
import json
import signal
import sys
from types import SimpleNamespace

import pytest

from pplava_cli.interrupts import first_interrupt
from pplava_core.models.language.generation_settings import Generation


def asked_with(run_pplava, make_files, fakes, *options, command="ask"):
    question = ["what?"] if command == "ask" else []
    run = run_pplava(command, *make_files("a.mp4"), *question, "--quiet", *options)
    assert (run.code, run.stderr) == (0, "")
    return fakes.sessions[-1].asked[-1]["generation"]


def test_greedy_without_flags(run_pplava, make_files, fakes):
    assert asked_with(run_pplava, make_files, fakes) == Generation()


@pytest.mark.parametrize("command", ["ask", "caption"])
def test_every_flag_reaches_the_session(run_pplava, make_files, fakes, command):
    drawn = ["--temperature", "0.7", "--top-p", "0.9", "--seed", "5", "--max-new-tokens", "9"]
    more = ["--repetition-penalty", "1.2", "--stop", "\n\n", "--stop", "USER:"]
    assert asked_with(run_pplava, make_files, fakes, *drawn, *more, command=command) == Generation(
        temperature=0.7,
        top_p=0.9,
        seed=5,
        max_new_tokens=9,
        repetition_penalty=1.2,
        stop=("\n\n", "USER:"),
    )
    searched = asked_with(run_pplava, make_files, fakes, "--beams", "4", command=command)
    assert searched == Generation(beams=4)


def test_chat_takes_them_too(run_pplava, make_files, fakes, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO("one?\n"))
    run_pplava("chat", *make_files("a.mp4"), "--beams", "2", "--stop", "x")
    assert fakes.sessions[0].asked[0]["generation"] == Generation(beams=2, stop=("x",))


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--beams", "2", "--temperature", "0.5"], "--beams and --temperature exclude each other"),
        (["--top-p", "0.9"], "--top-p needs a --temperature above 0"),
        (["--top-p", "0.9", "--beams", "3"], "--top-p needs a --temperature above 0"),
        (["--top-p", "0", "--temperature", "1"], "top_p is 0.0"),
        (["--top-p", "1.5", "--temperature", "1"], "--top-p"),
        (["--temperature", "nan"], "--temperature"),
        (["--repetition-penalty", "0"], "repetition_penalty is 0.0"),
        (["--repetition-penalty", "-1"], "--repetition-penalty"),
        (["--beams", "0"], "--beams"),
        (["--stop", ""], "a stop string is empty"),
        (["--seed", str(2**64)], "seed is"),
    ],
)
def test_senseless_flags_cost_no_waiting(run_pplava, make_files, fakes, options, complaint):
    run = run_pplava("ask", *make_files("a.mp4"), "what?", *options)
    assert (run.code, run.stdout) == (2, "")
    assert complaint in run.stderr
    assert len(run.stderr.splitlines()) == 1
    assert fakes.loads == []


def test_the_nearer_of_beams_and_temperature_counts(
    run_pplava, make_files, fakes, monkeypatch, own_directories
):
    (own_directories / "config.toml").write_text("temperature = 0.7\ntop_p = 0.9\n")
    usual = asked_with(run_pplava, make_files, fakes)
    assert (usual.temperature, usual.top_p, usual.beams) == (0.7, 0.9, 1)
    once = asked_with(run_pplava, make_files, fakes, "--beams", "3")
    assert (once.temperature, once.beams) == (0.0, 3)
    monkeypatch.setenv("PPLAVA_BEAMS", "2")
    nearer = asked_with(run_pplava, make_files, fakes)
    assert (nearer.temperature, nearer.beams) == (0.0, 2)
    greedy = asked_with(run_pplava, make_files, fakes, "--beams", "1", "--temperature", "0")
    assert (greedy.temperature, greedy.beams) == (0.0, 1)


@pytest.mark.parametrize("command", ["ask", "caption"])
def test_interrupt_keeps_what_was_written(run_pplava, make_files, fakes, monkeypatch, command):
    from pplava_cli import caption

    question = "now CTRL-C and so on"
    monkeypatch.setitem(caption._QUESTIONS, caption.Detail.normal, question)
    words = [question] if command == "ask" else []
    before = signal.getsignal(signal.SIGINT)
    run = run_pplava(command, *make_files("a.mp4", "b.mp4"), *words, "--quiet")
    assert run.code == 130
    assert run.stdout.splitlines() == [run.stdout.splitlines()[0]]  # the second is not answered
    assert run.stdout.endswith("a.mp4: now CTRL-C\n")
    assert run.stderr == ""
    assert signal.getsignal(signal.SIGINT) is before


def test_interrupt_in_json(run_pplava, make_files, fakes):
    run = run_pplava("ask", *make_files("a.mp4", "b.mp4"), "now CTRL-C and so on", "--json")
    (line,) = run.stdout.splitlines()
    record = json.loads(line)
    assert run.code == 130
    assert (record["answer"], record["stopped"]) == ("now CTRL-C", "interrupted")


def test_a_second_interrupt_waits_for_nothing():
    stream = SimpleNamespace(stop=lambda: stops.append(1))
    stops: list[int] = []
    before = signal.getsignal(signal.SIGINT)

    def press_twice():
        with first_interrupt(stream.stop):
            signal.raise_signal(signal.SIGINT)
            assert stops == [1]
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        press_twice()
    assert stops == [1]
    assert signal.getsignal(signal.SIGINT) is before


def test_a_job_that_ignores_interrupts_goes_on(run_pplava, make_files, fakes):
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        run = run_pplava("ask", *make_files("a.mp4"), "now CTRL-C and on", "--quiet")
    finally:
        signal.signal(signal.SIGINT, before)
    assert (run.code, run.stdout) == (0, "now CTRL-C and on [a.mp4]\n")


def test_what_was_left_out_of_the_prompt_is_told_once(run_pplava, make_files, fakes, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO("one?\ntwo?\nthree?\nfour?\n"))
    run = run_pplava("chat", *make_files("a.mp4"))
    assert run.stderr.count("warning: earlier turns were left out") == 1
