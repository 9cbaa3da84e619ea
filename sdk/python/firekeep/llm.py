"""LLM: one model of a Firekeep server, to talk to and to train."""

from __future__ import annotations

import html
from collections.abc import Iterator
from typing import Any, Literal, cast, overload

from ._client import Client
from ._flow import Flow, Json, ask, at, full_name
from .dataset import DatasetReference, name_of
from .errors import NotFoundError
from .step import Job, ReinforcementStep
from .types import ChatCompletion, ChatCompletionChunk, Completion

# What reinforcement_step sends for a base model when the caller does not say.
_BASE_DEFAULTS: Json = {"loraRank": 16, "learningRate": 1e-4, "maxContextLength": 8192, "epochs": 1, "batchSize": 32768}
CHAT, TEXT = "/inference/v1/chat/completions", "/inference/v1/completions"
Prompt = str | list[int] | list[str] | list[list[int]]


class ModelHandle:
    """What `LLM` and `aio.LLM` share: which model of which server, and the flows on it."""

    def __init__(
        self,
        model: str,
        deployment_type: str = "auto",
        *,
        id: str | None = None,
        base_id: str | None = None,
        api_key: str | None = None,
        base_url: str | None = None,
        client: Client | None = None,
        temperature: float | None = None,
        max_tokens: int | None = None,
    ):
        if deployment_type not in ("auto", "serverless", "on-demand", "on-demand-lora"):
            raise ValueError(f"deployment_type: {deployment_type!r} is none of auto, serverless, on-demand, on-demand-lora")
        self.client = client or Client(api_key=api_key, base_url=base_url)
        self.deployment_type = deployment_type
        self.deployment_id = id
        self.base_id = base_id
        self._asked = model
        self._resource: Json | None = None
        self._defaults: Json = {k: v for k, v in {"temperature": temperature, "max_tokens": max_tokens}.items() if v is not None}

    def __repr__(self) -> str:
        known = self._resource
        if known is None:
            return f"{type(self).__name__}({self._asked!r})"
        peft = known.get("peftDetails") or {}
        what = f"LoRA of rank {peft.get('r')} on {peft.get('baseModel')}" if _is_lora(known) else f"base, context {known.get('contextLength')}"
        return f"{type(self).__name__}({known['name']!r}, {what}, {known.get('state')})"

    def _repr_html_(self) -> str:
        return f"<code>{html.escape(repr(self))}</code>"

    # -- flows --------------------------------------------------------------

    def resolved(self) -> Flow[Json]:
        """The model's resource, asked once."""
        if self._resource is None:
            self._resource = yield from self._looked_up()
        return self._resource

    def _looked_up(self) -> Flow[Json]:
        own = yield from at("models", self._asked)
        resource: Json
        try:
            resource = yield from ask("GET", own)
        except NotFoundError as missing:
            if self._asked.startswith("accounts/"):
                raise
            published = yield from at("models", f"accounts/fireworks/models/{self._asked}")
            try:
                resource = yield from ask("GET", published)
            except NotFoundError:
                raise missing from None
        return resource

    def _body(self, fixed: Json, options: Json) -> Flow[Json]:
        model = yield from self.resolved()
        return {"model": model["name"]} | fixed | self._defaults | {k: v for k, v in options.items() if v is not None}

    def chatted(self, messages: list[Json], options: Json) -> Flow[ChatCompletion]:
        body = yield from self._body({"messages": messages, "stream": False}, options)
        return ChatCompletion.model_validate((yield from ask("POST", CHAT, body=body)))

    def completed(self, prompt: Prompt, options: Json) -> Flow[Completion]:
        body = yield from self._body({"prompt": prompt}, options)
        return Completion.model_validate((yield from ask("POST", TEXT, body=body)))

    def stepped(self, dataset: DatasetReference | str, output_model: str, job_id: str | None, config: Json, loss: Json, top: Json, extra: Json) -> Flow[Json]:
        """Create a reinforcement step; the arguments are checked before anything is sent."""
        config, own = configured(config, extra)
        model = yield from self.resolved()
        if _is_lora(model):
            config["warmStartFrom"] = model["name"]
        else:
            config = _BASE_DEFAULTS | {"baseModel": model["name"]} | config
        config["outputModel"] = yield from full_name("models", output_model)
        evaluation = top.pop("evaluationDataset", None)
        body: Json = {"dataset": (yield from name_of(dataset, self.client)), "trainingConfig": config}
        if evaluation is not None:
            body["evaluationDataset"] = yield from name_of(evaluation, self.client)
        method = loss.get("method")
        if method is not None and method not in _WIRE_LOSSES:
            own["lossMethod"] = loss.pop("method")
        if own:
            body["firekeep"] = own
        if loss:
            body["lossConfig"] = loss
        params = {"rlorTrainerJobId": job_id} if job_id else None
        path = yield from at("rlorTrainerJobs")
        resource: Json = yield from ask("POST", path, body=body | top, params=params)
        return resource


