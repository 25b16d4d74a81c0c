"""A judge's endpoint misbehaves in every way; what was paid for is kept, the key stays secret."""

from __future__ import annotations

import asyncio
import traceback
from pathlib import Path

import pytest
from judge_server import (
    echoes_the_key,
    fails,
    hangs_up,
    judge_server,
    says,
    sends,
    sleeps,
)

from pplava_core.errors import ModelError, PplavaError, UsageError
from pplava_core.evals.judges import judge as judge_module
from pplava_core.evals.judges.judge import Judge, NotJudgedError

KEY = "sk-very-secret-0123456789"
MESSAGES = [{"role": "user", "content": "Is it right?"}]


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setenv("PPLAVA_JUDGE_KEY", KEY)
    monkeypatch.setattr("openai._base_client.INITIAL_RETRY_DELAY", 0.01)


@pytest.fixture
def server():
    with judge_server(says("fine")) as told:
        yield told


def ask(server, *, messages=MESSAGES, attempt=0, **options):
    judge = Judge(server.url, "tester", **options)

    async def once():
        async with judge:
            return await judge.ask(messages, attempt=attempt)

    return asyncio.run(once()), judge.usage


def refused(server, error, **options) -> str:
    """Ask, expect this error, and return all that anybody could see of it."""
    with pytest.raises(error) as caught:
        ask(server, **options)
    shown = "".join(traceback.format_exception(caught.value))
    assert KEY not in shown
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_reply_and_what_it_cost(server):
    reply, usage = ask(server)
    assert reply.text == "fine"
    assert (usage.replies, usage.prompt_tokens, usage.completion_tokens) == (1, 100, 10)
    assert server.requests == [{"model": "tester", "messages": MESSAGES}]
    assert server.headers[0]["authorization"] == f"Bearer {KEY}"


def test_tokens_that_are_not_stated_are_counted_as_unknown(server):
    server.usual = says("fine", usage=False)
    _, usage = ask(server)
    assert (usage.replies, usage.unmetered, usage.prompt_tokens) == (1, 1, 0)


def test_what_a_protocol_asks_for_is_sent(server):
    ask(server, temperature=0.0, max_tokens=64)
    assert server.requests[0]["temperature"] == 0.0
    assert server.requests[0]["max_tokens"] == 64


def test_the_second_time_costs_nothing(server):
    first, _ = ask(server)
    second, usage = ask(server)
    assert second == first
    assert len(server.requests) == 1
    assert (usage.replies, usage.remembered, usage.prompt_tokens) == (0, 1, 0)


@pytest.mark.parametrize(
    "other",
    [
        {"attempt": 1},
        {"temperature": 0.5},
        {"messages": [{"role": "user", "content": "Is it wrong?"}]},
    ],
)
def test_another_content_is_another_request(server, other):
    ask(server)
    ask(server, **other)
    assert len(server.requests) == 2


def test_a_damaged_memory_is_asked_again(server, own_directories):
    ask(server)
    [kept] = (own_directories / "cache" / "evals" / "judge").rglob("*.json")
    kept.write_text('{"text": "fi')
    assert ask(server)[0].text == "fine"
    assert len(server.requests) == 2
    assert ask(server)[1].remembered == 1


@pytest.mark.parametrize(
    "manner",
    [
        fails(429, **{"retry-after": "0.02"}),
        fails(500),
        fails(503),
        fails(408),
        hangs_up,
        sleeps(0.3),
        sends(b'{"choices": ['),
        sends(b"<html>", "text/html"),
        sends(b"[1]"),
        sends(b'{"choices": []}'),
        sends(b'{"choices": [{"message": null}]}'),
        sends(b"\xff\xfe"),
    ],
)
def test_one_misbehaviour_is_survived(server, manner):
    server.queue.append(manner)
    reply, usage = ask(server, timeout_seconds=0.2)
    assert reply.text == "fine"
    assert len(server.requests) == 2
    assert usage.replies == 1


