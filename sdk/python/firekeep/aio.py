"""The same names for asyncio: what asks the server is awaited, and never blocks the event loop.

    from firekeep.aio import LLM, Dataset

    async def main():
        llm = LLM("smollm2-135m")
        answer = await llm.chat.completions.create([{"role": "user", "content": "Hello"}])
        job = await llm.reinforcement_step(Dataset.from_url("s3://b/round-1.jsonl"), "my-model-v1")
        job = await job.wait()

A cancelled task ends its request: the connection is closed, and the server stops
computing for it. A job that was created goes on; `cancel()` ends it.
Connections belong to the running event loop; `await llm.client.aclose()`, or
`async with llm.client:`, closes them.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from functools import cached_property
from typing import Any, Literal, Self, TypeVar, cast, overload

from ._client import Client
from ._flow import Json
from .dataset import DatasetReference
from .llm import CHAT, ModelHandle, Prompt, executed, given, losses, training
from .plot import Curve
from .resources import Collection, ConnectionFlows, DatasetFlows, DeploymentFlows, ModelFlows, SecretFlows, _key_name, batch, merged, preference, supervised
from .step import Batch, Job, OnMetrics, answers_of
from .types import (
    Attestation, ChatCompletion, ChatCompletionChunk, Checkpoint, Completion, Connection, DatasetInfo, Deployment, Model, Operation, Secret, StepEvent,
    StepMetrics,
)

__all__ = ["LLM", "Dataset", "ReinforcementStep", "SupervisedFineTuningJob", "DPOJob", "BatchJob", "MergeJob", "ChatStream", "Resources"]
R = TypeVar("R")


class Dataset(DatasetReference):
    """`firekeep.Dataset` for asyncio."""

    async def sync(self, client: Client | None = None, *, timeout: float = 600.0) -> Self:
        """Make sure that the server has this dataset and has validated it; raises as `firekeep.Dataset.sync` does."""
        return await self._use(client).arun(self._synced(timeout))

    async def delete(self, client: Client | None = None) -> None:
        """Make the server forget it. Rows in your bucket stay."""
        await self._use(client).arun(self._deleted())


class LLM(ModelHandle):
    """`firekeep.LLM` for asyncio: the same arguments, the same names."""

    def __init__(self, model: str, deployment_type: str = "auto", **options: Any):
        super().__init__(model, deployment_type, **options)
        self.chat = _Chat(self)
        self.completions = _Completions(self)

    async def resource(self) -> Json:
        """The model as the server describes it, asked once."""
        return await self.client.arun(self.resolved())

    async def model(self) -> str:
        """Full name of the model."""
        return cast(str, (await self.resource())["name"])

    async def is_lora(self) -> bool:
        return (await self.resource()).get("kind") == "HF_PEFT_ADDON"

    async def apply(self, wait: bool = True) -> Self:
        """Check that the model exists; a Firekeep server deploys it on first use."""
        await self.resource()
        return self

    async def reinforcement_step(
        self,
        dataset: DatasetReference | str,
        output_model: str,
        lora_rank: int | None = None,
        learning_rate: float | None = None,
        max_context_length: int | None = None,
        epochs: int | None = None,
        batch_size: int | None = None,
        accelerator_count: int = 1,
        accelerator_type: str = "NVIDIA_H200_141GB",
        *,
        loss_method: str | None = None,
        kl_beta: float | None = None,
        dpo_beta: float | None = None,
        orpo_lambda: float | None = None,
        reward_weights: list[str] | None = None,
        evaluation_dataset: DatasetReference | str | None = None,
        display_name: str | None = None,
        job_id: str | None = None,
        **extra: Any,
    ) -> ReinforcementStep:
        """Start one reinforcement step on scored samples; `firekeep.LLM.reinforcement_step` says what each parameter is."""
        resource = await self.client.arun(self.stepped(
            dataset, output_model, job_id,
            training(lora_rank, learning_rate, max_context_length, epochs, batch_size, accelerator_count, accelerator_type),
            losses(loss_method, kl_beta, dpo_beta, orpo_lambda),
            given(rewardWeights=reward_weights, displayName=display_name, evaluationDataset=evaluation_dataset), extra,
        ))  # fmt: skip
        return ReinforcementStep(self.client, resource)


def twin(llm: ModelHandle) -> LLM:
    """The asyncio handle of the model that `llm` is a handle of, on the same client."""
    other = LLM(llm._asked, client=llm.client, **llm._defaults)
    other._resource = llm._resource
    return other


class ChatStream:
    """Chunks of an answer. Leaving `async with`, `aclose()` and cancellation end the request, on the server too."""

    def __init__(self, events: AsyncIterator[Json]):
        self._events = events

    def __aiter__(self) -> ChatStream:
        return self

    async def __anext__(self) -> ChatCompletionChunk:
        return ChatCompletionChunk.model_validate(await anext(self._events))

    async def aclose(self) -> None:
        await cast("AsyncGenerator[Json, None]", self._events).aclose()

    async def __aenter__(self) -> ChatStream:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()


class _Chat:
    def __init__(self, llm: LLM):
        self.completions = _ChatCompletions(llm)


class _ChatCompletions:
    def __init__(self, llm: LLM):
        self._llm = llm

    @overload
    async def create(self, messages: list[Json], *, stream: Literal[False] = False, **options: Any) -> ChatCompletion: ...
    @overload
    async def create(self, messages: list[Json], *, stream: Literal[True], **options: Any) -> ChatStream: ...
    @overload
    async def create(self, messages: list[Json], *, stream: bool, **options: Any) -> ChatCompletion | ChatStream: ...
    async def create(self, messages: list[Json], *, stream: bool = False, **options: Any) -> ChatCompletion | ChatStream:
        """Chat; with `stream`, `async for` over the result gives chunks."""
        llm = self._llm
        if not stream:
            return await llm.client.arun(llm.chatted(messages, options))
        body = await llm.client.arun(llm._body({"messages": messages, "stream": True}, options))
        return ChatStream(llm.client.astream(CHAT, body))


class _Completions:
    def __init__(self, llm: LLM):
        self._llm = llm

    async def create(self, prompt: Prompt, **options: Any) -> Completion:
        """Complete plain text or token ids."""
        return await self._llm.client.arun(self._llm.completed(prompt, options))


# -- jobs -------------------------------------------------------------------


class _AsyncFollowed(Job):
    async def get(self) -> Self | None:
        """The job as it is now, a new object; None when it was deleted."""
        return await self._client.arun(self._got())

    async def wait(self, *, poll: float = 0.5, timeout: float | None = None, on_metrics: OnMetrics | None = None) -> Self:
        """Wait until the job is completed; raises as `firekeep.ReinforcementStep.wait` does. `on_metrics` is a plain function."""
        return await self._client.arun(self._waited(poll, timeout, on_metrics))

    async def delete(self) -> None:
        """Delete the record of the job, and its resume points; one that runs ends. What it wrote stays."""
        await self._client.arequest("DELETE", "/v1/" + self.name)


class _AsyncJob(_AsyncFollowed):
    async def cancel(self) -> None:
        """Ask the job to end; its resume point stays until it is deleted."""
        await self._client.arequest("POST", f"/v1/{self.name}:cancel", body={})

    async def resume(self, *, discard_steps: bool = False) -> Self:
        """Take a FAILED or CANCELLED job up again at its last resume point."""
        return await self._client.arun(self._resumed(discard_steps))


class _AsyncTraining(_AsyncJob):
    has_metrics = True

    async def metrics(self, *, after: int = 0) -> AsyncIterator[StepMetrics]:
        """Metrics per optimiser batch, those of updates greater than `after`."""
        async for m in self._client.apages(f"/v1/{self.name}/metrics", "metrics", {"after": after} if after else None):
            yield cast(StepMetrics, m)

    async def events(self) -> AsyncIterator[StepEvent]:
        """The history of the job: states, resume points, warnings, in order."""
        async for e in self._client.apages(f"/v1/{self.name}/events", "events"):
            yield StepEvent.model_validate(e)

    async def checkpoints(self) -> AsyncIterator[Checkpoint]:
        """Resume points, and the LoRAs that were made."""
        async for c in self._client.apages(f"/v1/{self.name}/checkpoints", "checkpoints"):
            yield Checkpoint.model_validate(c)

    async def logs(self) -> str:
        """The job's log as text; it never holds text of a row."""
        return await self._client.afetch((await self._client.arequest("GET", f"/v1/{self.name}/publicLogs"))["signedUrl"])

    async def promote(self, output_model: str, *, checkpoint: Checkpoint | str | None = None) -> Model:
        """A model of its own of a LoRA that this job made, by default its last one."""
        return Model.model_validate(await self._client.arun(self._promoted(output_model, checkpoint)))

    async def plot(self, metric: str | None = None, *, live: bool = False, poll: float = 1.0) -> Curve:
        """A curve of one metric by optimiser batch; with `live` it grows in the notebook until the job is completed."""
        metric = metric or self.plotted
        curve = self._drawn(metric, [] if live else [m async for m in self.metrics()])
        if live:
            shown = curve.show()
            await self.wait(poll=poll, on_metrics=lambda m: shown.add(m["update"], m[metric]))  # type: ignore[literal-required]
        return curve


