"""The HTTP client under everything: one place for keys, retries and errors."""

from __future__ import annotations

import asyncio
import json
import os
import random
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any
from urllib.parse import quote

import httpx

from .errors import AuthenticationError, UnavailableError, from_response

DEFAULT_BASE_URL = "http://127.0.0.1:8080"
_RETRIED = {408, 429, 500, 502, 503, 504}


class Client:
    """A connection to one server with one key; usable from threads and from asyncio.

    `max_retries` counts tries after the first, for connection errors and for the
    statuses 408, 429 and 5xx (but 501); a server's Retry-After is honoured.
    """

    def __init__(self, *, api_key: str | None = None, base_url: str | None = None, timeout: float = 600.0, max_retries: int = 3):
        self.base_url = (base_url or os.environ.get("FIREKEEP_BASE_URL") or DEFAULT_BASE_URL).rstrip("/")
        self._key = api_key or os.environ.get("FIREKEEP_API_KEY")
        if not self._key:
            raise AuthenticationError("no API key: set FIREKEEP_API_KEY or pass api_key=...; `firekeep serve` prints where it wrote the first one")
        self._timeout = httpx.Timeout(timeout, connect=10.0)
        self.max_retries = max_retries
        self._sync: httpx.Client | None = None
        self._async: dict[int, httpx.AsyncClient] = {}  # one per event loop
        self._account: str | None = None

    def __repr__(self) -> str:  # never the key
        return f"Client({self.base_url!r})"

    # -- plain requests ---------------------------------------------------

    @property
    def account(self) -> str:
        """The id of the key's account, asked once."""
        if self._account is None:
            response = self._send("GET", "/verifyApiKey")
            self._account = response.headers["x-fireworks-account-id"]
        return self._account

    def path(self, collection: str, name: str = "") -> str:
        """/v1/accounts/.../collection[/id], from a bare id or a full resource name."""
        if name.startswith("accounts/"):
            return "/v1/" + quote(name, safe="/")
        base = f"/v1/accounts/{self.account}/{collection}"
        return base + ("/" + quote(name, safe="") if name else "")

    def request(self, method: str, path: str, *, body: Any = None, params: dict | None = None, files: Any = None) -> Any:
        response = self._send(method, path, body=body, params=params, files=files)
        return response.json() if response.content else {}

    def pages(self, path: str, key: str, params: dict | None = None) -> Iterator[dict]:
        """Every item of a list, page after page."""
        params = dict(params or {})
        while True:
            page = self.request("GET", path, params=params)
            yield from page.get(key) or []
            token = page.get("nextPageToken")
            if not token or not page.get(key):
                return
            params["pageToken"] = token

    def _connection(self) -> httpx.Client:
        if self._sync is None:
            self._sync = httpx.Client(base_url=self.base_url, timeout=self._timeout, headers=self._headers())
        return self._sync

    def _send(self, method: str, path: str, *, body: Any = None, params: dict | None = None, files: Any = None) -> httpx.Response:
        for attempt in range(self.max_retries + 1):
            try:
                response = self._connection().request(method, path, json=body, params=params, files=files)
            except httpx.TransportError as e:
                if attempt == self.max_retries:
                    raise self._unreachable(e) from e
                time.sleep(self._delay(attempt, None))
                continue
            if response.status_code < 400:
                return response
            if attempt == self.max_retries or not _retry(response):
                raise from_response(response.status_code, _body(response))
            time.sleep(self._delay(attempt, response))
        raise AssertionError("unreachable")

    # -- asyncio ----------------------------------------------------------

    def _aclient(self) -> httpx.AsyncClient:
        loop = id(asyncio.get_running_loop())
        if loop not in self._async:
            limits = httpx.Limits(max_connections=256, max_keepalive_connections=64)
            self._async[loop] = httpx.AsyncClient(base_url=self.base_url, timeout=self._timeout, headers=self._headers(), limits=limits)
        return self._async[loop]

    async def arequest(self, method: str, path: str, *, body: Any = None, params: dict | None = None) -> Any:
        client = self._aclient()
        for attempt in range(self.max_retries + 1):
            try:
                response = await client.request(method, path, json=body, params=params)
            except httpx.TransportError as e:
                if attempt == self.max_retries:
                    raise self._unreachable(e) from e
                await asyncio.sleep(self._delay(attempt, None))
                continue
            if response.status_code < 400:
                return response.json() if response.content else {}
            if attempt == self.max_retries or not _retry(response):
                raise from_response(response.status_code, _body(response))
            await asyncio.sleep(self._delay(attempt, response))
        raise AssertionError("unreachable")

    async def aclose(self) -> None:
        """Close the connections of the running event loop."""
        client = self._async.pop(id(asyncio.get_running_loop()), None)
        if client is not None:
            await client.aclose()

    # -- server-sent events -----------------------------------------------

    def stream(self, path: str, body: Any) -> Iterator[dict]:
        with self._connection().stream("POST", path, json=body) as response:
            if response.status_code >= 400:
                response.read()
                raise from_response(response.status_code, _body(response))
            for line in response.iter_lines():
                event = _event(line)
                if event is None:
                    continue
                if event is _DONE:
                    return
                yield event

    async def astream(self, path: str, body: Any) -> AsyncIterator[dict]:
        async with self._aclient().stream("POST", path, json=body) as response:
            if response.status_code >= 400:
                await response.aread()
                raise from_response(response.status_code, _body(response))
            async for line in response.aiter_lines():
                event = _event(line)
                if event is None:
                    continue
                if event is _DONE:
                    return
                yield event

    # -- details ----------------------------------------------------------

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._key}", "Accept": "application/json", "User-Agent": "firekeep-python/0.1.0"}

    def _unreachable(self, e: Exception) -> UnavailableError:
        return UnavailableError(f"no answer from {self.base_url} ({type(e).__name__}): is `firekeep serve` running there?")

    @staticmethod
    def _delay(attempt: int, response: httpx.Response | None) -> float:
        if response is not None:
            try:
                asked = float(response.headers.get("retry-after", ""))
                if 0 < asked <= 60:
                    return asked
            except ValueError:
                pass
        return min(8.0, 0.25 * 2**attempt) * random.uniform(0.75, 1.0)


_DONE = object()


def _event(line: str) -> Any:
    if not line.startswith("data:"):
        return None
    data = line[5:].strip()
    if data == "[DONE]":
        return _DONE
    event = json.loads(data)
    if isinstance(event, dict) and event.get("error"):
        raise from_response(500, event)
    return event


def _retry(response: httpx.Response) -> bool:
    asked = response.headers.get("x-should-retry")
    if asked is not None:
        return asked == "true"
    return response.status_code in _RETRIED


def _body(response: httpx.Response) -> Any:
    try:
        return response.json()
    except ValueError:
        return response.text
