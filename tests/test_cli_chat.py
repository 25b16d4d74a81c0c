"""`pplava chat` with lines from a pipe: memory, slash commands, Ctrl-C."""

from __future__ import annotations

import io
import sys

import pytest


@pytest.fixture
def chat(run_pplava, monkeypatch):
    def run(paths, *lines, options=("--quiet",)):
        monkeypatch.setattr(sys, "stdin", io.StringIO("".join(f"{line}\n" for line in lines)))
        return run_pplava("chat", *paths, *options)

    return run


def test_turns_are_remembered_until_reset(chat, make_files, fakes):
    run = chat(make_files("a.mp4"), "one?", "two?", "/reset", "three?")
    assert (run.code, run.stderr) == (0, "")
    assert run.stdout == "one? [a.mp4]\ntwo? [a.mp4]\nthree? [a.mp4]\n"
    (session,) = fakes.sessions
    histories = [[turn.question for turn in asked["history"]] for asked in session.asked]
    assert histories == [[], ["one?"], []]
    assert session.asked[1]["history"][0].answer == "one? [a.mp4]"


def test_end_of_input_and_quit_leave(chat, make_files, fakes):
    films = make_files("a.mp4")
    assert chat(films).code == 0
    run = chat(films, "/quit", "never asked?")
    assert (run.code, run.stdout) == (0, "")


def test_interrupt_stops_the_answer_not_the_chat(chat, make_files, fakes):
    run = chat(make_files("a.mp4"), "first CTRL-C and so on", "second?", options=())
    assert run.code == 0
    assert run.stdout == "first CTRL-C\nsecond? [a.mp4]\n"
    assert "stopped; this turn is not remembered" in run.stderr
    assert fakes.sessions[0].asked[1]["history"] == ()


def test_video_turns_to_another_clip_and_forgets(chat, make_files, fakes):
    one, two = make_files("a.mp4", "with space.mp4")
    run = chat([one], "one?", f"/video {two}", "two?", f'/video "{one}"', "three?")
    assert run.stdout == "one? [a.mp4]\ntwo? [with space.mp4]\nthree? [a.mp4]\n"
    assert fakes.sessions[1].asked[0]["history"] == ()


def test_from_reads_another_range_and_keeps_the_memory(chat, make_files, fakes):
    chat(make_files("a.mp4"), "one?", "/from 0:01 1.5", "two?", "/from", "three?")
    ranges = [(s.sampling.start_seconds, s.sampling.stop_seconds) for s in fakes.sessions]
    assert ranges == [(None, None), (1.0, 1.5), (None, None)]
    assert len(fakes.sessions[2].asked[0]["history"]) == 2


def test_evidence_of_the_last_answer(chat, make_files, fakes):
    run = chat(make_files("a.mp4"), "/evidence", "when?", "/evidence")
    assert run.stderr == "pplava: nothing was answered yet: ask a question first\n"
    assert run.stdout == "when? [a.mp4]\n0.5 s – 1.5 s: 75 % of the relevance, most at 1 s\n"


def test_heatmap_of_the_last_question(chat, make_files, fakes, tmp_path):
    sheet = tmp_path / "sheet.png"
    run = chat(make_files("a.mp4"), f"/heatmap {sheet}", "where?", f"/heatmap {sheet}")
    assert run.stderr == "pplava: nothing was answered yet: ask a question first\n"
    assert run.stdout.splitlines() == ["where? [a.mp4]", str(sheet)]
    assert sheet.read_bytes().startswith(b"\x89PNG")


def test_save_writes_once_and_spares_other_files(chat, make_files, fakes, tmp_path):
    note, other = tmp_path / "said.md", tmp_path / "other.md"
    other.write_text("mine")
    (film,) = make_files("a.mp4")
    run = chat([film], "one?", f"/save {note}", "two?", f"/save {note}", f"/save {other}")
    expected = f"# {film}\n\n> one?\n\none? [a.mp4]\n\n> two?\n\ntwo? [a.mp4]\n"
    assert note.read_text() == expected
    assert other.read_text() == "mine"
    assert run.stderr == f"pplava: {other} exists already: choose another name\n"


def test_mistakes_are_one_line_and_the_chat_goes_on(chat, make_files, fakes, tmp_path):
    run = chat(
        make_files("a.mp4"),
        "/vidoe x",
        "/video",
        f"/video {tmp_path / 'gone.mp4'}",
        "/from 1 2 3",
        "/from x",
        "still there?",
    )
    assert run.code == 0
    assert run.stdout == "still there? [a.mp4]\n"
    lines = run.stderr.splitlines()
    assert len(lines) == 5
    assert lines[0] == "pplava: no command /vidoe; /video?"


def test_help_lists_every_command(chat, make_files, fakes):
    from pplava_cli.conversation import COMMANDS

    run = chat(make_files("a.mp4"), "/help")
    assert [line.split()[0] for line in run.stdout.splitlines()[:-1]] == [*COMMANDS]
    assert run.stderr == ""


def test_first_clip_must_be_readable_before_a_model_is_loaded(chat, fakes, tmp_path):
    run = chat([tmp_path / "gone.mp4"], "what?")
    assert (run.code, run.stdout, fakes.loads) == (3, "", [])


def test_two_films_are_no_conversation(chat, make_files, fakes):
    run = chat(make_files("a.mp4", "b.mp4"), "what?")
    assert (run.code, run.stdout, fakes.loads) == (2, "", [])
