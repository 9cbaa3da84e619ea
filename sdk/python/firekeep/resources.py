"""The account's resources: `client.models`, `client.datasets`, ... and, under `client.aio`, the same for asyncio.

An id may be bare ("my-model-v1") or a full name ("accounts/fireworks/models/smollm2-135m").
Every call raises the APIError of its kind: NotFoundError for what is missing or belongs
to others, InvalidArgumentError naming the field, PermissionDeniedError, ...
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any, ClassVar, Generic, TypeVar

from ._client import Client
from ._flow import Flow, Json, Pause, ask, at, full_name
from .dataset import DatasetReference, name_of
from .errors import FirekeepError
from .llm import configured, given, losses, training
from .step import BatchJob, DPOJob, MergeJob, ReinforcementStep, SupervisedFineTuningJob
from .types import Attestation, Connection, DatasetInfo, Deployment, Model, Operation, Secret

R = TypeVar("R")


# -- what sync and asyncio share ------------------------------------------


class Collection(Generic[R]):
    """A collection of the account: its name on the wire, and how to read an item."""

    wire: ClassVar[str]

    @property
    def _items(self) -> str:
        """The field of a page that holds its items."""
        return self.wire[0].lower() + self.wire[1:]

    def __init__(self, client: Client):
        self._client = client

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._client.base_url!r})"

    def _read(self, resource: Json) -> R:
        raise NotImplementedError

    def _got(self, id: str) -> Flow[R]:
        path = yield from at(self.wire, id)
        return self._read((yield from ask("GET", path)))

    def _deleted(self, id: str, params: Json | None = None) -> Flow[None]:
        path = yield from at(self.wire, id)
        yield from ask("DELETE", path, params=params)

    def _created(self, body: Json, params: Json | None = None) -> Flow[R]:
        path = yield from at(self.wire)
        return self._read((yield from ask("POST", path, body=body, params=params)))

    def _verb(self, method: str, id: str, verb: str, body: Json) -> Flow[Any]:
        path = yield from at(self.wire, id)
        return (yield from ask(method, f"{path}:{verb}", body=body))


class ModelFlows(Collection[Model]):
    wire = "models"

    def _read(self, resource: Json) -> Model:
        return Model.model_validate(resource)

    def _imported(self, id: str, source: str, timeout: float | None) -> Flow[Model]:
        body: Json = {"model": {"firekeep": {"source": source}}, "modelId": id.rsplit("/", 1)[-1]}
        path = yield from at("models", id)
        model = self._read((yield from ask("POST", path.rsplit("/", 1)[0], body=body)))
        deadline = None if timeout is None else time.monotonic() + timeout
        while deadline is not None and model.state != "READY":
            if model.status.code not in ("", "OK"):
                raise FirekeepError(f"{model.name}: {model.status.message}")
            if time.monotonic() > deadline:
                raise TimeoutError(f"{model.name} is still {model.state} after {timeout} s")
            yield Pause(0.5)
            model = yield from self._got(model.name)
        return model

    def _exported(self, id: str, destination: str, timeout: float | None) -> Flow[Operation]:
        operation = Operation.model_validate((yield from self._verb("POST", id, "export", {"destination": destination})))
        deadline = None if timeout is None else time.monotonic() + timeout
        while deadline is not None and not operation.done:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{operation.name} is not done after {timeout} s")
            yield Pause(0.2)
            operation = Operation.model_validate((yield from ask("GET", "/v1/" + operation.name)))
        if operation.error is not None:
            raise FirekeepError(f"{operation.name}: {operation.error.message}")
        return operation

    def _attested(self, id: str) -> Flow[Attestation]:
        path = yield from at("models", id)
        return Attestation.model_validate((yield from ask("GET", path + "/attestation")))


class DatasetFlows(Collection[DatasetInfo]):
    wire = "datasets"

    def _read(self, resource: Json) -> DatasetInfo:
        return DatasetInfo.model_validate(resource)


class DeploymentFlows(Collection[Deployment]):
    wire = "deployments"

    def _read(self, resource: Json) -> Deployment:
        return Deployment.model_validate(resource)

    def _deployed(self, base_model: str, id: str | None, fields: Json) -> Flow[Deployment]:
        body = fields | {"baseModel": (yield from full_name("models", base_model))}
        return (yield from self._created(body, {"deploymentId": id} if id else None))

    def _undeleted(self, id: str) -> Flow[Deployment]:
        return self._read((yield from self._verb("POST", id, "undelete", {})))


class SecretFlows(Collection[Secret]):
    wire = "secrets"

    def _read(self, resource: Json) -> Secret:
        return Secret.model_validate(resource)

    def _put_in(self, id: str, key_name: str, value: str) -> Flow[Secret]:
        name = yield from full_name("secrets", id)
        return (yield from self._created({"name": name, "keyName": key_name, "value": value}))

    def _updated(self, id: str, key_name: str, value: str) -> Flow[Secret]:
        path = yield from at("secrets", id)
        return self._read((yield from ask("PATCH", path, body={"keyName": key_name, "value": value})))


class ConnectionFlows(Collection[Connection]):
    wire = "connections"

    def _read(self, resource: Json) -> Connection:
        return Connection.model_validate(resource)

    def _connected(self, id: str, url: str, secret: Json | None, fields: Json) -> Flow[Connection]:
        body = {"connectionId": id.rsplit("/", 1)[-1], "connection": given(url=url, secret=secret) | fields}
        return (yield from self._created(body))

    def _checked(self, id: str) -> Flow[Connection]:
        return self._read((yield from self._verb("POST", id, "check", {})))


def supervised(client: Client, dataset: DatasetReference | str, output_model: str, model: str, job_id: str | None, config: Json, extra: Json) -> Flow[Json]:
    """Create a supervised job; its training fields are flat."""
    config, own = configured(config, extra, "supervised_jobs.create")
    body = config | (yield from _start(client, model)) | given(firekeep=own or None)
    body["dataset"] = yield from name_of(dataset, client)
    body["outputModel"] = yield from full_name("models", output_model)
    path = yield from at("supervisedFineTuningJobs")
    resource: Json = yield from ask("POST", path, body=body, params={"supervisedFineTuningJobId": job_id} if job_id else None)
    return resource


def preference(
    client: Client, dataset: DatasetReference | str, output_model: str, model: str, job_id: str | None, config: Json, loss: Json, extra: Json
) -> Flow[Json]:
    """Create a DPO or ORPO job."""
    config, own = configured(config, extra, "dpo_jobs.create")
    config |= yield from _start(client, model)
    config["outputModel"] = yield from full_name("models", output_model)
    body = {"trainingConfig": config, "dataset": (yield from name_of(dataset, client))} | given(firekeep=own or None, lossConfig=loss or None)
    path = yield from at("dpoJobs")
    resource: Json = yield from ask("POST", path, body=body, params={"dpoJobId": job_id} if job_id else None)
    return resource


def batch(client: Client, dataset: DatasetReference | str, model: str, output_dataset: str | None, job_id: str | None, defaults: Json, extra: Json) -> Flow[Json]:
    """Create a batch of requests; `extra` are further fields of a chat request."""
    if extra:
        defaults = defaults | {"extraBody": json.dumps(extra)}
    body = given(outputDatasetId=output_dataset, inferenceParameters=defaults or None)
    body["inputDatasetId"] = yield from name_of(dataset, client)
    body["model"] = yield from full_name("models", model)
    path = yield from at("batchInferenceJobs")
    resource: Json = yield from ask("POST", path, body=body, params={"batchInferenceJobId": job_id} if job_id else None)
    return resource


def merged(model: str, output_model: str, display_name: str | None) -> Flow[Json]:
    """Create a merge of a LoRA into its base."""
    body = given(displayName=display_name)
    body["peftModel"] = yield from full_name("models", model)
    body["mergedModel"] = yield from full_name("models", output_model)
    path = yield from at("PeftMergeJobs")
    resource: Json = yield from ask("POST", path, body=body)
    return resource


def _start(client: Client, model: str) -> Flow[Json]:
    """Where training begins: baseModel, or warmStartFrom for a LoRA."""
    from .llm import ModelHandle

    resource = yield from ModelHandle(model, client=client).resolved()
    return {"warmStartFrom" if resource.get("kind") == "HF_PEFT_ADDON" else "baseModel": resource["name"]}


# -- blocking calls ---------------------------------------------------------


class Listed(Collection[R]):
    def list(self, *, filter: str | None = None, order_by: str | None = None) -> Iterator[R]:
        """Every item, page after page. `filter` is AIP-160 (`state=READY`), `order_by` a field, with " desc" behind it to turn it."""
        params = given(filter=filter, orderBy=order_by)
        for item in self._client.pages(self._client.path(self.wire), self._items, params):
            yield self._read(item)

    def get(self, id: str) -> R:
        return self._client.run(self._got(id))


class Models(Listed[Model], ModelFlows):
    def import_(self, id: str, source: str, *, timeout: float | None = 3600.0) -> Model:
        """Register a model from file://, s3://, gs:// or hf://ORG/NAME (the URL of a folder ends in "/").

        Waits until it is READY, `timeout` seconds at most; returns at once with `timeout=None`.
        """
        return self._client.run(self._imported(id, source, timeout))

    def export(self, id: str, destination: str, *, timeout: float | None = 3600.0) -> Operation:
        """Write a checkpoint, in PEFT's format and signed, under a prefix of a bucket.

        Waits until it is written, or not with `timeout=None`; `response` has url, files and bytes.
        """
        return self._client.run(self._exported(id, destination, timeout))

    def attestation(self, id: str) -> Attestation:
        """Signature, provenance and bill of materials; NotFoundError when the model is not signed."""
        return self._client.run(self._attested(id))

    def delete(self, id: str) -> None:
        self._client.run(self._deleted(id))


class Datasets(Listed[DatasetInfo], DatasetFlows):
    def delete(self, id: str) -> None:
        """Make the server forget it. Rows in your bucket stay."""
        self._client.run(self._deleted(id))


class Deployments(Listed[Deployment], DeploymentFlows):
    def create(self, base_model: str, id: str | None = None, **fields: Any) -> Deployment:
        """Serve a base model. `fields` are the wire's, such as displayName or enableAddons."""
        return self._client.run(self._deployed(base_model, id, fields))

    def scale(self, id: str, replicas: int) -> None:
        """Set the number of replicas; 0 ends its process until somebody asks for it again."""
        self._client.run(self._verb("PATCH", id, "scale", {"replicaCount": replicas}))

    def delete(self, id: str, *, hard: bool = False, ignore_checks: bool = False) -> None:
        """Delete it; with `ignore_checks` although it is in use."""
        self._client.run(self._deleted(id, {k: "true" for k, v in {"hard": hard, "ignoreChecks": ignore_checks}.items() if v}))

    def undelete(self, id: str) -> Deployment:
        return self._client.run(self._undeleted(id))