class ReinforcementStep(_AsyncTraining):
    """`firekeep.ReinforcementStep` for asyncio."""

    plotted = "rewardMean"

    async def execute(self, dataset: DatasetReference | str, output_model: str) -> None:
        """Ask a keep-alive trainer for a step; returns at once. It is done when `output_model` is READY."""
        await self._client.arun(executed(self, dataset, output_model))


class SupervisedFineTuningJob(_AsyncTraining):
    """`firekeep.SupervisedFineTuningJob` for asyncio."""


class DPOJob(_AsyncTraining):
    """`firekeep.DPOJob` for asyncio."""

    async def metrics_file(self) -> str:
        """The metrics of each optimiser batch, as text of JSON lines."""
        return await self._client.afetch((await self._client.arequest("GET", f"/v1/{self.name}:getMetricsFileEndpoint"))["signedUrl"])


class BatchJob(Batch, _AsyncFollowed):
    """`firekeep.BatchJob` for asyncio."""

    async def answers(self) -> list[Json]:
        """The answers, and what went wrong with the others, read from the server."""
        return answers_of([await self._client.afetch(url) for url in await self._client.arun(self._answer_urls())])


class MergeJob(_AsyncFollowed):
    """`firekeep.MergeJob` for asyncio."""


# -- resources ----------------------------------------------------------------


