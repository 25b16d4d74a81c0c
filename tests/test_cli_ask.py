"""`pplava ask`: which inputs are answered together, what goes where, and the exit codes."""

from __future__ import annotations

import io
import json
import sys

import pytest
from cli_fakes import NOTICE

from pplava_core.models.language.generation_settings import Generation


def test_answer_is_all_there_is_on_stdout(run_pplava, make_files, fakes):
    (film,) = make_files("a.mp4")
    run = run_pplava("ask", film, "how many?")
    assert run.code == 0
    assert run.stdout == "how many? [a.mp4]\n"
    assert run.stderr.splitlines() == [
        NOTICE,
        f"{film}: 4 of 8 frames at 0 s, 0.5 s, 1 s, 1.5 s; 0 s–2 s of 2 s at 4 fps, 64×48; "
        "24 → 4 tokens by 1×2×3; fake on cpu float32; read by pyav",
    ]


def test_quiet_leaves_only_the_answer(run_pplava, make_files, fakes):
    run = run_pplava("ask", *make_files("a.mp4"), "how many?", "--quiet")
    assert (run.code, run.stdout, run.stderr) == (0, "how many? [a.mp4]\n", "")


def test_pictures_alone_get_one_joint_answer(run_pplava, make_files, fakes):
    run = run_pplava("ask", *make_files("b.png", "a.png"), "same?", "--quiet")
    assert run.stdout == "same? [b.png a.png]\n"


def test_each_separates_pictures(run_pplava, make_files, fakes):
    one, two = make_files("b.png", "a.png")
    run = run_pplava("ask", one, two, "red?", "--each", "--quiet")
    assert run.stdout == f"{one}: red? [b.png]\n{two}: red? [a.png]\n"


def test_one_film_among_pictures_separates_all(run_pplava, make_files, fakes):
    paths = make_files("b.png", "film.mp4", "a.png")
    run = run_pplava("ask", *paths, "red?", "--quiet")
    assert run.stdout == "".join(f"{path}: red? [{path.name}]\n" for path in paths)
    assert len(fakes.loads) == 1


def test_failure_on_one_stops_nothing(run_pplava, make_files, fakes):
    paths = make_files("a.mp4", "b.mp4", "c.mp4")
    fakes.broken_names.add("b.mp4")
    run = run_pplava("ask", *paths, "red?", "--quiet")
    assert run.code == 1
    assert run.stdout == f"{paths[0]}: red? [a.mp4]\n{paths[2]}: red? [c.mp4]\n"
    assert run.stderr == (
        f"pplava: {paths[1]}: the file is cut before its first frame; copy it again\n"
    )


def test_one_broken_film_is_one_line(run_pplava, make_files, fakes):
    (film,) = make_files("a.mp4")
    fakes.broken_names.add("a.mp4")
    run = run_pplava("ask", film, "red?")
    assert (run.code, run.stdout) == (3, "")
    assert run.stderr == (
        f"pplava: {film}: the file is cut before its first frame; copy it again\n"
    )


def test_the_model_is_introduced_once_to_several_films(run_pplava, make_files, fakes):
    run = run_pplava("ask", *make_files("a.mp4", "b.mp4"), "red?")
    assert run.stderr.splitlines().count(NOTICE) == 1


def test_missing_file_among_films_is_told_in_its_turn(run_pplava, make_files, fakes, tmp_path):
    (film,) = make_files("a.mp4")
    run = run_pplava("ask", tmp_path / "gone.mp4", film, "red?", "--quiet")
    assert run.code == 1
    assert run.stdout == f"{film}: red? [a.mp4]\n"
    assert "gone.mp4" in run.stderr
    assert len(run.stderr.splitlines()) == 1


def test_missing_picture_spoils_the_joint_answer(run_pplava, make_files, fakes, tmp_path):
    (picture,) = make_files("a.png")
    run = run_pplava("ask", picture, tmp_path / "gone.png", "same?", "--quiet")
    assert (run.code, run.stdout) == (3, "")
    assert "gone.png" in run.stderr


