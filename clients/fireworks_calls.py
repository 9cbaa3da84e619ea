"""Calls of the official client, sync or async, whose answers are held against its own response models."""

import asyncio
import inspect
import json
import time

from fireworks import AsyncFireworks, Fireworks
from fireworks._models import BaseModel

# What this server adds to resources of the contract, and what the published
# contract has and this client does not know; it keeps them as extras. The
# fingerprint is a field of OpenAI's answers.
OURS = {"firekeep", "system_fingerprint", "totalSize", "scope", "kind", "replaces", "createdBy", "rlLoraTunable", "loraAlpha", "loraTargetModules"}


class Calls:
    """calls("datasets.get", "d") is client.datasets.get("d"), awaited where it must be.

    Every JSON answer must pass pydantic's strict validation against the model that
    the client declares for it, with no field that it does not know but OURS.
    """

    def __init__(self, is_async: bool, **options):
        self.is_async = is_async
        self.loop = asyncio.new_event_loop() if is_async else None
        self.client = (AsyncFireworks if is_async else Fireworks)(**options)
        self.checked: set[str] = set()

    def wait(self, value):
        return self.loop.run_until_complete(value) if inspect.isawaitable(value) else value

    def resource(self, path: str):
        found = self.client
        for name in path.split("."):
            found = getattr(found, name)
        return found

    def __call__(self, path: str, *args, **kwargs):
        resource, method = path.rsplit(".", 1)
        raw = self.wait(getattr(self.resource(resource).with_raw_response, method)(*args, **kwargs))
        text = self.wait(raw.text())
        parsed = self.wait(raw.parse())
        if isinstance(parsed, BaseModel):
            strict = type(parsed).model_validate_json(text, strict=True)
            unknown = set(extras(strict)) - OURS
            assert not unknown, f"{path}: fields that the client does not know: {sorted(unknown)}"
        else:
            assert json.loads(text) == {}, f"{path}: {text}"
        self.checked.add(path)
        return parsed

    def all(self, path: str, **kwargs) -> list:
        """Every item of a list, page by page, as the client iterates."""
        pages = self.resource(path)(**kwargs)
        if not self.is_async:
            return list(pages)

        async def collect():
            return [item async for item in pages]

        return self.wait(collect())

    def until(self, path: str, *args, state: str, seconds: float = 120, **kwargs):
        """Polls a resource until it has a state."""
        end = time.monotonic() + seconds
        while True:
            v = self(path, *args, **kwargs)
            if v.state == state:
                return v
            status = getattr(v, "status", None)
            assert status is None or status.code in (None, "OK") or state.endswith(status.code), status
            assert time.monotonic() < end, f"{path} {args}: {v.state} {status}"
            time.sleep(0.2)

    def close(self):
        self.wait(self.client.close())
        if self.loop:
            self.loop.close()


def extras(value):
    """Names of the fields, at any depth, that no model declares."""
    if isinstance(value, BaseModel):
        yield from (value.model_extra or {})
        for name in type(value).model_fields:
            yield from extras(getattr(value, name, None))
    elif isinstance(value, (list, tuple)):
        for v in value:
            yield from extras(v)