class _Listed(Collection[R]):
    async def list(self, *, filter: str | None = None, order_by: str | None = None) -> AsyncIterator[R]:
        """Every item, page after page."""
        path = await self._client.apath(self.wire)
        async for item in self._client.apages(path, self._items, given(filter=filter, orderBy=order_by)):
            yield self._read(item)

    async def get(self, id: str) -> R:
        return await self._client.arun(self._got(id))


class Models(_Listed[Model], ModelFlows):
    async def import_(self, id: str, source: str, *, timeout: float | None = 3600.0) -> Model:
        return await self._client.arun(self._imported(id, source, timeout))

    async def export(self, id: str, destination: str, *, timeout: float | None = 3600.0) -> Operation:
        return await self._client.arun(self._exported(id, destination, timeout))

    async def attestation(self, id: str) -> Attestation:
        return await self._client.arun(self._attested(id))

    async def delete(self, id: str) -> None:
        await self._client.arun(self._deleted(id))


class Datasets(_Listed[DatasetInfo], DatasetFlows):
    async def delete(self, id: str) -> None:
        await self._client.arun(self._deleted(id))


class Deployments(_Listed[Deployment], DeploymentFlows):
    async def create(self, base_model: str, id: str | None = None, **fields: Any) -> Deployment:
        return await self._client.arun(self._deployed(base_model, id, fields))

    async def scale(self, id: str, replicas: int) -> None:
        await self._client.arun(self._verb("PATCH", id, "scale", {"replicaCount": replicas}))

    async def delete(self, id: str, *, hard: bool = False, ignore_checks: bool = False) -> None:
        await self._client.arun(self._deleted(id, {k: "true" for k, v in {"hard": hard, "ignoreChecks": ignore_checks}.items() if v}))

    async def undelete(self, id: str) -> Deployment:
        return await self._client.arun(self._undeleted(id))


class Secrets(_Listed[Secret], SecretFlows):
    async def create(self, id: str, value: str, *, key_name: str = "") -> Secret:
        return await self._client.arun(self._put_in(id, key_name or _key_name(id), value))

    async def update(self, id: str, value: str, *, key_name: str = "") -> Secret:
        return await self._client.arun(self._updated(id, key_name or _key_name(id), value))

    async def delete(self, id: str) -> None:
        await self._client.arun(self._deleted(id))


