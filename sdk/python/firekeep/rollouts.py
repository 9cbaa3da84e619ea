"""Rollouts: sample groups, score them with your own code, write rows to your own bucket.

    groups = rollouts.sample(llm, prompts, reward=my_reward, samples_per_prompt=8, max_tokens=64)
    url = rollouts.write(groups, "s3://my-bucket/rounds/round-1.jsonl")
    job = llm.reinforcement_step(Dataset.from_url(url), output_model="my-model-v1")

The reward function runs in this process and is never sent anywhere. Rows go to the
bucket with your own credentials (boto3's or Google's usual ones), not Firekeep's.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import math
import sys
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from .errors import AlreadyExistsError, APIError, FirekeepError

if TYPE_CHECKING:
    from .llm import LLM

Messages = list[dict[str, Any]]
Score = float | dict[str, float]
Reward = Callable[["Sample", Any], Score | Awaitable[Score]]


@dataclass
class Sample:
    """One completion of a prompt, as it was sampled."""

    prompt: Messages
    text: str
    finish_reason: str
    token_ids: list[int]  # prompt and completion
    logprobs: list[float]  # one per completion token, of the raw distribution
    evals: dict[str, float] = field(default_factory=dict)

    @property
    def messages(self) -> Messages:
        return [*self.prompt, {"role": "assistant", "content": self.text}]

    def row(self) -> dict[str, Any]:
        return {
            "messages": self.messages, "evals": self.evals, "finish_reason": self.finish_reason,
            "token_ids": self.token_ids, "logprobs": self.logprobs,
        }


@dataclass
class Group:
    """All samples of one prompt: one row of a dataset."""

    samples: list[Sample]
    example: Any = None

    @property
    def scores(self) -> list[float]:
        return [s.evals.get("score", math.nan) for s in self.samples]

    def row(self) -> dict[str, Any]:
        return {"samples": [s.row() for s in self.samples]}


def sample(
    llm: LLM,
    prompts: Iterable[Messages | dict[str, Any]],
    reward: Reward,
    *,
    samples_per_prompt: int = 8,
    max_tokens: int = 256,
    temperature: float = 1.0,
    concurrency: int = 16,
    retries: int = 3,
    seed: int | None = None,
    progress: bool | Callable[[int, int], None] = True,
    **options: Any,
) -> list[Group]:
    """Sample and score `samples_per_prompt` completions of each prompt.

    `prompts` holds message lists, or dicts with a "messages" key; the whole dict is
    handed to the reward as its second argument (ground truth and the like).
    `reward(sample, example)` returns a finite number, or a dict of them with the key
    "score"; it may be async. One that raises ends the call with its own exception.
    `seed` makes the completions reproducible. Groups come back in the order of prompts.

    Inside a running event loop (a notebook) use `await asample(...)`.
    """
    return asyncio.run(
        asample(
            llm, prompts, reward, samples_per_prompt=samples_per_prompt, max_tokens=max_tokens, temperature=temperature,
            concurrency=concurrency, retries=retries, seed=seed, progress=progress, **options,
        )
    )


async def asample(
    llm: LLM,
    prompts: Iterable[Messages | dict[str, Any]],
    reward: Reward,
    *,
    samples_per_prompt: int = 8,
    max_tokens: int = 256,
    temperature: float = 1.0,
    concurrency: int = 16,
    retries: int = 3,
    seed: int | None = None,
    progress: bool | Callable[[int, int], None] = True,
    **options: Any,
) -> list[Group]:
    """`sample` for asyncio."""
    if samples_per_prompt < 1:
        raise ValueError("samples_per_prompt: must be at least 1")
    examples = list(prompts)
    model = llm.model  # resolved once, before the crowd
    gate = asyncio.Semaphore(concurrency)
    show = _bar if progress is True else progress or (lambda done, total: None)
    done = 0
    pool = ThreadPoolExecutor(max_workers=min(8, concurrency), thread_name_prefix="reward")

    async def one(index: int, example: Any) -> Group:
        nonlocal done
        messages = example["messages"] if isinstance(example, dict) else example
        body = {
            "model": model, "messages": messages, "n": samples_per_prompt, "max_tokens": max_tokens, "temperature": temperature,
            "logprobs": True, "return_token_ids": True, **options,
        }
        if seed is not None:
            body["seed"] = seed * 1_000_003 + index
        async with gate:
            answer = await _patiently(llm, body, retries)
        group = Group([_sample(messages, answer, choice) for choice in answer["choices"]], example)
        for s in group.samples:
            s.evals = await _score(reward, s, example, pool)
        done += 1
        show(done, len(examples))
        return group

    tasks = [asyncio.ensure_future(one(i, e)) for i, e in enumerate(examples)]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        pool.shutdown(wait=False, cancel_futures=True)
        await llm.client.aclose()


def write(groups: Sequence[Group], url: str) -> str:
    """Write one row per group to s3://bucket/key, gs://bucket/key or file:///path, create-only; returns the url."""
    data = "".join(json.dumps(g.row(), ensure_ascii=False, allow_nan=False) + "\n" for g in groups).encode()
    put(url, data)
    return url


