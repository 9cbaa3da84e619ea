"""Jobs: reinforcement steps, supervised and preference jobs, batches of requests, merges."""

from __future__ import annotations

import html
import json
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any, Self, cast

from ._client import Client
from ._flow import Flow, Json, Pause, ask
from .errors import JobFailedError, NoSignalWarning, NotFoundError
from .plot import Curve
from .types import Checkpoint, Model, StepEvent, StepMetrics

_BAD = {
    "JOB_STATE_FAILED", "JOB_STATE_FAILED_CLEANING_UP", "JOB_STATE_CANCELLED", "JOB_STATE_EXPIRED", "JOB_STATE_EXPIRED_CLEANING_UP",
    "JOB_STATE_DELETING_CLEANING_UP", "JOB_STATE_DELETING", "JOB_STATE_DELETED",
}
OnMetrics = Callable[[StepMetrics], Any]


class Job:
    """A job as the server last described it, in `resource`. What asks the server is in the classes below and in `aio`."""

    has_metrics = False
    plotted = "loss"  # the metric that `plot` shows by default

    def __init__(self, client: Client, resource: Json):
        self._client = client
        self.resource = resource
        if self.is_completed and (resource.get("firekeep") or {}).get("noSignal"):
            warnings.warn(f"{self.name}: {self.message}", NoSignalWarning, stacklevel=3)

    def __repr__(self) -> str:
        said = f", {self.progress}%" if self.state == "JOB_STATE_RUNNING" else ""
        return f"{type(self).__name__}({self.name!r}, {self.state}{said})"

    def _repr_html_(self) -> str:
        """A row of a notebook: name, state, a bar, and the message if there is one."""
        said = f"<br><small>{html.escape(self.message)}</small>" if self.message else ""
        return f'<code>{html.escape(self.name)}</code> <b>{html.escape(self.state.removeprefix("JOB_STATE_"))}</b> <progress max="100" value="{self.progress}"></progress> &rarr; <code>{html.escape(self.output_model)}</code>{said}'

    @property
    def name(self) -> str:
        return cast(str, self.resource["name"])

    @property
    def id(self) -> str:
        return self.name.rsplit("/", 1)[-1]

    @property
    def state(self) -> str:
        """Name of the state, such as "JOB_STATE_RUNNING"."""
        return cast(str, self.resource.get("state", "JOB_STATE_UNSPECIFIED"))

    @property
    def message(self) -> str:
        """The server's sentence about the state; "" when there is nothing to say."""
        return cast(str, (self.resource.get("status") or {}).get("message", ""))

    @property
    def output_model(self) -> str:
        """Full name of the model that this job writes, known from creation on; "" for a keep-alive trainer."""
        if "mergedModel" in self.resource:
            return cast(str, self.resource["mergedModel"])
        return cast(str, (self.resource.get("trainingConfig") or self.resource).get("outputModel", ""))

    @property
    def progress(self) -> int:
        """Percent done, 0 to 100."""
        return 100 if self.is_completed else int((self.resource.get("jobProgress") or {}).get("percent", 0))

    @property
    def is_completed(self) -> bool:
        return self.state == "JOB_STATE_COMPLETED"

    def raise_if_bad_state(self) -> None:
        """Raise JobFailedError, with the job's message, when the job can no longer complete."""
        if self.state in _BAD:
            state = self.state.removeprefix("JOB_STATE_")
            raise JobFailedError(f"{self.name} is {state}: {self.message or 'no message'}", state=self.state, job=self.name)

    # -- flows --------------------------------------------------------------

    def _got(self) -> Flow[Self | None]:
        try:
            resource = yield from ask("GET", "/v1/" + self.name)
        except NotFoundError:
            return None
        if resource.get("state") == "JOB_STATE_DELETED":
            return None
        return type(self)(self._client, resource)

    def _waited(self, poll: float, timeout: float | None, on_metrics: OnMetrics | None) -> Flow[Self]:
        deadline = None if timeout is None else time.monotonic() + timeout
        job, seen = self, 0
        while True:
            if on_metrics is not None:
                for m in (yield from job._metrics_since(seen)):
                    seen = m["update"]
                    on_metrics(m)
            if job.is_completed:
                return job
            job.raise_if_bad_state()
            if deadline is not None and time.monotonic() > deadline:
                raise TimeoutError(f"{self.name} is still {job.state} after {timeout} s")
            yield Pause(poll)
            fresh = yield from job._got()
            if fresh is None:
                raise JobFailedError(f"{self.name} was deleted while waiting for it", state="JOB_STATE_DELETED", job=self.name)
            job = fresh

    def _metrics_since(self, update: int) -> Flow[list[StepMetrics]]:
        if not self.has_metrics:
            raise TypeError(f"on_metrics: the server keeps no metrics per batch of a {type(self).__name__}")
        found: list[StepMetrics] = []
        params: Json = {"after": update} if update else {}
        while True:
            page = yield from ask("GET", f"/v1/{self.name}/metrics", params=params)
            found += page.get("metrics") or []
            if not page.get("nextPageToken") or not page.get("metrics"):
                return found
            params = params | {"pageToken": page["nextPageToken"]}

    def _resumed(self, discard_steps: bool) -> Flow[Self]:
        resource = yield from ask("POST", f"/v1/{self.name}:resume", body={"discardSteps": True} if discard_steps else {})
        return type(self)(self._client, resource)

    def _promoted(self, output_model: str, checkpoint: Checkpoint | str | None) -> Flow[Json]:
        page = yield from ask("GET", f"/v1/{self.name}/checkpoints")
        made = [c for c in page.get("checkpoints") or [] if c.get("promotable")]
        if checkpoint is not None:
            wanted = (checkpoint if isinstance(checkpoint, str) else checkpoint.name).rsplit("/", 1)[-1]
            made = [c for c in made if c["name"].rsplit("/", 1)[-1] == wanted]
        if not made:
            raise ValueError(f"{self.name} has no such checkpoint that can be promoted: it is {self.state.removeprefix('JOB_STATE_')}, or its model was deleted")
        newest = max(made, key=lambda c: cast(str, c.get("createTime") or ""))
        model = yield from ask("GET", "/v1/" + newest["model"])
        body = {"outputModel": output_model, "baseModel": model["peftDetails"]["baseModel"]}
        answer = yield from ask("POST", f"/v1/{newest['name']}:promote", body=body)
        return cast(Json, answer["model"])

    def _drawn(self, metric: str, points: list[StepMetrics]) -> Curve:
        curve = Curve(metric, title=self.id, x="update")
        for m in points:
            curve.add(m["update"], m[metric])  # type: ignore[literal-required]
        return curve