class Secrets(Listed[Secret], SecretFlows):
    def create(self, id: str, value: str, *, key_name: str = "") -> Secret:
        """Store a value, sealed; `key_name` is what programs call it (the id in capitals when left out)."""
        return self._client.run(self._put_in(id, key_name or _key_name(id), value))

    def update(self, id: str, value: str, *, key_name: str = "") -> Secret:
        return self._client.run(self._updated(id, key_name or _key_name(id), value))

    def delete(self, id: str) -> None:
        self._client.run(self._deleted(id))


class Connections(Listed[Connection], ConnectionFlows):
    def create(self, id: str, url: str, secret: Json | None = None, **fields: Any) -> Connection:
        """Let the server reach a prefix of a bucket. `fields` are the wire's: auth, aws, gcp, azure, encryption (docs/connections.md)."""
        return self._client.run(self._connected(id, url, secret, fields))

    def check(self, id: str) -> Connection:
        """Try it now; `state` and `status` say what was found."""
        return self._client.run(self._checked(id))

    def delete(self, id: str) -> None:
        self._client.run(self._deleted(id))


class Steps(Listed[ReinforcementStep]):
    """Reinforcement steps and trainers; `LLM.reinforcement_step` creates them."""

    wire = "rlorTrainerJobs"

    def _read(self, resource: Json) -> ReinforcementStep:
        return ReinforcementStep(self._client, resource)


