"""The journal of a run of rollouts: an append-only JSONL file on the user's machine.

The first line says what the run is; each other line is one finished group. A line
is written whole and synced before its group counts as done, so that a process that
is killed loses the groups in flight and nothing else. A torn last line is cut off.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from types import TracebackType
from typing import Any

from ._flow import Json
from .errors import FirekeepError

VERSION = 1


class Journal:
    """Finished groups by key. One process at a time holds it."""

    def __init__(self, path: str | Path, run: Json):
        self.path = Path(path)
        self.groups: dict[str, Json] = {}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        # It holds prompts and answers, so it is for its owner only.
        self._file = os.fdopen(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600), "r+b")
        try:
            self._lock()
            self._open({"journal": VERSION} | run)
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._file.close()

    def add(self, key: str, group: Json) -> None:
        """Keep a finished group; it is on the disk when this returns."""
        self._write({"key": key, "group": group})
        self.groups[key] = group

    def _lock(self) -> None:
        try:
            import fcntl
        except ImportError:  # not on this system: the user minds it
            return
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise FirekeepError(f"journal: {self.path} is in use by another process") from None

    def _open(self, header: Json) -> None:
        whole = 0
        lines = self._file.read().splitlines(keepends=True)
        for number, line in enumerate(lines, 1):
            entry = _entry(line)
            if entry is None:
                if number < len(lines):
                    raise FirekeepError(f"journal: line {number} of {self.path} is not JSON, and not the last one: it was changed by somebody else")
                break  # torn by a kill
            if number == 1:
                self._same_run(entry, header)
            else:
                self.groups[entry["key"]] = entry["group"]
            whole += len(line)
        self._file.truncate(whole)
        self._file.seek(whole)
        if whole == 0:
            self._write(header)

    def _same_run(self, found: Json, header: Json) -> None:
        for field in sorted(found.keys() | header.keys()):
            if found.get(field) != header.get(field):
                raise FirekeepError(
                    f"journal: {self.path} is of another run: {field} is {found.get(field)!r} there and {header.get(field)!r} here; "
                    "give each run a journal of its own"
                )

    def _write(self, entry: Json) -> None:
        self._file.write(json.dumps(entry, ensure_ascii=False, separators=(",", ":")).encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())


def key_of(index: int, example: Any) -> str:
    """What a group is found by: its place among the examples and what the example says."""
    try:
        text = json.dumps(example, sort_keys=True, ensure_ascii=False)
    except TypeError as e:
        raise TypeError(f"journal: example {index} is not JSON, so it cannot be found again: {e}") from None
    return f"{index}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def _entry(line: bytes) -> Json | None:
    if not line.endswith(b"\n"):
        return None
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    return entry if isinstance(entry, dict) else None
