"""A language model behind an OpenAI-compatible endpoint that is asked for opinions.

The `openai` client sends, waits and tries again; here stand what is kept on disk so that
no reply is paid for twice, what is counted, and which failures end a run. Knows no
benchmark: messages in, text out. The key goes to the endpoint and nowhere else.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pplava_core.atomic import replacing
from pplava_core.errors import ModelError, UsageError
from pplava_core.evals.runs.predictions import unwritable
from pplava_core.paths import cache_directory

if TYPE_CHECKING:
    from openai import APIError, AsyncOpenAI

KEY_VARIABLES = ("PPLAVA_JUDGE_KEY", "OPENAI_API_KEY")
"Where a key is looked for, the first that is set."

TRANSPORT_RETRIES = 5
"After 429, 5xx, time-outs and cut connections, each after a longer wait or as told to wait."

BROKEN_REPLIES = 3
"How many replies that are no chat completion are taken before giving one request up."

_SHOWN_CHARACTERS = 200
_REFUSALS = (400, 413, 422)


@dataclass(frozen=True, kw_only=True)
class JudgeDefaults:
    """How a protocol's authors asked their judge."""

    model: str
    temperature: float | None = None
    "None leaves it to the endpoint."
    max_tokens: int | None = None


DEFAULTS: Mapping[str, JudgeDefaults] = {
    "official": JudgeDefaults(model="gpt-3.5-turbo"),
    "ppllava": JudgeDefaults(model="gpt-3.5-turbo-0613"),
    "lmms": JudgeDefaults(model="gpt-4o-2024-11-20", temperature=0.0, max_tokens=64),
}
"By protocol (Video-ChatGPT scripts, PPLLaVA evaluation code, lmms-eval)."


class NotJudgedError(ModelError):
    """One request got no reply; others may.

    Attributes:
        refused: whether the endpoint would not take what was sent, as against not answering.
    """

    def __init__(self, message: str, *, refused: bool = False) -> None:
        super().__init__(message)
        self.refused = refused


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What a judge wrote, and what that cost."""

    text: str
    prompt_tokens: int | None
    "None where the endpoint does not say."
    completion_tokens: int | None


@dataclass(kw_only=True)
class Usage:
    """What a judge's replies have cost so far."""

    replies: int = 0
    "That were asked for over the network."
    remembered: int = 0
    "That were on disk already."
    prompt_tokens: int = 0
    completion_tokens: int = 0
    unmetered: int = 0
    "Replies whose tokens the endpoint did not state."