class Connections(_Listed[Connection], ConnectionFlows):
    async def create(self, id: str, url: str, secret: Json | None = None, **fields: Any) -> Connection:
        return await self._client.arun(self._connected(id, url, secret, fields))

    async def check(self, id: str) -> Connection:
        return await self._client.arun(self._checked(id))

    async def delete(self, id: str) -> None:
        await self._client.arun(self._deleted(id))


class Steps(_Listed[ReinforcementStep]):
    wire = "rlorTrainerJobs"

    def _read(self, resource: Json) -> ReinforcementStep:
        return ReinforcementStep(self._client, resource)


class SupervisedJobs(_Listed[SupervisedFineTuningJob]):
    wire = "supervisedFineTuningJobs"

    def _read(self, resource: Json) -> SupervisedFineTuningJob:
        return SupervisedFineTuningJob(self._client, resource)

    async def create(
        self, dataset: DatasetReference | str, output_model: str, model: str, *, lora_rank: int | None = None, learning_rate: float | None = None,
        max_context_length: int | None = None, epochs: int | None = None, batch_size: int | None = None, job_id: str | None = None, **extra: Any,
    ) -> SupervisedFineTuningJob:
        config = training(lora_rank, learning_rate, max_context_length, epochs, batch_size)
        return self._read(await self._client.arun(supervised(self._client, dataset, output_model, model, job_id, config, extra)))


class DPOJobs(_Listed[DPOJob]):
    wire = "dpoJobs"

    def _read(self, resource: Json) -> DPOJob:
        return DPOJob(self._client, resource)

    async def create(
        self, dataset: DatasetReference | str, output_model: str, model: str, *, method: str | None = None, beta: float | None = None,
        orpo_lambda: float | None = None, lora_rank: int | None = None, learning_rate: float | None = None, max_context_length: int | None = None,
        epochs: int | None = None, batch_size: int | None = None, job_id: str | None = None, **extra: Any,
    ) -> DPOJob:
        config = training(lora_rank, learning_rate, max_context_length, epochs, batch_size)
        loss = losses(method, None, beta, orpo_lambda)
        return self._read(await self._client.arun(preference(self._client, dataset, output_model, model, job_id, config, loss, extra)))


class BatchJobs(_Listed[BatchJob]):
    wire = "batchInferenceJobs"

    def _read(self, resource: Json) -> BatchJob:
        return BatchJob(self._client, resource)

    async def create(
        self, dataset: DatasetReference | str, model: str, output_dataset: str | None = None, *, max_tokens: int | None = None, temperature: float | None = None,
        top_p: float | None = None, top_k: int | None = None, n: int | None = None, job_id: str | None = None, **extra: Any,
    ) -> BatchJob:
        defaults = given(maxTokens=max_tokens, temperature=temperature, topP=top_p, topK=top_k, n=n)
        return self._read(await self._client.arun(batch(self._client, dataset, model, output_dataset, job_id, defaults, extra)))


class MergeJobs(_Listed[MergeJob]):
    wire = "PeftMergeJobs"

    def _read(self, resource: Json) -> MergeJob:
        return MergeJob(self._client, resource)

    async def create(self, model: str, output_model: str, *, display_name: str | None = None) -> MergeJob:
        return self._read(await self._client.arun(merged(model, output_model, display_name)))


class Resources:
    """`client.aio`: the resources of `firekeep.resources`, each method awaited, `list` read with `async for`."""

    def __init__(self, client: Client):
        self._client = client

    @cached_property
    def models(self) -> Models:
        return Models(self._client)

    @cached_property
    def datasets(self) -> Datasets:
        return Datasets(self._client)

    @cached_property
    def deployments(self) -> Deployments:
        return Deployments(self._client)

    @cached_property
    def secrets(self) -> Secrets:
        return Secrets(self._client)

    @cached_property
    def connections(self) -> Connections:
        return Connections(self._client)

    @cached_property
    def steps(self) -> Steps:
        return Steps(self._client)

    @cached_property
    def supervised_jobs(self) -> SupervisedJobs:
        return SupervisedJobs(self._client)

    @cached_property
    def dpo_jobs(self) -> DPOJobs:
        return DPOJobs(self._client)

    @cached_property
    def batch_jobs(self) -> BatchJobs:
        return BatchJobs(self._client)

    @cached_property
    def merge_jobs(self) -> MergeJobs:
        return MergeJobs(self._client)
