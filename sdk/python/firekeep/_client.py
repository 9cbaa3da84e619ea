"""The HTTP client under everything: one place for keys, retries and errors."""

from __future__ import annotations

import asyncio
import json
import os
import random
import time
import weakref
from collections.abc import AsyncIterator, Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

import httpx

from ._flow import Account, Flow, Json, Pause, Request, at
from .errors import AuthenticationError, UnavailableError, from_response

if TYPE_CHECKING:
    from . import aio, resources

DEFAULT_BASE_URL = "http://127.0.0.1:8080"
_RETRIED = {408, 429, 500, 502, 503, 504}
T = TypeVar("T")


class Client:
    """A connection to one server with one key; usable from threads and from asyncio.

    `max_retries` counts tries after the first, for connection errors and for the
    statuses 408, 429 and 5xx (but 501); a server's Retry-After is honoured.
    `timeout` is in seconds, the longest silence of the server within one request.

    `models`, `datasets`, `deployments`, `secrets`, `connections`, `steps`,
    `supervised_jobs`, `dpo_jobs`, `batch_jobs` and `merge_jobs` are the resources of the account; `aio` has the
    same names for asyncio.
    """

    def __init__(self, *, api_key: str | None = None, base_url: str | None = None, timeout: float = 600.0, max_retries: int = 3):
        self.base_url = (base_url or os.environ.get("FIREKEEP_BASE_URL") or DEFAULT_BASE_URL).rstrip("/")
        self._key = api_key or os.environ.get("FIREKEEP_API_KEY")
        if not self._key:
            raise AuthenticationError("no API key: set FIREKEEP_API_KEY or pass api_key=...; `firekeep serve` prints where it wrote the first one")
        self._timeout = httpx.Timeout(timeout, connect=10.0)
        self.max_retries = max_retries
        self._sync: httpx.Client | None = None
        # Connections belong to the event loop that made them.
        self._async: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, httpx.AsyncClient] = weakref.WeakKeyDictionary()
        self._account: str | None = None

    def __repr__(self) -> str:  # never the key
        return f"Client({self.base_url!r})"

    # -- plain requests ---------------------------------------------------

    @property
    def account(self) -> str:
        """The id of the key's account, asked once."""
        if self._account is None:
            self._account = self._send(Request("GET", "/verifyApiKey")).headers["x-fireworks-account-id"]
        return self._account

    def path(self, collection: str, name: str = "") -> str:
        """/v1/accounts/.../collection[/id], from a bare id or a full resource name."""
        return self.run(at(collection, name))

    def request(self, method: str, path: str, *, body: Any = None, params: Json | None = None, files: Any = None) -> Any:
        """One request; the decoded answer. Raises the APIError of its kind."""
        return _json(self._send(Request(method, path, body, params, files)))

    def pages(self, path: str, key: str, params: Json | None = None) -> Iterator[Json]:
        """Every item of a list, page after page."""
        params = dict(params or {})
        while True:
            page = self.request("GET", path, params=params)
            yield from page.get(key) or []
            token = page.get("nextPageToken")
            if not token or not page.get(key):
                return
            params["pageToken"] = token

    def run(self, flow: Flow[T]) -> T:
        """Drive a flow with blocking calls."""
        try:
            need = next(flow)
            while True:
                try:
                    answer = self._do(need)
                except Exception as e:
                    need = flow.throw(e)
                else:
                    need = flow.send(answer)
        except StopIteration as done:
            return done.value  # type: ignore[no-any-return]
        finally:
            flow.close()

    def _do(self, need: Request | Pause | Account) -> Any:
        match need:
            case Request():
                return _json(self._send(need))
            case Pause(seconds):
                return time.sleep(seconds)
            case Account():
                return self.account

    def close(self) -> None:
        """Close the connections of blocking calls; those of event loops are closed by `aclose`."""
        if self._sync is not None:
            self._sync.close()
            self._sync = None

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    # -- resources --------------------------------------------------------

    @cached_property
    def models(self) -> resources.Models:
        from . import resources

        return resources.Models(self)

    @cached_property
    def datasets(self) -> resources.Datasets:
        from . import resources

        return resources.Datasets(self)

    @cached_property
    def deployments(self) -> resources.Deployments:
        from . import resources

        return resources.Deployments(self)

    @cached_property
    def secrets(self) -> resources.Secrets:
        from . import resources

        return resources.Secrets(self)

    @cached_property
    def connections(self) -> resources.Connections:
        from . import resources

        return resources.Connections(self)

    @cached_property
    def steps(self) -> resources.Steps:
        from . import resources

        return resources.Steps(self)

    @cached_property
    def supervised_jobs(self) -> resources.SupervisedJobs:
        from . import resources

        return resources.SupervisedJobs(self)

    @cached_property
    def dpo_jobs(self) -> resources.DPOJobs:
        from . import resources

        return resources.DPOJobs(self)

    @cached_property
    def batch_jobs(self) -> resources.BatchJobs:
        from . import resources

        return resources.BatchJobs(self)

    @cached_property
    def merge_jobs(self) -> resources.MergeJobs:
        from . import resources

        return resources.MergeJobs(self)

    @cached_property
    def aio(self) -> aio.Resources:
        from . import aio

        return aio.Resources(self)

    # -- details of blocking calls ----------------------------------------

    def _connection(self) -> httpx.Client:
        if self._sync is None:
            self._sync = httpx.Client(base_url=self.base_url, timeout=self._timeout, headers=self._headers())
        return self._sync

    def _send(self, r: Request) -> httpx.Response:
        for attempt in range(self.max_retries + 1):
            try:
                response = self._connection().request(r.method, r.path, json=r.body, params=r.params, files=r.files)
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
        loop = asyncio.get_running_loop()
        if loop not in self._async:
            for gone in [other for other in self._async if other.is_closed()]:
                del self._async[gone]
            limits = httpx.Limits(max_connections=256, max_keepalive_connections=64)
            self._async[loop] = httpx.AsyncClient(base_url=self.base_url, timeout=self._timeout, headers=self._headers(), limits=limits)
        return self._async[loop]

    async def arequest(self, method: str, path: str, *, body: Any = None, params: Json | None = None, files: Any = None, retries: int | None = None) -> Any:
        """`request` for asyncio; `retries` wins over `max_retries`."""
        return _json(await self._asend(Request(method, path, body, params, files), self.max_retries if retries is None else retries))

    async def apath(self, collection: str, name: str = "") -> str:
        """`path` for asyncio."""
        return await self.arun(at(collection, name))

    def fetch(self, url: str) -> str:
        """What a signed URL answers, as text; it needs no key, and gets none."""
        return _text(httpx.get(url, timeout=self._timeout))

    async def afetch(self, url: str) -> str:
        """`fetch` for asyncio."""
        async with httpx.AsyncClient(timeout=self._timeout) as bare:
            return _text(await bare.get(url))

    async def apages(self, path: str, key: str, params: Json | None = None) -> AsyncIterator[Json]:
        """`pages` for asyncio."""
        params = dict(params or {})
        while True:
            page = await self.arequest("GET", path, params=params)
            for item in page.get(key) or []:
                yield item
            token = page.get("nextPageToken")
            if not token or not page.get(key):
                return
            params["pageToken"] = token

    async def arun(self, flow: Flow[T]) -> T:
        """Drive a flow under asyncio. A cancelled task leaves the flow at once."""
        try:
            need = next(flow)
            while True:
                try:
                    answer = await self._ado(need)
                except Exception as e:
                    need = flow.throw(e)
                else:
                    need = flow.send(answer)
        except StopIteration as done:
            return done.value  # type: ignore[no-any-return]
        finally:
            flow.close()

    async def _ado(self, need: Request | Pause | Account) -> Any:
        match need:
            case Request():
                return _json(await self._asend(need, self.max_retries))
            case Pause(seconds):
                return await asyncio.sleep(seconds)
            case Account():
                if self._account is None:
                    answer = await self._asend(Request("GET", "/verifyApiKey"), self.max_retries)
                    self._account = answer.headers["x-fireworks-account-id"]
                return self._account

    async def _asend(self, r: Request, retries: int) -> httpx.Response:
        client = self._aclient()
        for attempt in range(retries + 1):
            try:
                response = await client.request(r.method, r.path, json=r.body, params=r.params, files=r.files)
            except httpx.TransportError as e:
                if attempt == retries:
                    raise self._unreachable(e) from e
                await asyncio.sleep(self._delay(attempt, None))
                continue
            if response.status_code < 400:
                return response
            if attempt == retries or not _retry(response):
                raise from_response(response.status_code, _body(response))
            await asyncio.sleep(self._delay(attempt, response))
        raise AssertionError("unreachable")

    async def aclose(self) -> None:
        """Close the connections of the running event loop."""
        client = self._async.pop(asyncio.get_running_loop(), None)
        if client is not None:
            await client.aclose()

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()

    # -- server-sent events -----------------------------------------------

    def stream(self, path: str, body: Any) -> Iterator[Json]:
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

    async def astream(self, path: str, body: Any) -> AsyncIterator[Json]:
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
        return float(min(8.0, 0.25 * 2**attempt) * random.uniform(0.75, 1.0))


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


def _json(response: httpx.Response) -> Any:
    return response.json() if response.content else {}


def _text(response: httpx.Response) -> str:
    if response.status_code >= 400:
        raise from_response(response.status_code, _body(response))
    return response.text


def _retry(response: httpx.Response) -> bool:
    asked: str | None = response.headers.get("x-should-retry")
    if asked is not None:
        return asked == "true"
    return response.status_code in _RETRIED


def _body(response: httpx.Response) -> Any:
    try:
        return response.json()
    except ValueError:
        return response.text
