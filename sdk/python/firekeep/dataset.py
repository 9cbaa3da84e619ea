"""Datasets: scored samples in the user's own bucket, in a file, or in memory."""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Iterable
from pathlib import Path

from ._client import Client
from .errors import AlreadyExistsError, FirekeepError, NotFoundError


class Dataset:
    """A dataset by reference. Nothing is sent before `sync()`, which a step calls for you.

    `Dataset.from_url` registers objects where they are: rows stay in the bucket.
    """

    def __init__(self, *, id: str, url: str | None = None, content: bytes | None = None, filename: str = "inmemory.jsonl", client: Client | None = None):
        self.id = id
        self.url = url
        self._content = content
        self._filename = filename
        self._client = client

    def __repr__(self) -> str:
        return f"Dataset({self.id!r}{', url=' + repr(self.url) if self.url else ''})"

    @classmethod
    def from_url(cls, url: str, *, id: str | None = None) -> Dataset:
        """An object, or every object under a prefix that ends in "/": s3://, gs://, file://."""
        if not re.match(r"^(s3|gs|file)://", url):
            raise ValueError(f"url: {url!r} is not a bucket URL: use s3://bucket/key, gs://bucket/key or file:///path")
        digest = hashlib.sha256(url.encode()).hexdigest()[:12]
        return cls(id=id or f"dataset-{digest}", url=url)

    @classmethod
    def from_list(cls, rows: Iterable[dict], *, id: str | None = None) -> Dataset:
        text = "".join(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows)
        return cls._from_bytes(text.encode(), "inmemory.jsonl", id)

    @classmethod
    def from_string(cls, text: str, *, id: str | None = None) -> Dataset:
        return cls._from_bytes(text.encode(), "inmemory.jsonl", id)

    @classmethod
    def from_file(cls, path: str | Path, *, id: str | None = None) -> Dataset:
        path = Path(path)
        if path.suffix != ".jsonl":
            raise ValueError(f"path: {path.name!r} must end in .jsonl")
        return cls._from_bytes(path.read_bytes(), path.name, id)

    @classmethod
    def from_id(cls, id: str) -> Dataset:
        """A dataset that the server knows, by id or full name."""
        return cls(id=id)

    @classmethod
    def _from_bytes(cls, content: bytes, filename: str, id: str | None) -> Dataset:
        digest = hashlib.sha256(content).hexdigest()[:12]
        suffix = re.sub(r"[^a-z0-9]+", "-", filename.lower()).strip("-")
        return cls(id=id or f"dataset-{digest}-{suffix}"[:63].rstrip("-"), content=content, filename=filename)

    def sync(self, client: Client | None = None, *, timeout: float = 600.0) -> Dataset:
        """Make sure that the server has this dataset and has validated it.

        Raises FirekeepError with the offending line, sample, key and rule when validation fails.
        """
        client = self._use(client)
        path = client.path("datasets", self.id)
        try:
            resource = client.request("GET", path)
        except NotFoundError:
            if self.url is None and self._content is None:
                raise
            resource = self._create(client)
        if self.url and resource.get("externalUrl") != self.url:
            raise AlreadyExistsError(f"dataset {self.id} exists with another URL, {resource.get('externalUrl')!r}: pass another id=")
        deadline = time.monotonic() + timeout
        while resource.get("state") != "READY":
            status = resource.get("status") or {}
            if status.get("code") not in (None, "", "OK"):
                raise FirekeepError(f"dataset {self.id}: {status.get('message')}")
            if time.monotonic() > deadline:
                raise TimeoutError(f"dataset {self.id} is still {resource.get('state')} after {timeout} s")
            time.sleep(0.1)
            resource = client.request("GET", path)
        self.resource = resource
        return self

    def delete(self, client: Client | None = None) -> None:
        client = self._use(client)
        client.request("DELETE", client.path("datasets", self.id))

    def name(self, client: Client | None = None) -> str:
        """Full resource name."""
        if self.id.startswith("accounts/"):
            return self.id
        return f"accounts/{self._use(client).account}/datasets/{self.id}"

    def _create(self, client: Client) -> dict:
        dataset = {"externalUrl": self.url} if self.url else {"userUploaded": {}, "exampleCount": str(self._content.count(b"\n"))}
        try:
            resource = client.request("POST", client.path("datasets"), body={"datasetId": self.id, "dataset": dataset})
        except AlreadyExistsError:  # a retry after a lost answer, or a twin process
            resource = client.request("GET", client.path("datasets", self.id))
        if self._content is not None:
            path = client.path("datasets", self.id)
            client.request("POST", path + ":upload", files={"file": (self._filename, self._content, "application/octet-stream")})
            resource = client.request("GET", path)
        return resource

    def _use(self, client: Client | None) -> Client:
        self._client = client or self._client or Client()
        return self._client