class SupervisedJobs(Listed[SupervisedFineTuningJob]):
    wire = "supervisedFineTuningJobs"

    def _read(self, resource: Json) -> SupervisedFineTuningJob:
        return SupervisedFineTuningJob(self._client, resource)

    def create(
        self, dataset: DatasetReference | str, output_model: str, model: str, *, lora_rank: int | None = None, learning_rate: float | None = None,
        max_context_length: int | None = None, epochs: int | None = None, batch_size: int | None = None, job_id: str | None = None, **extra: Any,
    ) -> SupervisedFineTuningJob:
        """Train a LoRA on conversations (`{"messages": [...]}` rows), from a base or a LoRA; returns at once.

        What is left out has the server's default; `extra` is as in `LLM.reinforcement_step`.
        """
        config = training(lora_rank, learning_rate, max_context_length, epochs, batch_size)
        return self._read(self._client.run(supervised(self._client, dataset, output_model, model, job_id, config, extra)))


class DPOJobs(Listed[DPOJob]):
    wire = "dpoJobs"

    def _read(self, resource: Json) -> DPOJob:
        return DPOJob(self._client, resource)

    def create(
        self, dataset: DatasetReference | str, output_model: str, model: str, *, method: str | None = None, beta: float | None = None,
        orpo_lambda: float | None = None, lora_rank: int | None = None, learning_rate: float | None = None, max_context_length: int | None = None,
        epochs: int | None = None, batch_size: int | None = None, job_id: str | None = None, **extra: Any,
    ) -> DPOJob:
        """Train a LoRA on preference rows with DPO, or ORPO where `method` says so; returns at once."""
        config = training(lora_rank, learning_rate, max_context_length, epochs, batch_size)
        loss = losses(method, None, beta, orpo_lambda)
        return self._read(self._client.run(preference(self._client, dataset, output_model, model, job_id, config, loss, extra)))


