"""LLM: one model of a Firekeep server, to talk to and to train."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

from ._client import Client
from .dataset import Dataset
from .errors import NotFoundError
from .step import ReinforcementStep
from .types import ChatCompletion, ChatCompletionChunk, Completion

# What reinforcement_step sends for a base model when the caller does not say.
_BASE_DEFAULTS = {"loraRank": 16, "learningRate": 1e-4, "maxContextLength": 8192, "epochs": 1, "batchSize": 32768}


class LLM:
    """A base model or a checkpoint.

    `model` is a full name ("accounts/acme/models/m"), or an id: then one of your
    account if it exists there, else one that the operator published.
    `deployment_type`, `id` and `base_id` are accepted as the hosted SDK has them;
    a Firekeep server deploys on first use.
    """

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
        self._resource: dict | None = None
        self._defaults = {k: v for k, v in {"temperature": temperature, "max_tokens": max_tokens}.items() if v is not None}
        self.chat = _Chat(self)
        self.completions = _Completions(self)

    def __repr__(self) -> str:
        return f"LLM({self._asked!r})"

    @property
    def model(self) -> str:
        """Full name of the model."""
        return self.resource["name"]

    @property
    def resource(self) -> dict:
        """The model as the server describes it, asked once."""
        if self._resource is None:
            self._resource = self._resolve()
        return self._resource

    @property
    def is_lora(self) -> bool:
        return self.resource.get("kind") == "HF_PEFT_ADDON"

    def apply(self, wait: bool = True) -> LLM:
        """Check that the model exists; a Firekeep server deploys it on first use."""
        _ = self.resource
        return self

    def model_id(self) -> str:
        """The model string of inference requests."""
        return self.model

    def reinforcement_step(
        self,
        dataset: Dataset,
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
        """
        config: dict[str, Any] = {"outputModel": self._full(output_model), "acceleratorCount": accelerator_count, "acceleratorType": accelerator_type}
        if self.is_lora:
            config["warmStartFrom"] = self.model
        else:
            config["baseModel"] = self.model
            config |= _BASE_DEFAULTS
        given = {"loraRank": lora_rank, "learningRate": learning_rate, "maxContextLength": max_context_length, "epochs": epochs, "batchSize": batch_size}
        for key, value in given.items():
            if value == 0:  # on the wire 0 stands for what was not given
                raise ValueError(f"{key} must be greater than 0; leave it out for the default")
            if value is not None:
                config[key] = value
        own = {}
        for key, value in extra.items():
            camel = _camel(key)
            if camel not in _TRAINING_FIELDS | _OWN_FIELDS:  # the server ignores what it does not know
                raise TypeError(f"reinforcement_step() has no parameter {key!r}; docs/reinforcement.md lists them")
            (config if camel in _TRAINING_FIELDS else own)[camel] = value
        dataset.sync(self.client)
        body: dict[str, Any] = {"dataset": dataset.name(self.client), "trainingConfig": config}
        wire_method = loss_method if loss_method in _WIRE_LOSSES else None
        if loss_method is not None and wire_method is None:
            own["lossMethod"] = loss_method
        if own:
            body["firekeep"] = own
        loss = {k: v for k, v in {"method": wire_method, "klBeta": kl_beta}.items() if v is not None}
        if dpo_beta is not None:
            loss["dpo"] = {"beta": dpo_beta}
        if orpo_lambda is not None:
            loss["orpo"] = {"lambda": orpo_lambda}
        if loss:
            body["lossConfig"] = loss
        if reward_weights is not None:
            body["rewardWeights"] = reward_weights
        if display_name is not None:
            body["displayName"] = display_name
        params = {"rlorTrainerJobId": job_id} if job_id else None
        return ReinforcementStep(self.client, self.client.request("POST", self.client.path("rlorTrainerJobs"), body=body, params=params))

    def _full(self, model: str) -> str:
        return model if model.startswith("accounts/") else f"accounts/{self.client.account}/models/{model}"

    def _resolve(self) -> dict:
        if self._asked.startswith("accounts/"):
            return self.client.request("GET", self.client.path("models", self._asked))
        try:
            return self.client.request("GET", self.client.path("models", self._asked))
        except NotFoundError as own:
            try:
                return self.client.request("GET", self.client.path("models", f"accounts/fireworks/models/{self._asked}"))
            except NotFoundError:
                raise own from None


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
    "dualClip", "beta1", "beta2", "epsilon", "maxGradNorm", "onNoSignal", "resumeEvery", "allowParameterChange", "allowKernelChange", "precision", "annotations",
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

    def _body(self, messages: list[dict], stream: bool, options: dict) -> dict:
        llm = self._llm
        return {"model": llm.model, "messages": messages, "stream": stream} | llm._defaults | {k: v for k, v in options.items() if v is not None}

    def create(self, messages: list[dict], *, stream: bool = False, **options: Any) -> ChatCompletion | Iterator[ChatCompletionChunk]:
        """Chat. `options` are those of the wire contract: max_tokens, temperature, top_p, n, stop, seed, logprobs, ..."""
        body = self._body(messages, stream, options)
        if stream:
            return (ChatCompletionChunk.model_validate(e) for e in self._llm.client.stream("/inference/v1/chat/completions", body))
        return ChatCompletion.model_validate(self._llm.client.request("POST", "/inference/v1/chat/completions", body=body))

    async def acreate(self, messages: list[dict], *, stream: bool = False, **options: Any) -> ChatCompletion | AsyncIterator[ChatCompletionChunk]:
        """`create` for asyncio."""
        body = self._body(messages, stream, options)
        if stream:
            return (ChatCompletionChunk.model_validate(e) async for e in self._llm.client.astream("/inference/v1/chat/completions", body))
        return ChatCompletion.model_validate(await self._llm.client.arequest("POST", "/inference/v1/chat/completions", body=body))


class _Completions:
    def __init__(self, llm: LLM):
        self._llm = llm

    def create(self, prompt: str | list[int] | list[str] | list[list[int]], **options: Any) -> Completion:
        """Complete plain text or token ids."""
        body = {"model": self._llm.model, "prompt": prompt} | self._llm._defaults | {k: v for k, v in options.items() if v is not None}
        return Completion.model_validate(self._llm.client.request("POST", "/inference/v1/completions", body=body))