class Batch(Job):
    """A batch as both classes of it see it."""

    @property
    def output_dataset(self) -> str:
        """Full name of the dataset that the answers are in once the job is completed."""
        return cast(str, self.resource.get("outputDatasetId", ""))

    @property
    def counts(self) -> tuple[int, int, int]:
        """Requests in all, answered, and failed."""
        p = self.resource.get("jobProgress") or {}
        return int(p.get("totalInputRequests", 0)), int(p.get("successfullyProcessedRequests", 0)), int(p.get("failedRequests", 0))

    def _answer_urls(self) -> Flow[list[str]]:
        answer = yield from ask("GET", f"/v1/{self.output_dataset}:getDownloadEndpoint")
        return [url for _, url in sorted((answer.get("filenameToSignedUrls") or {}).items())]


def answers_of(texts: list[str]) -> list[Json]:
    """The rows of files of answers; those that failed have `error` and no `response`."""
    return [json.loads(line) for text in texts for line in text.splitlines() if line]


class _SyncFollowed(Job):
    def get(self) -> Self | None:
        """The job as it is now, a new object; None when it was deleted."""
        return self._client.run(self._got())

    def wait(self, *, poll: float = 0.5, timeout: float | None = None, on_metrics: OnMetrics | None = None) -> Self:
        """Wait until the job is completed; asked every `poll` seconds.

        Raises JobFailedError when it ends otherwise, TimeoutError after `timeout` seconds.
        `on_metrics` is called with the metrics of each optimiser batch, once and in order.
        """
        return self._client.run(self._waited(poll, timeout, on_metrics))

    def delete(self) -> None:
        """Delete the record of the job, and its resume points; one that runs ends. What it wrote stays."""
        self._client.request("DELETE", "/v1/" + self.name)