class BatchJobs(Listed[BatchJob]):
    wire = "batchInferenceJobs"

    def _read(self, resource: Json) -> BatchJob:
        return BatchJob(self._client, resource)

    def create(
        self, dataset: DatasetReference | str, model: str, output_dataset: str | None = None, *, max_tokens: int | None = None, temperature: float | None = None,
        top_p: float | None = None, top_k: int | None = None, n: int | None = None, job_id: str | None = None, **extra: Any,
    ) -> BatchJob:
        """Answer every row of a dataset of requests, `{"custom_id": ..., "body": {"messages": [...]}}`; returns at once.

        The parameters, and `extra` (any other of a chat request), hold for requests that do not say otherwise.
        """
        defaults = given(maxTokens=max_tokens, temperature=temperature, topP=top_p, topK=top_k, n=n)
        return self._read(self._client.run(batch(self._client, dataset, model, output_dataset, job_id, defaults, extra)))


class MergeJobs(Listed[MergeJob]):
    wire = "PeftMergeJobs"

    def _read(self, resource: Json) -> MergeJob:
        return MergeJob(self._client, resource)

    def create(self, model: str, output_model: str, *, display_name: str | None = None) -> MergeJob:
        """Merge a LoRA into the base that it stands on; returns at once. `output_model` is a base model of its own when the job is completed."""
        return self._read(self._client.run(merged(model, output_model, display_name)))


def _key_name(id: str) -> str:
    return id.rsplit("/", 1)[-1].replace("-", "_").upper()