class LLM(ModelHandle):
    """A base model or a checkpoint.

    `model` is a full name ("accounts/acme/models/m"), or an id: then one of your
    account if it exists there, else one that the operator published.
    `deployment_type`, `id` and `base_id` are accepted as the hosted SDK has them;
    a Firekeep server deploys on first use. `temperature` and `max_tokens` (tokens) are
    defaults of every request of this object. `firekeep.aio.LLM` is its twin for asyncio.
    """

    def __init__(self, model: str, deployment_type: str = "auto", **options: Any):
        super().__init__(model, deployment_type, **options)
        self.chat = _Chat(self)
        self.completions = _Completions(self)

    @property
    def model(self) -> str:
        """Full name of the model."""
        return cast(str, self.resource["name"])

    @property
    def resource(self) -> Json:
        """The model as the server describes it, asked once."""
        return self.client.run(self.resolved())

    @property
    def is_lora(self) -> bool:
        return _is_lora(self.resource)

    def apply(self, wait: bool = True) -> LLM:
        """Check that the model exists; a Firekeep server deploys it on first use."""
        _ = self.resource
        return self

    def model_id(self) -> str:
        """The model string of inference requests."""
        return self.model

    def reinforcement_step(
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
        """Start one reinforcement step on scored samples; returns at once.

        On a base model the defaults are rank 16, learning rate 1e-4, 8192 tokens of
        context, 1 epoch and batches of 32768 tokens. On a LoRA checkpoint only what you
        pass is sent; the rest is inherited, and what differs from the original training
        is refused, naming the field and both values.

        `extra` reaches Firekeep's own training fields in camelCase or snake_case, such as
        `batch_size_samples`, `gradient_accumulation_steps`, `seed` or `advantage_baseline`
        (docs/reinforcement.md lists them).

        Raises AlreadyExistsError when `output_model` exists, InvalidArgumentError naming a
        field and its rule, and what `Dataset.sync` raises.
        """
        resource = self.client.run(self.stepped(
            dataset, output_model, job_id,
            training(lora_rank, learning_rate, max_context_length, epochs, batch_size, accelerator_count, accelerator_type),
            losses(loss_method, kl_beta, dpo_beta, orpo_lambda),
            given(rewardWeights=reward_weights, displayName=display_name, evaluationDataset=evaluation_dataset), extra,
        ))  # fmt: skip
        return ReinforcementStep(self.client, resource)


def given(**fields: Any) -> Json:
    """The fields that have a value."""
    return {k: v for k, v in fields.items() if v is not None}


def training(
    lora_rank: int | None, learning_rate: float | None, max_context_length: int | None, epochs: int | None, batch_size: int | None,
    accelerator_count: int | None = None, accelerator_type: str | None = None,
) -> Json:
    """The part of a trainingConfig that has parameters of its own; 0 is refused, because on the wire it stands for what was not given."""
    config = given(loraRank=lora_rank, learningRate=learning_rate, maxContextLength=max_context_length, epochs=epochs, batchSize=batch_size)
    for key, value in config.items():
        if value == 0:
            raise ValueError(f"{key} must be greater than 0; leave it out for the default")
    return config | given(acceleratorCount=accelerator_count, acceleratorType=accelerator_type)


def losses(method: str | None, kl_beta: float | None, dpo_beta: float | None, orpo_lambda: float | None) -> Json:
    return given(
        method=method, klBeta=kl_beta, dpo=None if dpo_beta is None else {"beta": dpo_beta}, orpo=None if orpo_lambda is None else {"lambda": orpo_lambda}
    )


def configured(config: Json, extra: Json, call: str = "reinforcement_step") -> tuple[Json, Json]:
    """trainingConfig and Firekeep's own fields, with what the caller added to either."""
    config, own = dict(config), Json()
    for key, value in extra.items():
        camel = _camel(key)
        if camel not in _TRAINING_FIELDS | _OWN_FIELDS:  # the server ignores what it does not know
            raise TypeError(f"{call}() has no parameter {key!r}; docs/reinforcement.md lists them")
        (config if camel in _TRAINING_FIELDS else own)[camel] = value
    return config, own


def executed(job: Job, dataset: DatasetReference | str, output_model: str) -> Flow[None]:
    """Ask a keep-alive trainer for a step."""
    body = {"dataset": (yield from name_of(dataset, job._client)), "outputModel": (yield from full_name("models", output_model))}
    yield from ask("POST", f"/v1/{job.name}:executeTrainStep", body=body)


def _is_lora(resource: Json) -> bool:
    return resource.get("kind") == "HF_PEFT_ADDON"


# Fields of trainingConfig that have no parameter of their own.
_TRAINING_FIELDS = {
    "jinjaTemplate", "batchSizeSamples", "gradientAccumulationSteps", "learningRateWarmupSteps", "optimizerWeightDecay", "loraAlpha",
    "loraDropout", "loraTargetModules",
}


# Losses that the wire contract has a name for; the others go into `firekeep.lossMethod`.
_WIRE_LOSSES = {"GRPO", "DAPO", "GSPO_TOKEN", "DPO", "ORPO"}

# Fields of Firekeep's own, in the `firekeep` object.
_OWN_FIELDS = {
    "seed", "scaleRewards", "advantageBaseline", "advantageConstant", "klReference", "tisCap", "offPolicyThreshold", "clipLow", "clipHigh",
    "dualClip", "beta1", "beta2", "epsilon", "maxGradNorm", "onNoSignal", "resumeEvery", "allowParameterChange", "allowKernelChange", "precision", "memoryBytes", "annotations",
    "metricsUrl",
    "overlongMaxTokens", "overlongBufferTokens",
}


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(part[:1].upper() + part[1:] for part in rest)


class _Chat:
    def __init__(self, llm: LLM):
        self.completions = _ChatCompletions(llm)


class _ChatCompletions:
    def __init__(self, llm: LLM):
        self._llm = llm

    @overload
    def create(self, messages: list[Json], *, stream: Literal[False] = False, **options: Any) -> ChatCompletion: ...
    @overload
    def create(self, messages: list[Json], *, stream: Literal[True], **options: Any) -> Iterator[ChatCompletionChunk]: ...
    @overload
    def create(self, messages: list[Json], *, stream: bool, **options: Any) -> ChatCompletion | Iterator[ChatCompletionChunk]: ...
    def create(self, messages: list[Json], *, stream: bool = False, **options: Any) -> ChatCompletion | Iterator[ChatCompletionChunk]:
        """Chat. `options` are those of docs/inference.md: max_tokens, temperature, top_p, n, stop, seed, logprobs, ...

        With `stream` an iterator of chunks; leaving it ends the request on the server too.
        """
        llm = self._llm
        if not stream:
            return llm.client.run(llm.chatted(messages, options))
        body = llm.client.run(llm._body({"messages": messages, "stream": True}, options))
        return (ChatCompletionChunk.model_validate(e) for e in llm.client.stream(CHAT, body))

    async def acreate(self, messages: list[Json], *, stream: bool = False, **options: Any) -> Any:
        """`create` for asyncio, as the hosted SDK names it; `firekeep.aio.LLM` is all of it."""
        from . import aio

        return await aio.twin(self._llm).chat.completions.create(messages, stream=stream, **options)


class _Completions:
    def __init__(self, llm: LLM):
        self._llm = llm

    def create(self, prompt: Prompt, **options: Any) -> Completion:
        """Complete plain text or token ids."""
        return self._llm.client.run(self._llm.completed(prompt, options))

    async def acreate(self, prompt: Prompt, **options: Any) -> Completion:
        """`create` for asyncio."""
        return await self._llm.client.arun(self._llm.completed(prompt, options))