class _SyncJob(_SyncFollowed):
    def cancel(self) -> None:
        """Ask the job to end; its resume point stays until it is deleted."""
        self._client.request("POST", f"/v1/{self.name}:cancel", body={})

    def resume(self, *, discard_steps: bool = False) -> Self:
        """Take a FAILED or CANCELLED job up again at its last resume point.

        With `discard_steps` a keep-alive trainer forgets the steps that are not done.
        """
        return self._client.run(self._resumed(discard_steps))


class _SyncTraining(_SyncJob):
    has_metrics = True

    def metrics(self, *, after: int = 0) -> Iterator[StepMetrics]:
        """Metrics per optimiser batch, those of updates greater than `after`; docs/metrics.md explains each number."""
        for m in self._client.pages(f"/v1/{self.name}/metrics", "metrics", {"after": after} if after else None):
            yield cast(StepMetrics, m)

    def events(self) -> Iterator[StepEvent]:
        """The history of the job: states, resume points, warnings, in order."""
        for e in self._client.pages(f"/v1/{self.name}/events", "events"):
            yield StepEvent.model_validate(e)

    def checkpoints(self) -> Iterator[Checkpoint]:
        """Resume points (CHECKPOINT_TYPE_TRAINING_LORA) and the LoRAs that were made (CHECKPOINT_TYPE_INFERENCE_LORA)."""
        for c in self._client.pages(f"/v1/{self.name}/checkpoints", "checkpoints"):
            yield Checkpoint.model_validate(c)

    def logs(self) -> str:
        """The job's log as text: states, warnings, resume points, one line per optimiser batch. It never holds text of a row."""
        return self._client.fetch(self._client.request("GET", f"/v1/{self.name}/publicLogs")["signedUrl"])

    def promote(self, output_model: str, *, checkpoint: Checkpoint | str | None = None) -> Model:
        """A model of its own of a LoRA that this job made, by default its last one; it stays when the job's model is deleted."""
        return Model.model_validate(self._client.run(self._promoted(output_model, checkpoint)))

    def plot(self, metric: str | None = None, *, live: bool = False, poll: float = 1.0) -> Curve:
        """A curve of one metric by optimiser batch, which a notebook shows as SVG.

        With `live` it is shown at once and grows until the job is completed; raises
        JobFailedError as `wait` does. `metric` is one of docs/metrics.md; by default what the job is about.
        """
        metric = metric or self.plotted
        curve = self._drawn(metric, [] if live else list(self.metrics()))
        if live:
            shown = curve.show()
            self.wait(poll=poll, on_metrics=lambda m: shown.add(m["update"], m[metric]))  # type: ignore[literal-required]
        return curve


class ReinforcementStep(_SyncTraining):
    """One step as the server last described it. `get()` asks again and returns a new object."""

    plotted = "rewardMean"

    def execute(self, dataset: Any, output_model: str) -> None:
        """Ask a keep-alive trainer for a step; returns at once. It is done when `output_model` is READY."""
        from .llm import executed

        self._client.run(executed(self, dataset, output_model))


class SupervisedFineTuningJob(_SyncTraining):
    """A job that trains a LoRA on conversations, as the server last described it."""


class DPOJob(_SyncTraining):
    """A job that trains a LoRA on preferences, as the server last described it."""

    def metrics_file(self) -> str:
        """The metrics of each optimiser batch, as text of JSON lines."""
        return self._client.fetch(self._client.request("GET", f"/v1/{self.name}:getMetricsFileEndpoint")["signedUrl"])


class BatchJob(Batch, _SyncFollowed):
    """A job that answers a dataset of requests, as the server last described it (docs/batch.md)."""

    def answers(self) -> list[Json]:
        """`{"custom_id", "response"}` of each row, and `{"custom_id", "error"}` of those that failed, read from the server.

        Answers to rows in a bucket lie beside them, where your own credentials read them; the server refuses to hand those out.
        """
        return answers_of([self._client.fetch(url) for url in self._client.run(self._answer_urls())])


class MergeJob(_SyncFollowed):
    """A job that merges a LoRA into its base, as the server last described it; `output_model` is the base model that it makes."""
