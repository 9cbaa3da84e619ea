"""Datasets: scored samples in the user's own bucket, in a file, or in memory."""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Self

from ._client import Client
from ._flow import Flow, Json, Pause, ask, at, full_name
from .errors import AlreadyExistsError, FirekeepError, NotFoundError


class DatasetReference:
    """What `Dataset` and `aio.Dataset` share: where the rows are."""

    def __init__(self, *, id: str, url: str | None = None, content: bytes | None = None, filename: str = "inmemory.jsonl", client: Client | None = None):
        self.id = id
        self.url = url
        self.resource: Json = {}
        self._content = content
        self._filename = filename
        self._client = client

    def __repr__(self) -> str:
        rows = self.resource.get("exampleCount")
        return f"{type(self).__name__}({self.id!r}{', url=' + repr(self.url) if self.url else ''}{f', {rows} rows' if rows else ''})"

    @classmethod
    def from_url(cls, url: str, *, id: str | None = None) -> Self:
        """An object, or every object under a prefix that ends in "/": s3://, gs://, file://."""
        if not re.match(r"^(s3|gs|file)://", url):
            raise ValueError(f"url: {url!r} is not a bucket URL: use s3://bucket/key, gs://bucket/key or file:///path")
        digest = hashlib.sha256(url.encode()).hexdigest()[:12]
        return cls(id=id or f"dataset-{digest}", url=url)

    @classmethod
    def from_list(cls, rows: Iterable[Json], *, id: str | None = None) -> Self:
        """Rows from memory; they are uploaded. docs/reinforcement.md says what a row is."""
        text = "".join(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows)
        return cls._from_bytes(text.encode(), "inmemory.jsonl", id)

    @classmethod
    def from_string(cls, text: str, *, id: str | None = None) -> Self:
        """Rows as the text of a JSONL file; they are uploaded."""
        return cls._from_bytes(text.encode(), "inmemory.jsonl", id)

    @classmethod
    def from_file(cls, path: str | Path, *, id: str | None = None) -> Self:
        """Rows of a local .jsonl file; they are uploaded."""
        path = Path(path)
        if path.suffix != ".jsonl":
            raise ValueError(f"path: {path.name!r} must end in .jsonl")
        return cls._from_bytes(path.read_bytes(), path.name, id)

    @classmethod
    def from_id(cls, id: str) -> Self:
        """A dataset that the server knows, by id or full name."""
        return cls(id=id)

    @classmethod
    def _from_bytes(cls, content: bytes, filename: str, id: str | None) -> Self:
        digest = hashlib.sha256(content).hexdigest()[:12]
        suffix = re.sub(r"[^a-z0-9]+", "-", filename.lower()).strip("-")
        return cls(id=id or f"dataset-{digest}-{suffix}"[:63].rstrip("-"), content=content, filename=filename)

    def _synced(self, timeout: float) -> Flow[Self]:
        path = yield from at("datasets", self.id)
        try:
            resource = yield from ask("GET", path)
        except NotFoundError:
            if self.url is None and self._content is None:
                raise
            resource = yield from self._created(path)
        if self.url and resource.get("externalUrl") != self.url:
            raise AlreadyExistsError(f"dataset {self.id} exists with another URL, {resource.get('externalUrl')!r}: pass another id=")
        deadline = time.monotonic() + timeout
        while resource.get("state") != "READY":
            status = resource.get("status") or {}
            if status.get("code") not in (None, "", "OK"):
                raise FirekeepError(f"dataset {self.id}: {status.get('message')}")
            if time.monotonic() > deadline:
                raise TimeoutError(f"dataset {self.id} is still {resource.get('state')} after {timeout} s")
            yield Pause(0.1)
            resource = yield from ask("GET", path)
        self.resource = resource
        return self

    def _created(self, path: str) -> Flow[Json]:
        content = self._content or b""
        dataset: Json = {"externalUrl": self.url} if self.url else {"userUploaded": {}, "exampleCount": str(content.count(b"\n"))}
        collection = yield from at("datasets")
        resource: Json
        try:
            resource = yield from ask("POST", collection, body={"datasetId": self.id, "dataset": dataset})
        except AlreadyExistsError:  # a retry after a lost answer, or a twin process
            resource = yield from ask("GET", path)
        if self._content is not None:
            yield from ask("POST", path + ":upload", files={"file": (self._filename, content, "application/octet-stream")})
            resource = yield from ask("GET", path)
        return resource

    def _deleted(self) -> Flow[None]:
        path = yield from at("datasets", self.id)
        yield from ask("DELETE", path)

    def _use(self, client: Client | None) -> Client:
        self._client = client or self._client or Client()
        return self._client


class Dataset(DatasetReference):
    """A dataset by reference. Nothing is sent before `sync()`, which a step calls for you.

    `Dataset.from_url` registers objects where they are: rows stay in the bucket.
    After `sync()`, `resource` is what the server says of it (row, group and sample
    counts in `resource["firekeep"]`).
    """

    def sync(self, client: Client | None = None, *, timeout: float = 600.0) -> Dataset:
        """Make sure that the server has this dataset and has validated it.

        Raises FirekeepError with the offending line, sample, key and rule when validation
        fails, and TimeoutError when it is not done after `timeout` seconds.
        """
        return self._use(client).run(self._synced(timeout))

    def delete(self, client: Client | None = None) -> None:
        """Make the server forget it. Rows in your bucket stay."""
        self._use(client).run(self._deleted())

    def name(self, client: Client | None = None) -> str:
        """Full resource name."""
        if self.id.startswith("accounts/"):
            return self.id
        return f"accounts/{self._use(client).account}/datasets/{self.id}"


def name_of(dataset: DatasetReference | str, client: Client) -> Flow[str]:
    """The full name of a dataset; one by reference is synced first."""
    if isinstance(dataset, str):
        return (yield from full_name("datasets", dataset))
    dataset._client = client
    yield from dataset._synced(600.0)
    return (yield from full_name("datasets", dataset.id))
