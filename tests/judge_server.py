"""A real HTTP server on this machine that plays an OpenAI-compatible endpoint, badly if told to.

A manner is how it treats one request; a queue of manners is used up first, then every
request is treated in the usual manner.
"""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Manner = Callable[["Handler", dict[str, Any]], None]


class Handler(BaseHTTPRequestHandler):
    """One request: counted, noted, and treated in the next manner."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments: object) -> None:
        """Keep the test's stderr clean."""

    def do_POST(self) -> None:
        size = int(self.headers["content-length"])
        body = json.loads(self.rfile.read(size))
        told: JudgeServer = self.server.told
        with told.lock:
            told.requests.append(body)
            told.headers.append(dict(self.headers))
            told.times.append(time.monotonic())
            told.in_flight += 1
            told.most_in_flight = max(told.most_in_flight, told.in_flight)
            manner = told.queue.popleft() if told.queue else told.usual
        try:
            manner(self, body)
        except (BrokenPipeError, ConnectionResetError):
            pass
        finally:
            with told.lock:
                told.in_flight -= 1

    def send(self, status: int, data: bytes, **headers: str) -> None:
        with self.server.told.lock:
            self.server.told.in_flight -= 1
        try:
            self.send_response(status)
            sent = {"content-type": "application/json", "content-length": str(len(data))}
            for name, value in {**sent, **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)
        finally:
            with self.server.told.lock:
                self.server.told.in_flight += 1


@dataclass
class JudgeServer:
    """What the server was sent, and how it is to answer."""

    usual: Manner
    queue: deque[Manner] = field(default_factory=deque)
    requests: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    in_flight: int = 0
    most_in_flight: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)
    url: str = ""


@contextmanager
def judge_server(usual: Manner) -> Iterator[JudgeServer]:
    """Run a server for a test."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    told = JudgeServer(usual=usual, url=f"http://127.0.0.1:{server.server_port}/v1")
    server.told = told
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield told
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def says(text: str | None, *, after_seconds: float = 0.0, usage: bool = True) -> Manner:
    """Answer properly with this text."""

    def manner(handler: Handler, body: dict[str, Any]) -> None:
        time.sleep(after_seconds)
        handler.send(200, completion(text, body["model"], usage=usage))

    return manner


def replies(text_for: Callable[[str], str]) -> Manner:
    """Answer properly with what a function makes of the user's message."""

    def manner(handler: Handler, body: dict[str, Any]) -> None:
        handler.send(200, completion(text_for(body["messages"][-1]["content"]), body["model"]))

    return manner


def fails(status: int, message: str = "no", *, code: str | None = None, **headers: str) -> Manner:
    """Answer with an error."""

    def manner(handler: Handler, body: dict[str, Any]) -> None:
        error = {"error": {"message": message, "type": "t", "param": None, "code": code}}
        handler.send(status, json.dumps(error).encode(), **headers)

    return manner


def sends(data: bytes, kind: str = "application/json") -> Manner:
    """Answer with these bytes, whatever they are."""
    return lambda handler, body: handler.send(200, data, **{"content-type": kind})


def sleeps(seconds: float) -> Manner:
    """Let the client wait for longer than it will."""
    return lambda handler, body: time.sleep(seconds)


def hangs_up(handler: Handler, body: dict[str, Any]) -> None:
    """Begin an answer and cut the connection."""
    handler.send_response(200)
    handler.send_header("content-type", "application/json")
    handler.send_header("content-length", "1000")
    handler.end_headers()
    handler.wfile.write(b'{"choices": [')
    handler.close_connection = True


def echoes_the_key(handler: Handler, body: dict[str, Any]) -> None:
    """Refuse a key and repeat it, as no endpoint should."""
    key = handler.headers["authorization"]
    fails(401, f"bad header {key}")(handler, body)


def completion(text: str | None, model: str, *, usage: bool = True) -> bytes:
    message = {"role": "assistant", "content": text}
    values: dict[str, Any] = {
        "id": "1",
        "object": "chat.completion",
        "created": 1,
        "model": model,
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
    }
    if usage:
        values["usage"] = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}
    return json.dumps(values).encode()
