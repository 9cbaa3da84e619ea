"""What the server answers. Unknown fields are kept, so newer servers stay readable."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Required, TypedDict

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel


class _Answer(BaseModel):
    model_config = ConfigDict(extra="allow", protected_namespaces=())


class TopLogprob(_Answer):
    token: str
    logprob: float
    token_id: int | None = None


class TokenLogprob(_Answer):
    token: str
    logprob: float | None
    sampling_logprob: float | None = None
    token_id: int | None = None
    top_logprobs: list[TopLogprob] | None = None


class Logprobs(_Answer):
    content: list[TokenLogprob] | None = None


class Message(_Answer):
    role: str = "assistant"
    content: str | None = None


class Usage(_Answer):
    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0


class Choice(_Answer):
    index: int
    message: Message
    finish_reason: str | None = None
    logprobs: Logprobs | None = None
    token_ids: list[int] | None = None


class ChatCompletion(_Answer):
    id: str
    created: int
    model: str
    choices: list[Choice]
    usage: Usage | None = None
    system_fingerprint: str | None = None  # digest of the checkpoint that answered
    prompt_token_ids: list[int] | None = None


class Delta(_Answer):
    role: str | None = None
    content: str | None = None


class ChunkChoice(_Answer):
    index: int
    delta: Delta
    finish_reason: str | None = None


class ChatCompletionChunk(_Answer):
    id: str
    created: int
    model: str
    choices: list[ChunkChoice]
    usage: Usage | None = None
    system_fingerprint: str | None = None  # digest of the checkpoint that answered


class TextChoice(_Answer):
    index: int
    text: str
    finish_reason: str | None = None
    logprobs: Any = None
    token_ids: list[int] | None = None
    prompt_token_ids: list[int] | None = None


class Completion(_Answer):
    id: str
    created: int
    model: str
    choices: list[TextChoice]
    usage: Usage | None = None
    system_fingerprint: str | None = None  # digest of the checkpoint that answered


# -- resources of the control plane ---------------------------------------


class _Resource(BaseModel):
    """The wire's camelCase as snake_case attributes; what is not named here is kept under its wire name."""

    model_config = ConfigDict(extra="allow", alias_generator=to_camel, populate_by_name=True, protected_namespaces=())

    @property
    def id(self) -> str:
        return str(getattr(self, "name", "")).rsplit("/", 1)[-1]


class Status(_Resource):
    """How a resource fares: code "OK", or the kind of what went wrong and a sentence."""

    code: str = "OK"
    message: str = ""


class PeftDetails(_Resource):
    base_model: str = ""
    r: int = 0
    target_modules: list[str] = []


class Model(_Resource):
    """A base model (kind HF_BASE_MODEL) or a LoRA checkpoint (HF_PEFT_ADDON)."""

    name: str
    display_name: str = ""
    description: str = ""
    create_time: datetime | None = None
    state: str = ""  # UPLOADING, READY
    status: Status = Status()
    kind: str = ""
    peft_details: PeftDetails | None = None
    context_length: int = 0  # tokens
    public: bool = False
    imported_from: str = ""
    fine_tuning_job: str = ""
    firekeep: dict[str, Any] = {}  # digest, bytes, updates, kernelLevel, precision, signed

    @property
    def is_lora(self) -> bool:
        return self.kind == "HF_PEFT_ADDON"

    @property
    def signed(self) -> bool:
        """Whether a signature of the installation lies beside the model."""
        return bool(self.firekeep.get("signed"))


class Attestation(_Resource):
    """The signed statements about a model; docs/provenance.md says how to verify them without the server."""

    model: str
    key: str  # hex SHA-256 of the public key's PEM
    signature: dict[str, Any] = {}  # Sigstore bundle of OpenSSF Model Signing
    provenance: dict[str, Any] = {}  # DSSE envelope of SLSA provenance
    bom: dict[str, Any] = {}  # CycloneDX


class DatasetInfo(_Resource):
    """A dataset as the server knows it: counts and pinned objects, never rows."""

    name: str
    display_name: str = ""
    create_time: datetime | None = None
    state: str = ""  # UPLOADING, READY
    status: Status = Status()
    example_count: int = 0  # rows
    external_url: str = ""
    format: str = ""
    firekeep: dict[str, Any] = {}  # digest, bytes, groups, samples, samplesPerGroup, evalKeys, warnings, objects


class ReplicaStats(_Resource):
    ready_replica_count: int = 0
    initializing_replica_count: int = 0


class Deployment(_Resource):
    """A base model that is served."""

    name: str
    display_name: str = ""
    create_time: datetime | None = None
    state: str = ""  # CREATING, READY, DELETING, DELETED, FAILED
    status: Status = Status()
    base_model: str = ""
    desired_replica_count: int = 0
    replica_stats: ReplicaStats = ReplicaStats()
    enable_addons: bool = False


class Secret(_Resource):
    """A named value of the account. The value goes in and never comes out."""

    name: str
    key_name: str = ""


class Connection(_Resource):
    """How the server reaches a prefix of a bucket. Credentials go in and never come out."""

    name: str
    url: str = ""


class Operation(_Resource):
    """Work that goes on after its request was answered, such as an export."""

    name: str
    done: bool = False
    error: Status | None = None
    metadata: dict[str, Any] = {}
    response: dict[str, Any] | None = None  # of a finished export: url, files, bytes


class Checkpoint(_Resource):
    """A state of a job's weights: a resume point, or a LoRA that was made."""

    name: str
    create_time: datetime | None = None
    checkpoint_type: str = ""
    promotable: bool = False
    model: str = ""


class StepEvent(_Resource):
    """One line of a job's history."""

    seq: int
    time: datetime | None = None
    type: str = ""
    state: str = ""
    update: int = 0
    message: str = ""


class StepMetrics(TypedDict, total=False):
    """One optimiser batch, as on the wire; docs/metrics.md explains each number. Times are in seconds."""

    update: Required[int]
    epoch: int
    time: str
    samples: int
    groups: int
    deadGroups: int
    emptySamples: int
    truncatedSamples: int
    tokens: int
    scoredTokens: int
    computedTokens: int
    rewardMean: float
    rewardStd: float
    rewardMin: float
    rewardMax: float
    loss: float
    kl: float
    clipFraction: float
    entropy: float
    gradNorm: float
    learningRate: float
    ratioMean: float
    effectiveSampleSize: float
    offPolicyMasked: int
    pairs: int
    pairAccuracy: float
    pairMargin: float
    updated: bool
    seconds: float
    tokensPerSecond: float
    kernelLevel: str
    precision: str
