"""Operations as flows: what is asked and when to wait, written once.

A flow is a generator that yields what it needs done and is sent the answer.
`Client.run` drives it with blocking calls, `Client.arun` under asyncio.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import quote

Json = dict[str, Any]
T = TypeVar("T")


@dataclass(frozen=True)
class Request:
    """One HTTP request; answered by the decoded JSON ({} for an empty body)."""

    method: str
    path: str
    body: Any = None
    params: Json | None = None
    files: Any = None


@dataclass(frozen=True)
class Pause:
    """Wait that many seconds."""

    seconds: float


@dataclass(frozen=True)
class Account:
    """Answered by the id of the key's account."""


Flow = Generator[Request | Pause | Account, Any, T]


def ask(method: str, path: str, *, body: Any = None, params: Json | None = None, files: Any = None) -> Flow[Any]:
    answer = yield Request(method, path, body, params, files)
    return answer


def at(collection: str, name: str = "") -> Flow[str]:
    """/v1/accounts/.../collection[/id], from a bare id or a full resource name."""
    if name.startswith("accounts/"):
        return "/v1/" + quote(name, safe="/")
    account = yield Account()
    return f"/v1/accounts/{account}/{collection}" + ("/" + quote(name, safe="") if name else "")


def full_name(collection: str, name: str) -> Flow[str]:
    """accounts/.../collection/id, from a bare id or a full resource name."""
    if name.startswith("accounts/"):
        return name
    account = yield Account()
    return f"accounts/{account}/{collection}/{name}"
