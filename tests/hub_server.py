"""A small hub on 127.0.0.1: model listings, resolved files, redirects to a store, ranges.

Speaks what huggingface_hub asks: `/api/models/…/revision/…`, HEAD and GET of `/…/resolve/…`
with `ETag`, `X-Repo-Commit` and `X-Linked-*`, and 206 for ranges; of datasets the same, and
their trees. Large files are served by a second origin, as on the real one. Everything that
was asked is kept in `log`.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Asked:
    """One request."""

    method: str
    path: str
    range: str | None
    has_token: bool
    origin: str
    "`hub` or `store`."


@dataclass
class Repository:
    """What a repository holds, and how it behaves."""

    files: dict[str, bytes]
    commit: str = COMMIT
    licence: str | None = "apache-2.0"
    large: frozenset[str] = frozenset()
    "Files kept with their SHA-256, by the store."
    gated: bool = False
    listed: tuple[str, ...] = ()
    "More names that the listing claims."
    said: bytes | None = None
    "What the listing says instead, whatever it may be."
    plain_listing: bool = False
    "Whether the listing leaves sizes and hashes out."


@dataclass
class Hub:
    """A running hub."""

    repositories: dict[str, Repository] = field(default_factory=dict)
    log: list[Asked] = field(default_factory=list)
    tokens: frozenset[str] = frozenset()
    "Tokens that may read gated repositories."
    corrupted: set[str] = field(default_factory=set)
    "Files whose bytes arrive changed."
    stall_after_bytes: int | None = None
    "Where every large answer stops for good, with the connection open."
    cut_after_bytes: int | None = None
    "Where every large answer ends too early."
    over: threading.Event = field(default_factory=threading.Event)
    "Set when nobody needs the stalled answers any more."
    endpoint: str = ""
    store_endpoint: str = ""

    def requests_of(self, name: str, method: str = "GET") -> list[Asked]:
        """Give what was asked of one file, in order."""
        return [one for one in self.log if one.path.endswith("/" + name) and one.method == method]


@contextmanager
def running_hub(**repositories: Repository) -> Iterator[Hub]:
    """Start a hub with these repositories: `owner__name=Repository(...)`."""
    hub = Hub({name.replace("__", "/"): one for name, one in repositories.items()})
    servers = [
        ThreadingHTTPServer(("127.0.0.1", 0), _handler(hub, kind)) for kind in ("hub", "store")
    ]
    hub.endpoint, hub.store_endpoint = (
        f"http://127.0.0.1:{server.server_address[1]}" for server in servers
    )
    for server in servers:
        server.daemon_threads = True
        server.block_on_close = False
        threading.Thread(
            target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        ).start()
    try:
        yield hub
    finally:
        hub.over.set()
        for server in servers:
            server.shutdown()
            server.server_close()


def git_hash(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def _handler(hub: Hub, origin: str) -> type[BaseHTTPRequestHandler]:
    class Handler(_Handler):
        pass

    Handler.hub, Handler.origin = hub, origin
    return Handler


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    origin: str
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        asked_range = self.headers.get("Range")
        self.hub.log.append(Asked(self.command, path, asked_range, bool(token), self.origin))
        if self.origin == "store":
            owner, name, file = path.lstrip("/").split("/", 2)
            self._send_content(self.hub.repositories[f"{owner}/{name}"].files[file], file)
        elif match := re.fullmatch(
            r"/api/(?:models|datasets)/([^/]+/[^/]+)(?:/revision/(.+))?", path
        ):
            self._list(match[1], match[2] or "main")
        elif match := re.fullmatch(r"/api/datasets/([^/]+/[^/]+)/tree/(.+)", path):
            self._tree(match[1], match[2])
        elif match := re.fullmatch(r"(?:/datasets)?/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            self._resolve(match[1], match[2], match[3], token)
        else:
            self._refuse(404, "")

    def _list(self, repo: str, revision: str) -> None:
        repository = self._at(repo, revision)
        if repository is None:
            return
        if repository.said is not None:
            self._send(200, repository.said, {})
            return
        names = [*repository.files, *repository.listed]
        body = {
            "id": repo,
            "sha": repository.commit,
            "gated": "auto" if repository.gated else False,
            "cardData": {"license": repository.licence} if repository.licence else None,
            "siblings": [self._sibling(repository, name) for name in names],
        }
        self._send(200, json.dumps(body).encode(), {"Content-Type": "application/json"})

    def _tree(self, repo: str, revision: str) -> None:
        repository = self._at(repo, revision)
        if repository is None:
            return
        body = [
            {"type": "file", "path": name, "size": len(content), "oid": git_hash(content)}
            for name, content in repository.files.items()
        ]
        self._send(200, json.dumps(body).encode(), {"Content-Type": "application/json"})

    def _sibling(self, repository: Repository, name: str) -> dict:
        if repository.plain_listing:
            return {"rfilename": name}
        content = repository.files.get(name, b"gone")
        entry: dict = {"rfilename": name, "size": len(content), "blobId": git_hash(content)}
        if name in repository.large:
            sha256 = hashlib.sha256(content).hexdigest()
            entry["lfs"] = {"sha256": sha256, "size": len(content), "pointerSize": 134}
        return entry

    def _resolve(self, repo: str, revision: str, file: str, token: str) -> None:
        repository = self._at(repo, revision)
        if repository is None:
            return
        if repository.gated and token not in self.hub.tokens:
            self._refuse(403 if token else 401, "GatedRepo")
        elif file not in repository.files:
            self._refuse(404, "EntryNotFound")
        elif file in repository.large:
            content = repository.files[file]
            headers = {
                "Location": f"{self.hub.store_endpoint}/{repo}/{file}",
                "X-Repo-Commit": repository.commit,
                "X-Linked-ETag": f'"{hashlib.sha256(content).hexdigest()}"',
                "X-Linked-Size": str(len(content)),
            }
            self._send(302, b"", headers)
        else:
            content = repository.files[file]
            headers = {"ETag": f'"{git_hash(content)}"', "X-Repo-Commit": repository.commit}
            self._send_content(content, file, headers)

    def _at(self, repo: str, revision: str) -> Repository | None:
        repository = self.hub.repositories.get(repo)
        if repository is None:
            self._refuse(401, "RepoNotFound")
        elif revision not in ("main", "v1", repository.commit):
            self._refuse(404, "RevisionNotFound")
            repository = None
        return repository

    def _send_content(
        self, content: bytes, file: str, headers: dict[str, str] | None = None
    ) -> None:
        headers = headers or {}
        if file in self.hub.corrupted:
            content = bytes(byte ^ 1 for byte in content[:8]) + content[8:]
        start, status = 0, 200
        if match := re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or ""):
            start, status = int(match[1]), 206
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        self._send(status, content[start:], headers)

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "HEAD":
            return
        stall, cut = self.hub.stall_after_bytes, self.hub.cut_after_bytes
        if stall is not None and len(body) > stall:
            self.wfile.write(body[:stall])
            self.hub.over.wait()
        elif cut is not None and len(body) > cut:
            self.wfile.write(body[:cut])
            self.close_connection = True
        else:
            self.wfile.write(body)

    def _refuse(self, status: int, code: str) -> None:
        self._send(status, b"{}", {"X-Error-Code": code, "X-Error-Message": code})


CONFIG = json.dumps({"model_type": "llava_next", "vision_config": {"model_type": "clip"}}).encode()
CLIP_REPOSITORY = "openai/clip-vit-large-patch14-336"


WEIGHTS = bytes(range(256)) * 40


def base_model(weights: bytes = WEIGHTS, **more: Any) -> Repository:
    """Make a repository with a model of transformers, and much beside it."""
    files = {
        "config.json": CONFIG,
        "tokenizer.json": b'{"a": 1}',
        "tokenizer.model": b"pieces",
        "chat_template.jinja": b"{{ x }}",
        "model.safetensors": weights,
        "pytorch_model.bin": b"a pickle",
        "modeling_llava.py": b"import os",
        "README.md": b"read me",
        "assets/picture.json": b"{}",
    }
    large = frozenset({"model.safetensors", "pytorch_model.bin"})
    return Repository(files=files, large=large, **more)


def clip_model() -> Repository:
    """Make the repository that a CLIP tower's aligner comes from; it has no safetensors."""
    files = {
        "config.json": b"{}",
        "vocab.json": b"{}",
        "merges.txt": b"a b",
        "preprocessor_config.json": b"{}",
        "pytorch_model.bin": b"weights of clip",
        "tf_model.h5": b"others",
    }
    return Repository(files=files, large=frozenset({"pytorch_model.bin"}), licence=None)
