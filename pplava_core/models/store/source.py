"""Where a pulled model came from: what a user types, and what is written down beside it.

`source.json` pins the commit and the hash of every file, so that a folder can be checked
for ever after without a network.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pplava_core.atomic import replacing
from pplava_core.errors import ModelError, UsageError
from pplava_core.models.store.known import find_known, known_at
from pplava_core.models.store.safe_paths import check_file_name

SOURCE_NAME = "source.json"
ALIGNER_FOLDER = "aligner_source"
DEFAULT_REVISION = "main"

_FORMAT = 1
_WORD = r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}"
_GRAMMAR = re.compile(rf"(?P<what>{_WORD}(?:/{_WORD})?)(?:@(?P<revision>[^:@]+))?(?::(?P<sub>.+))?")


@dataclass(frozen=True, kw_only=True)
class HubSource:
    """A folder of a repository on the hub."""

    repo: str
    "As `owner/repo`."
    revision: str = DEFAULT_REVISION
    "A branch, a tag or a commit."
    subfolder: str = ""
    "Empty for the repository's top."

    @property
    def name(self) -> str:
        """The name that a model from here gets on this machine."""
        known = known_at(self.repo, self.subfolder)
        if known:
            return known.name
        return "--".join(part for part in f"{self.repo}/{self.subfolder}".split("/") if part)

    @classmethod
    def parse(cls, text: str) -> HubSource:
        """Read `NAME`, `owner/repo`, either with `@revision`, the latter with `:subfolder`.

        Raises:
            UsageError: the text is neither, or no model is known by this short name.
        """
        match = _GRAMMAR.fullmatch(text)
        if not match or ".." in text:
            raise UsageError(
                f"{text!r} is neither a known name nor owner/repo[@revision][:subfolder]; "
                "`pplava models list` shows the known names"
            )
        what, revision = match["what"], match["revision"] or DEFAULT_REVISION
        subfolder = (match["sub"] or "").strip("/")
        if subfolder:
            check_file_name(subfolder, of=repr(text))
        if "/" in what:
            return cls(repo=what, revision=revision, subfolder=subfolder)
        known = find_known(what)
        if known is None or subfolder:
            why = "takes no subfolder" if known else "is no known model; owner/repo names any other"
            raise UsageError(f"{what!r} {why}; `pplava models list` shows the known names")
        return cls(repo=known.repo, revision=revision, subfolder=known.subfolder)

    def __str__(self) -> str:
        return f"{self.repo}@{self.revision}" + (f":{self.subfolder}" if self.subfolder else "")


@dataclass(frozen=True, kw_only=True)
class StoredFile:
    """One file as the hub describes it."""

    size_bytes: int
    digest: str
    "`sha256:…` for large files; `git-sha1:…`, git's own hash of a blob, for small ones."


@dataclass(frozen=True, kw_only=True)
class SourceRecord:
    """What `source.json` in a pulled folder says."""

    repo: str
    subfolder: str
    requested_revision: str
    "What the user asked for."
    revision: str
    "The commit that it meant then."
    licence: str
    "As the repository's card has it, or what was known before."
    aligner_repo: str | None
    "Where the files in `aligner_source` are from, if there are any."
    aligner_revision: str | None
    "Its commit."
    files: dict[str, StoredFile]
    "By name, those of the aligner under `aligner_source/`."

    @property
    def size_bytes(self) -> int:
        """Size of all files together."""
        return sum(file.size_bytes for file in self.files.values())

    @property
    def argument(self) -> str:
        """What `pull` takes to fetch this again."""
        asked = self.requested_revision
        revision = "" if asked == DEFAULT_REVISION else f"@{asked}"
        known = known_at(self.repo, self.subfolder)
        if known:
            return known.name + revision
        return self.repo + revision + (f":{self.subfolder}" if self.subfolder else "")

    def is_of(self, source: HubSource) -> bool:
        """Tell whether this is what the source asks for, as far as one knows without a network."""
        same_place = (self.repo, self.subfolder) == (source.repo, source.subfolder)
        return same_place and source.revision in (self.requested_revision, self.revision)


def read_record(folder: Path) -> SourceRecord | None:
    """Read a folder's `source.json`; None if it has none.

    Raises:
        ModelError: it is damaged, or names files outside the folder.
    """
    path = folder / SOURCE_NAME
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(
            f"{path} cannot be read: {error}; `pplava models pull` with --again repairs it"
        ) from error
    try:
        return _record(values, path)
    except (KeyError, TypeError, AttributeError) as error:
        raise ModelError(
            f"{path} is not what `pull` writes ({error}); pull again with --again"
        ) from error


def write_record(record: SourceRecord, folder: Path) -> None:
    """Write a folder's `source.json`."""
    text = json.dumps({"format": _FORMAT, **asdict(record)}, indent=2)
    with replacing(folder / SOURCE_NAME) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def _record(values: dict[str, Any], path: Path) -> SourceRecord:
    found = values.pop("format", None)
    if found != _FORMAT:
        raise ModelError(
            f"{path} has format {found!r}; this version reads {_FORMAT}; pull with --again"
        )
    files = {
        check_file_name(name, of=str(path)): StoredFile(**file)
        for name, file in values.pop("files").items()
    }
    return SourceRecord(files=files, **values)
