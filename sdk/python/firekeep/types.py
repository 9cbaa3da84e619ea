"""What inference answers. Unknown fields are kept, so newer servers stay readable."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict


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
