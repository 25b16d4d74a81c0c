"""All answers of a run are judged: many at once, nothing twice, nothing lost."""

from __future__ import annotations

import shutil
import threading

import pytest
from judge_server import completion, fails, judge_server, replies, says, sends

from pplava_core.errors import InputError, ModelError, UsageError
from pplava_core.evals.base import Item, Prediction, Settings
from pplava_core.evals.benchmarks.msrvttqa import MSRVTTQA
from pplava_core.evals.judges.judge import TRANSPORT_RETRIES, Judge
from pplava_core.evals.judges.judging import (
    FAILURES_IN_A_ROW,
    JudgingOutcome,
    judge_predictions,
)

YES, NO = "{'pred': 'yes', 'score': 4}", "{'pred': 'no', 'score': 1}"


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    monkeypatch.setattr("openai._base_client.INITIAL_RETRY_DELAY", 0.01)


@pytest.fixture
def server():
    with judge_server(replies(lambda text: YES if "word 1" in text else NO)) as told:
        yield told


@pytest.fixture
def memory(own_directories):
    return own_directories / "cache" / "evals" / "judge"


def items(count=12):
    return [
        Item(id=str(n), video=None, video_id=str(n), question=f"question {n}?", answer=f"word {n}")
        for n in range(count)
    ]


def answers(count=12):
    return {str(n): Prediction(id=str(n), text=f"said {n}") for n in range(count)}


def judge(server, count=12, *, predictions=None, protocol="official", **options):
    """Judge, and return what came of it."""
    outcome = JudgingOutcome()
    names = ("log", "retries", "progress")
    more = {name: options.pop(name) for name in names if name in options}
    one = Judge(server.url, options.pop("model", "tester"), **options)
    found = judge_predictions(
        MSRVTTQA(),
        items(count),
        answers(count) if predictions is None else predictions,
        one,
        Settings(protocol=protocol),
        outcome=outcome,
        **more,
    )
    return found, one.usage, outcome


def verdicts(found):
    return {
        name: (one.details["judge"]["match"]["pred"], one.details["judge"]["match"]["score"])
        for name, one in found.items()
        if "judge" in one.details
    }


def test_verdicts_stand_in_the_predictions(server):
    found, usage, outcome = judge(server)
    right = {"1", "10", "11"}
    expected = {str(n): ("yes", 4) if str(n) in right else ("no", 1) for n in range(12)}
    assert verdicts(found) == expected
    assert list(found) == list(answers())
    assert found["1"].text == "said 1"
    kept = found["1"].details["judge"]["match"]
    assert kept["reply"] == YES
    assert (kept["how"], kept["attempts"], kept["model"]) == ("read", 1, "tester")
    assert kept["prompt"] == "our wording"
    assert (usage.replies, usage.prompt_tokens, outcome.judged) == (12, 1200, 12)


def test_what_is_sent_holds_question_answer_and_prediction(server):
    judge(server, 1)
    [request] = server.requests
    text = request["messages"][1]["content"]
    assert "question 0?" in text
    assert "word 0" in text
    assert "said 0" in text
    assert set(request) == {"model", "messages"}


@pytest.mark.parametrize("bound", [1, 3, 8])
def test_so_many_at_a_time_and_no_more(server, bound):
    full = threading.Event()

    def patient(handler, body):
        if server.in_flight >= bound:
            full.set()
        assert full.wait(20)
        says(YES, after_seconds=0.01)(handler, body)

    server.usual = patient
    judge(server, 12, concurrency=bound)
    assert len(server.requests) == 12
    assert server.most_in_flight == bound


def test_a_second_run_sends_nothing(server, tmp_path, memory):
    log = tmp_path / "judgements.jsonl"
    first, _, _ = judge(server, log=log)
    from_both, _, _ = judge(server, log=log)
    log.unlink()
    from_memory, usage, _ = judge(server, log=log)
    shutil.rmtree(memory)
    from_log, _, outcome = judge(server, log=log)
    assert len(server.requests) == 12
    assert first == from_both == from_memory == from_log
    assert (usage.replies, usage.remembered, usage.prompt_tokens) == (0, 12, 0)
    assert (outcome.judged, outcome.noted) == (12, 12)


def test_another_judge_or_answer_is_judged_anew(server, tmp_path):
    log = tmp_path / "judgements.jsonl"
    judge(server, log=log)
    judge(server, log=log, model="other")
    assert len(server.requests) == 24
    changed = answers() | {"3": Prediction(id="3", text="said otherwise")}
    found, _, _ = judge(server, log=log, predictions=changed)
    assert len(server.requests) == 25
    assert found["3"].details["judge"]["match"]["model"] == "tester"


def test_errors_and_gaps_are_not_sent(server):
    predictions = answers(4) | {"1": Prediction(id="1", error="no such video")}
    del predictions["2"]
    found, _, _ = judge(server, 4, predictions=predictions)
    assert set(verdicts(found)) == {"0", "3"}
    assert found["1"] == predictions["1"]


def test_the_same_question_is_asked_once(server):
    same = [Item(id=str(n), video=None, video_id="v", question="q?", answer="a") for n in range(5)]
    predictions = {str(n): Prediction(id=str(n), text="said") for n in range(5)}
    found = judge_predictions(
        MSRVTTQA(), same, predictions, Judge(server.url, "tester"), Settings()
    )
    assert len(server.requests) == 1
    assert len(verdicts(found)) == 5