def test_the_endpoint_says_how_long_to_wait(server):
    server.queue.append(fails(429, **{"retry-after": "0.4"}))
    ask(server)
    assert 0.4 <= server.times[1] - server.times[0] < 2


@pytest.mark.parametrize(
    ("manner", "status"),
    [(fails(429), "429"), (fails(500), "500"), (hangs_up, "6 times"), (sleeps(0.1), "6 times")],
)
def test_endless_misbehaviour_is_given_up(server, manner, status):
    server.usual = manner
    message = refused(server, NotJudgedError, timeout_seconds=0.05)
    assert status in message
    assert len(server.requests) == judge_module.TRANSPORT_RETRIES + 1


def test_endless_nonsense_is_given_up(server):
    server.usual = sends(b"{}")
    assert "no chat completion" in refused(server, NotJudgedError)
    assert len(server.requests) == judge_module.BROKEN_REPLIES


@pytest.mark.parametrize(
    ("manner", "advice"),
    [
        (fails(401), "PPLAVA_JUDGE_KEY"),
        (fails(403), "OPENAI_API_KEY"),
        (fails(404, "no such model"), "--judge-model tester"),
        (fails(429, "pay first", code="insufficient_quota"), "pay first"),
    ],
)
def test_what_no_retry_mends_ends_the_run(server, manner, advice):
    server.usual = manner
    with pytest.raises(ModelError) as caught:
        ask(server)
    assert not isinstance(caught.value, NotJudgedError)
    assert advice in str(caught.value)


def test_one_refused_text_is_not_the_end_of_others(server):
    server.usual = fails(400, "content filter")
    assert "content filter" in refused(server, NotJudgedError)


def test_nobody_listens():
    with judge_server(says("fine")) as told:
        pass
    assert "Connection error" in refused(told, NotJudgedError)


def test_the_key_is_nowhere_to_be_seen(server, own_directories, caplog, capfd):
    server.usual = echoes_the_key
    with caplog.at_level("DEBUG"):
        assert "[key]" in refused(server, ModelError)
        server.usual = says("fine")
        ask(server)
    out, err = capfd.readouterr()
    assert KEY not in out + err + caplog.text + repr(Judge(server.url, "tester"))
    files = [path for path in Path(own_directories).rglob("*") if path.is_file()]
    assert files
    assert not any(KEY.encode() in path.read_bytes() for path in files)


def test_where_the_key_comes_from(server, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "second")
    ask(server)
    monkeypatch.setenv("PPLAVA_JUDGE_KEY", "")
    ask(server, attempt=1)
    monkeypatch.delenv("OPENAI_API_KEY")
    ask(server, attempt=2)
    sent = [headers["authorization"].removeprefix("Bearer ") for headers in server.headers]
    assert sent == [KEY, "second", "none"]


def test_a_key_that_cannot_be_sent_is_not_repeated(monkeypatch):
    monkeypatch.setenv("PPLAVA_JUDGE_KEY", "sk-ké y")
    with pytest.raises(UsageError) as caught:
        Judge("http://127.0.0.1:1/v1", "tester")
    assert "sk-" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "127.0.0.1:8000/v1",
        "ftp://host/v1",
        "http://",
        "http://name:word@host/v1",
        "http://host/v1?key=word",
        "http://[::1/v1",
        "http://host:port/v1",
    ],
)
def test_addresses_that_make_no_sense(url):
    with pytest.raises(UsageError, match="--judge-url") as caught:
        Judge(url, "tester")
    assert "word" not in str(caught.value).replace("password", "")


def test_the_whole_address_of_an_endpoint_will_do():
    assert Judge("http://host/v1/chat/completions/", "tester").url == "http://host/v1"


def test_a_full_disk_is_one_line(server, own_directories):
    (own_directories / "cache").mkdir(exist_ok=True)
    (own_directories / "cache" / "evals").write_text("in the way")
    with pytest.raises(PplavaError, match="cannot be written"):
        ask(server)