def test_no_readable_input_loads_no_model(run_pplava, fakes, tmp_path):
    run = run_pplava("ask", tmp_path / "gone.mp4", "red?")
    assert (run.code, run.stdout) == (3, "")
    assert len(run.stderr.splitlines()) == 1
    assert fakes.loads == []


def test_all_inputs_unreadable_is_three(run_pplava, make_files, fakes):
    fakes.broken_names |= {"a.mp4", "b.mp4"}
    run = run_pplava("ask", *make_files("a.mp4", "b.mp4"), "red?")
    assert (run.code, run.stdout) == (3, "")


def test_missing_model_is_four(run_pplava, make_files, fakes):
    run = run_pplava("ask", *make_files("a.mp4"), "red?", "--model", "giant")
    assert (run.code, run.stdout) == (4, "")
    assert run.stderr == "pplava: no model named giant; `pplava models list` shows all\n"


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["{film}"], "the question is missing"),
        (["{film}", "{film}"], "the question is missing"),
        (["{film}", "gone.mp4"], "the question is missing"),
        (["what is there?"], "the video is missing"),
        (["{film}", ""], "the question is empty"),
        (["{film}", "  "], "the question is empty"),
        (["{film}", "how \udcff many"], "the question is not text"),
        (["-", "what?"], "a video cannot come from stdin"),
        ([], "Missing argument 'QUESTION'"),
        (["{film}", "what?", "--kernel", "2,3"], "2,3"),
        (["{film}", "what?", "--stride", "2,3,3"], "--stride needs --kernel"),
        (["{film}", "what?", "--frames", "4", "--fps", "1"], "exclude each other"),
        (["{film}", "what?", "--kernel", "2,2,2", "--tokens", "9"], "exclude each other"),
        (["{film}", "what?", "--kernel", "2,2,2", "--weighting", "none"], "exclude each other"),
        (["{film}", "what?", "--tokens", "9", "--weighting", "none"], "exclude each other"),
        (["{film}", "what?", "--from", "5", "--to", "3"], "empty"),
        (["{film}", "what?", "--from", "1:xx"], "1:xx"),
        (["{film}", "what?", "--frames", "0"], "--frames"),
        (["{film}", "what?", "--weighting", "best"], "--pooling"),
        (["{film}", "what?", "--nonsense"], "--nonsense"),
    ],
)
def test_usage_errors_are_one_line(run_pplava, make_files, fakes, words, complaint):
    (film,) = make_files("a.mp4")
    run = run_pplava("ask", *(word.format(film=film) for word in words))
    assert (run.code, run.stdout) == (2, "")
    assert complaint in run.stderr
    assert len(run.stderr.splitlines()) == 1
    assert fakes.loads == []


def test_question_from_stdin(run_pplava, make_files, fakes, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO("what moves?\n"))
    run = run_pplava("ask", *make_files("a.mp4"), "-", "--quiet")
    assert run.stdout == "what moves? [a.mp4]\n"


def test_bytes_on_stdin_that_are_no_text(run_pplava, make_files, fakes, monkeypatch):
    stdin = io.TextIOWrapper(io.BytesIO(b"how \xff many"), encoding="utf-8")
    monkeypatch.setattr(sys, "stdin", stdin)
    run = run_pplava("ask", *make_files("a.mp4"), "-")
    assert (run.code, run.stdout) == (2, "")
    assert "the question is not text" in run.stderr


def test_options_reach_the_session(run_pplava, make_files, fakes):
    options = [
        *("--fps", "2", "--from", "0:01", "--to", "1.5", "--reader", "decord"),
        *("--kernel", "2,2,3", "--stride", "1,2,3", "--weighting", "authors"),
        *("--max-new-tokens", "7", "--temperature", "0.5", "--seed", "3"),
    ]
    run = run_pplava("ask", *make_files("a.mp4"), "what?", "--device", "cpu", *options)
    assert run.code == 0
    (session,) = fakes.sessions
    sampling = session.sampling
    assert (sampling.num_frames, sampling.fps) == (None, 2.0)
    assert (sampling.start_seconds, sampling.stop_seconds) == (1.0, 1.5)
    assert session.reader == "decord"
    (asked,) = session.asked
    assert asked["pooling"].window.kernel == (2, 2, 3)
    assert asked["pooling"].window.step == (1, 2, 3)
    assert asked["pooling"].max_tokens is None
    assert asked["pooling"].weighting == "authors"
    assert asked["generation"] == Generation(max_new_tokens=7, temperature=0.5, seed=3)
    assert fakes.loads[0].device == "cpu"
    assert "read by decord (unverified)" in run.stderr