class Judge:
    """An endpoint, a model there, and the replies that are known already.

    Use it as an asynchronous context manager around `ask`.

    Args:
        url: base of the endpoint, which mostly ends in ``/v1``; ``/chat/completions`` after
            it is cut off.
        model: name of the model there.
        key: None takes it from the environment (`KEY_VARIABLES`); many endpoints need none.
        concurrency: requests in flight at most, for those who call `ask`.
        timeout_seconds: for one reply.
        temperature: None leaves it to the endpoint.
        max_tokens: longest reply; None leaves it to the endpoint.
        cache: folder of remembered replies; None is this package's own.

    Raises:
        UsageError: the address, the key or a number makes no sense.
    """

    def __init__(
        self,
        url: str,
        model: str,
        *,
        key: str | None = None,
        concurrency: int = 8,
        timeout_seconds: float = 60.0,
        temperature: float | None = None,
        max_tokens: int | None = None,
        cache: Path | None = None,
    ) -> None:
        self.url = _checked_url(url)
        self.model = model
        self.concurrency = concurrency
        self.timeout_seconds = timeout_seconds
        self.usage = Usage()
        self._key = _checked_key(key_from_environment() if key is None else key)
        options = {"temperature": temperature, "max_tokens": max_tokens}
        self._options = {name: value for name, value in options.items() if value is not None}
        self._cache = cache_directory() / "evals" / "judge" if cache is None else cache
        self._client: AsyncOpenAI | None = None
        if concurrency < 1 or timeout_seconds <= 0:
            raise UsageError("a judge needs at least one request at a time and some time for it")

    async def __aenter__(self) -> Judge:
        from openai import AsyncOpenAI

        self._client = AsyncOpenAI(
            base_url=self.url,
            api_key=self._key or "none",
            max_retries=TRANSPORT_RETRIES,
            timeout=self.timeout_seconds,
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    def content_key(self, messages: Sequence[Mapping[str, str]]) -> str:
        """Return the SHA-256 of everything that decides a reply."""
        content = [self.url, self.model, self._options, [dict(message) for message in messages]]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    async def ask(self, messages: Sequence[Mapping[str, str]], *, attempt: int = 0) -> Reply:
        """Return a reply, from disk if it is there.

        Args:
            messages: the conversation so far.
            attempt: 0 at first; another number asks the same once more.

        Raises:
            ModelError: no request to this endpoint will ever succeed.
            NotJudgedError: this one did not, after all that was tried.
            OutputError: the reply cannot be kept.
        """
        path = self._path(self.content_key(messages), attempt)
        known = _remembered(path)
        if known is not None:
            self.usage.remembered += 1
            return known
        for _ in range(BROKEN_REPLIES):
            reply = _reply_in(await self._completion(messages))
            if reply is not None:
                self._count(reply)
                _remember(path, reply)
                return reply
        raise NotJudgedError(
            f"judge {self.url}: what comes back is no chat completion; check --judge-url"
        )

    async def _completion(self, messages: Sequence[Mapping[str, str]]) -> Any:
        """Return what the endpoint sent, or None where that is not even JSON."""
        import openai

        if self._client is None:
            raise RuntimeError("a judge is asked within `async with`")
        requests: Any = self._client.chat.completions
        try:
            return await requests.create(
                model=self.model, messages=[dict(one) for one in messages], **self._options
            )
        except (
            openai.AuthenticationError,
            openai.PermissionDeniedError,
            openai.NotFoundError,
        ) as error:
            raise ModelError(self._told(error)) from None
        except openai.APIError as error:
            if error.code == "insufficient_quota":
                raise ModelError(self._told(error)) from None
            refused = getattr(error, "status_code", 500) in _REFUSALS
            raise NotJudgedError(self._told(error), refused=refused) from None
        except ValueError:
            return None

    def _told(self, error: APIError) -> str:
        """Word a failure in one line, without the key even if the endpoint repeats it."""
        status = getattr(error, "status_code", None)
        what = str(error) if status else f"{error} ({TRANSPORT_RETRIES + 1} times)"
        if self._key:
            what = what.replace(self._key, "[key]")
        what = " ".join(what.split())[:_SHOWN_CHARACTERS]
        advice = "run again later: what was judged is kept"
        if status in (401, 403):
            advice = f"set {KEY_VARIABLES[0]} or {KEY_VARIABLES[1]} to a key that it takes"
        elif status == 404:
            advice = f"check --judge-url (mostly it ends in /v1) and --judge-model {self.model}"
        return f"judge {self.url}: {what}; {advice}"

    def _count(self, reply: Reply) -> None:
        self.usage.replies += 1
        self.usage.prompt_tokens += reply.prompt_tokens or 0
        self.usage.completion_tokens += reply.completion_tokens or 0
        self.usage.unmetered += reply.prompt_tokens is None

    def _path(self, key: str, attempt: int) -> Path:
        return self._cache / key[:2] / f"{key}-{attempt}.json"


def key_from_environment() -> str:
    """Return the key that the environment holds, or an empty text."""
    return next((os.environ[name] for name in KEY_VARIABLES if os.environ.get(name)), "")


def _checked_key(key: str) -> str:
    key = key.strip()
    if any(not "!" <= letter <= "~" for letter in key):
        raise UsageError(f"the key in {' or '.join(KEY_VARIABLES)} holds letters no key can have")
    return key


def _checked_url(url: str) -> str:
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        good = False
    if not good or parts.username is not None or parts.query or parts.fragment:
        raise UsageError(
            "--judge-url must be like https://host/v1, without name, password or query: "
            f"a key belongs into {KEY_VARIABLES[0]}"
        )
    return url.rstrip("/").removesuffix("/chat/completions")


def _reply_in(completion: Any) -> Reply | None:
    """Find the text of a completion; None where it has none of a completion's parts."""
    try:
        text = completion.choices[0].message.content
    except (AttributeError, IndexError, TypeError):
        return None
    if not isinstance(text, str | None):
        return None
    usage = getattr(completion, "usage", None)
    return Reply(
        text=text or "",
        prompt_tokens=getattr(usage, "prompt_tokens", None),
        completion_tokens=getattr(usage, "completion_tokens", None),
    )


def _remembered(path: Path) -> Reply | None:
    """Read a kept reply; a damaged one counts as none."""
    try:
        reply = Reply(**json.loads(path.read_bytes()))
    except (OSError, ValueError, TypeError):
        return None
    return reply if isinstance(reply.text, str) else None


def _remember(path: Path, reply: Reply) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(dataclasses.asdict(reply)), encoding="utf-8")
    except OSError as error:
        raise unwritable(path, error) from error