def test_unreadable_replies_are_asked_for_again_but_not_for_ever(server, tmp_path):
    log = tmp_path / "judgements.jsonl"
    server.usual = says("I think it is right!")
    found, usage, outcome = judge(server, 1, log=log, retries=2)
    assert len(server.requests) == 3
    assert verdicts(found) == {"0": (None, None)}
    assert found["0"].details["judge"]["match"]["how"] == "unparseable"
    assert (usage.replies, outcome.unparseable) == (3, 1)
    judge(server, 1, log=log, retries=2)
    assert len(server.requests) == 3
    server.usual = says(YES)
    found, _, _ = judge(server, 1, log=log, retries=4)
    assert len(server.requests) == 4
    assert verdicts(found) == {"0": ("yes", 4)}


@pytest.mark.parametrize(
    ("text", "official", "ppllava", "lmms"),
    [
        ("{'pred': 'yes'}", None, 3, 0),
        ("[{'pred': 'yes', 'score': 5}]", None, 5, 5),
        ("Sure: {'pred': 'yes', 'score': 2}.", None, None, 2),
        (None, None, None, 0),
    ],
)
def test_each_protocol_reads_in_its_way(server, text, official, ppllava, lmms):
    server.usual = says(text)
    for protocol, score in (("official", official), ("ppllava", ppllava), ("lmms", lmms)):
        server.requests.clear()
        found, _, _ = judge(server, 1, protocol=protocol, retries=1, model=protocol)
        assert verdicts(found)["0"][1] == score
        assert len(server.requests) == (2 if score is None else 1)


def test_one_unanswerable_request_does_not_stop_the_others(server, tmp_path):
    log = tmp_path / "judgements.jsonl"

    def picky(handler, body):
        if "word 2" in body["messages"][1]["content"]:
            fails(400, "this text is not allowed")(handler, body)
        else:
            handler.send(200, completion(YES, body["model"]))

    server.usual = picky
    found, _, outcome = judge(server, 6, log=log)
    assert set(verdicts(found)) == {"0", "1", "3", "4", "5"}
    assert len(outcome.failures) == 1
    assert "not allowed" in outcome.failures[0]
    server.usual = says(NO)
    found, _, _ = judge(server, 6, log=log)
    assert verdicts(found)["2"] == ("no", 1)
    assert len(server.requests) == 7


def test_texts_that_are_never_taken_do_not_hide_what_is_judged(server, tmp_path):
    log = tmp_path / "judgements.jsonl"
    server.queue.append(says(YES))
    server.usual = fails(400, "not this text")
    for run in range(2):
        found, _, outcome = judge(server, 16, log=log, concurrency=1)
        assert len(verdicts(found)) == 1
        assert len(outcome.failures) == 15
        assert len(server.requests) == 16 + 15 * run


@pytest.mark.parametrize("manner", [fails(409), fails(503)])
def test_an_endpoint_that_fails_again_and_again_is_left_alone(server, tmp_path, manner):
    server.queue.extend([says(YES)] * 3)
    server.usual = manner
    with pytest.raises(ModelError):
        judge(server, 60, concurrency=2, log=tmp_path / "log.jsonl")
    assert len(server.requests) <= 3 + (FAILURES_IN_A_ROW + 1) * (TRANSPORT_RETRIES + 1)
    server.usual = says(YES)
    found, usage, _ = judge(server, 60, log=tmp_path / "log.jsonl")
    assert len(verdicts(found)) == 60
    assert usage.replies == 57


@pytest.mark.parametrize("manner", [fails(400), fails(401), fails(404), sends(b"{}"), fails(500)])
def test_an_endpoint_that_never_answers_is_an_error(server, manner):
    server.usual = manner
    with pytest.raises(ModelError, match="judge http"):
        judge(server, 3)


def test_breaking_off_loses_nothing(server, tmp_path):
    log = tmp_path / "judgements.jsonl"

    def stop(done, total):
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        judge(server, 30, concurrency=2, log=log, progress=stop)
    assert len(log.read_text().splitlines()) == 5
    with log.open("a") as file:
        file.write('{"id": "match ab')
    before = len(server.requests)
    found, _, _ = judge(server, 30, log=log)
    assert len(verdicts(found)) == 30
    # one was in flight or answered but not yet noted; what was answered is remembered
    assert before + 24 <= len(server.requests) <= before + 25


def test_a_damaged_log_is_named(server, tmp_path):
    log = tmp_path / "judgements.jsonl"
    log.write_text("nonsense\n{}\n")
    with pytest.raises(InputError, match="line 1"):
        judge(server, 2, log=log)


def test_two_runs_do_not_write_into_one_log(server, tmp_path):
    log = tmp_path / "judgements.jsonl"

    def again(done, total):
        with pytest.raises(UsageError, match="in use"):
            judge_predictions(MSRVTTQA(), [], {}, Judge(server.url, "tester"), Settings(), log=log)

    judge(server, 1, log=log, progress=again)


def test_progress_counts_requests(server):
    seen = []
    judge(server, 4, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