def test_token_budget_reaches_the_session(run_pplava, make_files, fakes):
    run_pplava("ask", *make_files("a.mp4"), "what?", "--tokens", "9")
    assert fakes.sessions[0].asked[0]["pooling"].max_tokens == 9


def test_doubtful_choice_is_told_once_a_run(run_pplava, make_files, fakes):
    run = run_pplava("ask", *make_files("a.mp4", "b.mp4"), "what?", "--weighting", "max")
    assert run.stderr.count("warning: doubtful") == 1


def test_evidence_follows_the_answer(run_pplava, make_files, fakes):
    run = run_pplava("ask", *make_files("a.mp4"), "when?", "--evidence", "--quiet")
    assert run.stdout.splitlines() == [
        "when? [a.mp4]",
        "  0.5 s – 1.5 s: 75 % of the relevance, most at 1 s",
    ]


def test_several_answers_stay_one_a_line(run_pplava, make_files, fakes):
    paths = make_files("a.mp4", "line\nbreak.mp4")
    run = run_pplava("ask", *paths, "what\nis it?", "--quiet")
    assert len(run.stdout.splitlines()) == 2
    assert "line\\nbreak.mp4: what is it?" in run.stdout


def test_answers_cannot_control_a_terminal(run_pplava, make_files, fakes):
    run = run_pplava("ask", *make_files("a.mp4"), "\x1b[31mred?\x07", "--quiet")
    assert run.stdout == "[31mred? [a.mp4]\n"


def test_json_lines_hold_answers_and_errors(run_pplava, make_files, fakes):
    paths = make_files("a.mp4", "b.mp4")
    fakes.broken_names.add("a.mp4")
    run = run_pplava("ask", *paths, "what?", "--json")
    first, second = (json.loads(line) for line in run.stdout.splitlines())
    assert run.code == 1
    assert (first["type"], first["exit_code"], first["inputs"]) == ("error", 3, [str(paths[0])])
    assert (second["type"], second["answer"]) == ("answer", "what? [b.mp4]")
    assert second["evidence"] is None


def test_terminal_gets_the_answer_in_pieces(make_files, fakes, monkeypatch):
    from pplava_cli.app import main

    class Terminal(io.StringIO):
        writes: list[str]

        def isatty(self):
            return True

        def write(self, text):
            self.writes.append(text)
            return super().write(text)

    terminal = Terminal()
    terminal.writes = []
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stdout", terminal)
    assert main(["ask", str(make_files("a.mp4")[0]), "how many are there?", "--quiet"]) == 0
    assert terminal.getvalue() == "how many are there? [a.mp4]\n"
    assert [text for text in terminal.writes if text][:3] == ["how", " many", " are"]


def test_unforeseen_error_is_one_line_unless_debugged(run_pplava, make_files, fakes):
    fakes.raises = KeyError("weights")
    (film,) = make_files("a.mp4")
    run = run_pplava("ask", film, "what?", "--quiet")
    assert (run.code, run.stdout) == (1, "")
    assert run.stderr == "pplava: unexpected KeyError: 'weights' (--debug shows where)\n"
    run = run_pplava("ask", film, "what?", "--quiet", "--debug")
    assert "Traceback (most recent call last)" in run.stderr


def test_interrupt_is_130(run_pplava, make_files, fakes, monkeypatch):
    from pplava_cli import opening

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(opening, "load_model", interrupted)
    run = run_pplava("ask", *make_files("a.mp4"), "what?", "--quiet")
    assert (run.code, run.stdout, run.stderr) == (130, "", "")