def put(url: str, data: bytes) -> None:
    """Write an object with the user's own credentials; an object that exists is not overwritten."""
    parts = urlsplit(url)
    key = parts.path.lstrip("/")
    if parts.scheme == "file":
        path = Path(parts.path)
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(path, "xb") as f:
                f.write(data)
        except FileExistsError:
            raise AlreadyExistsError(f"{url} exists already: write each round under a new name") from None
    elif parts.scheme == "s3":
        _put_s3(url, parts.netloc, key, data)
    elif parts.scheme == "gs":
        _put_gs(url, parts.netloc, key, data)
    else:
        raise ValueError(f"url: {url!r} is not a bucket URL: use s3://bucket/key, gs://bucket/key or file:///path")


def _put_s3(url: str, bucket: str, key: str, data: bytes) -> None:
    try:
        import boto3
        from botocore.exceptions import ClientError
    except ImportError:
        raise FirekeepError("writing to s3:// needs boto3: pip install 'firekeep[s3]'") from None
    try:
        boto3.client("s3").put_object(Bucket=bucket, Key=key, Body=data, IfNoneMatch="*")
    except ClientError as e:
        if e.response["Error"]["Code"] in ("PreconditionFailed", "ConditionalRequestConflict"):
            raise AlreadyExistsError(f"{url} exists already: write each round under a new name") from None
        raise


def _put_gs(url: str, bucket: str, key: str, data: bytes) -> None:
    try:
        from google.api_core.exceptions import PreconditionFailed
        from google.cloud import storage
    except ImportError:
        raise FirekeepError("writing to gs:// needs google-cloud-storage: pip install 'firekeep[gs]'") from None
    try:
        storage.Client().bucket(bucket).blob(key).upload_from_string(data, if_generation_match=0)
    except PreconditionFailed:
        raise AlreadyExistsError(f"{url} exists already: write each round under a new name") from None


async def _patiently(llm: LLM, body: dict, retries: int) -> dict:
    """Ask for one group; sampling with a seed gives the same answer again, so a retry is safe."""
    for attempt in range(retries + 1):
        try:
            return await llm.client.arequest("POST", "/inference/v1/chat/completions", body=body)
        except APIError as e:
            if attempt == retries or e.status in (400, 401, 403, 404, 422):
                raise
            await asyncio.sleep(min(8.0, 0.5 * 2**attempt))
    raise AssertionError("unreachable")


def _sample(messages: Messages, answer: dict, choice: dict) -> Sample:
    completion = choice.get("token_ids") or []
    logprobs = [t["logprob"] for t in (choice.get("logprobs") or {}).get("content") or []]
    if len(completion) != len(logprobs):
        raise FirekeepError(f"the server sent {len(completion)} token ids but {len(logprobs)} log-probs")
    return Sample(
        prompt=messages, text=choice["message"].get("content") or "", finish_reason=choice.get("finish_reason") or "stop",
        token_ids=[*(answer.get("prompt_token_ids") or []), *completion], logprobs=logprobs,
    )


async def _score(reward: Reward, s: Sample, example: Any, pool: ThreadPoolExecutor) -> dict[str, float]:
    if inspect.iscoroutinefunction(reward):
        value = await reward(s, example)
    else:
        value = await asyncio.get_running_loop().run_in_executor(pool, reward, s, example)
        if inspect.isawaitable(value):
            value = await value
    evals = dict(value) if isinstance(value, dict) else {"score": value}
    for key, number in evals.items():
        if isinstance(number, bool) or not isinstance(number, (int, float)) or not math.isfinite(number):
            raise ValueError(f"reward: {key} must be a finite number, not {number!r}")
    return {k: float(v) for k, v in evals.items()}


_started = [0.0]


def _bar(done: int, total: int) -> None:
    """One line on stderr; quiet when stderr is not a terminal, but for the last line."""
    if done == 1 or not _started[0]:
        _started[0] = time.monotonic()
    if not sys.stderr.isatty() and done != total:
        return
    width = 24
    filled = width * done // total
    end = "\n" if done == total else ""
    print(f"\rrollouts [{'#' * filled}{'.' * (width - filled)}] {done}/{total}", end=end, file=sys.stderr, flush=True)
