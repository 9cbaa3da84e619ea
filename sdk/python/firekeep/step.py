"""A reinforcement step: the job that turns scored samples into a new checkpoint."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

from ._client import Client
from .errors import JobFailedError, NoSignalWarning, NotFoundError

_BAD = {
    "JOB_STATE_FAILED", "JOB_STATE_FAILED_CLEANING_UP", "JOB_STATE_CANCELLED", "JOB_STATE_EXPIRED", "JOB_STATE_EXPIRED_CLEANING_UP",
    "JOB_STATE_DELETING_CLEANING_UP", "JOB_STATE_DELETING", "JOB_STATE_DELETED",
}


class ReinforcementStep:
    """One step as the server last described it. `get()` asks again and returns a new object."""

    def __init__(self, client: Client, resource: dict):
        self._client = client
        self.resource = resource
        if self.is_completed and (resource.get("firekeep") or {}).get("noSignal"):
            warnings.warn(f"{self.name}: {self.message}", NoSignalWarning, stacklevel=3)

    def __repr__(self) -> str:
        return f"ReinforcementStep({self.name!r}, {self.state})"

    @property
    def name(self) -> str:
        return self.resource["name"]

    @property
    def id(self) -> str:
        return self.name.rsplit("/", 1)[-1]

    @property
    def state(self) -> str:
        """Name of the state, such as "JOB_STATE_RUNNING"."""
        return self.resource.get("state", "JOB_STATE_UNSPECIFIED")

    @property
    def message(self) -> str:
        """The server's sentence about the state; "" when there is nothing to say."""
        return (self.resource.get("status") or {}).get("message", "")

    @property
    def output_model(self) -> str:
        """Full name of the model that this step writes, known from creation on."""
        return self.resource["trainingConfig"]["outputModel"]

    @property
    def progress(self) -> int:
        """Percent done, 0 to 100."""
        return int((self.resource.get("jobProgress") or {}).get("percent", 0))

    @property
    def is_completed(self) -> bool:
        return self.state == "JOB_STATE_COMPLETED"

    def raise_if_bad_state(self) -> None:
        """Raise JobFailedError, with the job's message, when the job can no longer complete."""
        if self.state in _BAD:
            state = self.state.removeprefix("JOB_STATE_")
            raise JobFailedError(f"{self.name} is {state}: {self.message or 'no message'}", state=self.state, job=self.name)

    def get(self) -> ReinforcementStep | None:
        """The step as it is now; None when it was deleted."""
        try:
            resource = self._client.request("GET", "/v1/" + self.name)
        except NotFoundError:
            return None
        if resource.get("state") == "JOB_STATE_DELETED":
            return None
        return ReinforcementStep(self._client, resource)

    def wait(self, *, poll: float = 0.5, timeout: float | None = None, on_metrics: Callable[[dict], Any] | None = None) -> ReinforcementStep:
        """Wait until the step is completed; raise JobFailedError when it ends otherwise.

        `on_metrics` is called with the metrics of each optimiser batch, once and in order.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        job, seen = self, 0
        while True:
            if on_metrics is not None:
                for m in job.metrics(after=seen):
                    seen = m["update"]
                    on_metrics(m)
            if job.is_completed:
                return job
            job.raise_if_bad_state()
            if deadline is not None and time.monotonic() > deadline:
                raise TimeoutError(f"{self.name} is still {job.state} after {timeout} s")
            time.sleep(poll)
            fresh = job.get()
            if fresh is None:
                raise JobFailedError(f"{self.name} was deleted while waiting for it", state="JOB_STATE_DELETED", job=self.name)
            job = fresh

    def metrics(self, *, after: int = 0) -> Iterator[dict]:
        """Metrics per optimiser batch, those of updates greater than `after`."""
        for m in self._client.pages(f"/v1/{self.name}/metrics", "metrics", {"after": after} if after else None):
            yield m

    def cancel(self) -> None:
        self._client.request("POST", f"/v1/{self.name}:cancel", body={})

    def delete(self) -> None:
        self._client.request("DELETE", "/v1/" + self.name)
