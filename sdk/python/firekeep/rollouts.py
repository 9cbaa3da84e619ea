"""Rollouts: sample groups, score them with your own code, write rows to your own bucket.

    groups = rollouts.sample(llm, prompts, reward=my_reward, samples_per_prompt=8, max_tokens=64)
    url = rollouts.write(groups, "s3://my-bucket/rounds/round-1.jsonl")
    job = llm.reinforcement_step(Dataset.from_url(url), output_model="my-model-v1")

`play` is `sample` for conversations of several turns (`firekeep.environment`).
The reward function and the environment run in this process and are never sent
anywhere. Rows go to the bucket with your own credentials (boto3's or Google's usual
ones), not Firekeep's.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import math
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from ._bucket import put
from ._flow import Json
from ._journal import Journal, key_of
from ._progress import shown
from .environment import Conversation, Environment, Messages, Score, Step, as_rollout, tokens_of
from .llm import CHAT

if TYPE_CHECKING:
    from .llm import ModelHandle

__all__ = [
    "Sample", "Group", "Conversation", "Environment", "Step", "Messages", "Score", "Reward", "Rollout", "sample", "asample", "play", "aplay", "mean_reward", "write", "put",
]
Reward = Callable[["Sample", Any], Score | Awaitable[Score]]
Rollout = Callable[[Conversation, Any], Awaitable[Score]]
Progress = bool | Callable[[int, int], None]
T = TypeVar("T")


@dataclass
class Sample:
    """One completion of a prompt, or one conversation, as it was sampled."""

    prompt: Messages  # all that was said before the last turn
    text: str  # the model's last turn
    finish_reason: str  # of the last turn: "stop" or "length"
    token_ids: list[int]  # prompt and completion; empty when the tokens are not known
    logprobs: list[float | None]  # one per completion token, of the raw distribution; None where the environment speaks
    evals: dict[str, float] = field(default_factory=dict)
    weights: dict[int, int] = field(default_factory=dict)  # of a conversation: 1 for assistant messages that are trained

    @property
    def messages(self) -> Messages:
        said: Messages = [*self.prompt, {"role": "assistant", "content": self.text}]
        return [m | {"weight": self.weights[i]} if i in self.weights else m for i, m in enumerate(said)]

    def row(self) -> Json:
        """The sample as docs/reinforcement.md describes it."""
        row: Json = {"messages": self.messages, "evals": self.evals, "finish_reason": self.finish_reason}
        return row | {"token_ids": self.token_ids, "logprobs": self.logprobs} if self.token_ids else row


@dataclass
class Group:
    """All samples of one prompt: one row of a dataset."""

    samples: list[Sample]
    example: Any = None

    @property
    def scores(self) -> list[float]:
        return [s.evals.get("score", math.nan) for s in self.samples]

    def row(self) -> Json:
        """The group as one line of a dataset."""
        return {"samples": [s.row() for s in self.samples]}

    def _repr_html_(self) -> str:
        import html

        lines = [f"<tr><td>{s.evals.get('score', math.nan):.3f}</td><td><pre>{html.escape(s.text)}</pre></td></tr>" for s in self.samples]
        return f"<pre>{html.escape(str(self.samples[0].prompt[-1].get('content')))}</pre><table>{''.join(lines)}</table>"


def mean_reward(groups: Iterable[Group]) -> float:
    """The mean score of all samples."""
    scores = [s for g in groups for s in g.scores]
    return sum(scores) / len(scores) if scores else math.nan


def sample(llm: ModelHandle, prompts: Iterable[Messages | Json], reward: Reward, **options: Any) -> list[Group]:
    """Sample and score `samples_per_prompt` completions of each prompt.

    `prompts` holds message lists, or dicts with a "messages" key; the whole dict is
    handed to the reward as its second argument (ground truth and the like).
    `reward(sample, example)` returns a finite number, or a dict of them with the key
    "score"; it may be async, and runs in a thread if it is not. One that raises ends
    the call with its own exception. Groups come back in the order of prompts.

    Options, with their defaults:

    - `samples_per_prompt=8`, `max_tokens=256`, `temperature=1.0`, and every other
      parameter of docs/inference.md by its name.
    - `concurrency=16`: requests under way at once.
    - `retries=5`: further tries of a request that was answered 408, 429 or 5xx, or not at
      all, with growing pauses, or those that the server asks for (Retry-After).
    - `seed=None`: an int makes the completions reproducible.
    - `journal=None`: the path of a file that keeps finished groups, scores included. A run
      that was killed and is started again with the same arguments asks only for what is
      missing. The file holds prompts and answers; give each run, and each new version
      of a reward, its own.
    - `progress=True`: a line on stderr; a function of (groups done, groups) instead; or False.

    In a notebook this blocks the cell; `await asample(...)` leaves its event loop free.
    """
    return _blocking(llm, asample(llm, prompts, reward, **options))


async def asample(
    llm: ModelHandle,
    prompts: Iterable[Messages | Json],
    reward: Reward,
    *,
    samples_per_prompt: int = 8,
    max_tokens: int = 256,
    temperature: float = 1.0,
    concurrency: int = 16,
    retries: int = 5,
    seed: int | None = None,
    journal: str | None = None,
    progress: Progress = True,
    **options: Any,
) -> list[Group]:
    """`sample` for asyncio. A cancelled task ends its requests; what is in the journal stays."""
    run = _Run(llm, samples_per_prompt, concurrency, retries, seed, max_tokens, temperature, options)

    async def one(index: int, example: Any) -> Group:
        messages = example["messages"] if isinstance(example, dict) else example
        body = run.body | {"messages": messages, "n": samples_per_prompt}
        if seed is not None:
            body["seed"] = seed * 1_000_003 + index
        answer = await run.ask(body)
        group = Group([_sample(messages, answer, choice) for choice in answer["choices"]], example)
        for s in group.samples:
            s.evals = await run.score(reward, s, example)
        return group

    return await run.all(one, list(prompts), concurrency, journal, progress)


def play(llm: ModelHandle, examples: Iterable[Any], game: Rollout | Callable[[], Environment], **options: Any) -> list[Group]:
    """Play `samples_per_prompt` conversations about each example; the model's turns are what is trained.

    `game` is `async def rollout(chat, example)`, which returns the score as a reward does,
    or what makes an Environment (a class, say): one is made for each conversation,
    and ends when a step is done or after `max_turns` turns of the model (default 8).
    `max_tokens` is per turn. The other options are those of `sample`.
    """
    return _blocking(llm, aplay(llm, examples, game, **options))


async def aplay(
    llm: ModelHandle,
    examples: Iterable[Any],
    game: Rollout | Callable[[], Environment],
    *,
    max_turns: int = 8,
    samples_per_prompt: int = 8,
    max_tokens: int = 256,
    temperature: float = 1.0,
    concurrency: int = 16,
    retries: int = 5,
    seed: int | None = None,
    journal: str | None = None,
    progress: Progress = True,
    **options: Any,
) -> list[Group]:
    """`play` for asyncio."""
    run = _Run(llm, samples_per_prompt, concurrency, retries, seed, max_tokens, temperature, options | {"n": 1})
    rollout = as_rollout(game, max_turns)

    async def episode(index: int, number: int, example: Any) -> Sample:
        own = None if seed is None else (seed * 1_000_003 + index) * 1_000 + number
        chat = Conversation(run.ask, run.body, own)
        evals = _numbers(await rollout(chat, example))
        t = chat.trace()
        return Sample(t.messages[:-1], t.messages[-1]["content"], t.finish_reason, t.token_ids, t.logprobs, evals, t.weights)

    async def one(index: int, example: Any) -> Group:
        return Group(await _together([episode(index, n, example) for n in range(samples_per_prompt)]), example)

    window = max(1, -(-concurrency // samples_per_prompt)) + 1
    return await run.all(one, list(examples), window, journal, progress, max_turns=max_turns)


def write(groups: Sequence[Group], url: str) -> str:
    """Write one row per group to s3://bucket/key, gs://bucket/key or file:///path, create-only; returns the url."""
    data = "".join(json.dumps(g.row(), ensure_ascii=False, allow_nan=False) + "\n" for g in groups).encode()
    put(url, data)
    return url


class _Run:
    """What the groups of one call share."""

    def __init__(
        self, llm: ModelHandle, samples: int, concurrency: int, retries: int, seed: int | None, max_tokens: int, temperature: float, options: Json
    ):
        if samples < 1:
            raise ValueError("samples_per_prompt: must be at least 1")
        if concurrency < 1:
            raise ValueError("concurrency: must be at least 1")
        self.llm, self.retries, self.samples, self.seed = llm, retries, samples, seed
        self.body: Json = {"max_tokens": max_tokens, "temperature": temperature} | options | {"logprobs": True, "return_token_ids": True}
        self._gate = asyncio.Semaphore(concurrency)
        self._pool = ThreadPoolExecutor(max_workers=min(8, concurrency), thread_name_prefix="reward")

    async def ask(self, body: Json) -> Json:
        """One request, when it is its turn. Sampling with a seed gives the same answer again, so trying again is safe."""
        async with self._gate:
            answer: Json = await self.llm.client.arequest("POST", CHAT, body=body, retries=self.retries)
            return answer

    async def score(self, reward: Reward, s: Sample, example: Any) -> dict[str, float]:
        value: Any
        if inspect.iscoroutinefunction(reward):
            value = await reward(s, example)
        else:
            value = await asyncio.get_running_loop().run_in_executor(self._pool, reward, s, example)
            if inspect.isawaitable(value):
                value = await value
        return _numbers(value)

    async def all(
        self, one: Callable[[int, Any], Awaitable[Group]], examples: list[Any], window: int, path: str | None, progress: Progress, **said: Any
    ) -> list[Group]:
        """Every group, at most `window` of them under way, in the order of examples."""
        # Resolved once, before the crowd.
        self.body["model"] = (await self.llm.client.arun(self.llm.resolved()))["name"]
        found: list[Group | None] = [None] * len(examples)
        async with AsyncExitStack() as stack:
            stack.callback(self._pool.shutdown, wait=False, cancel_futures=True)
            kept = None if path is None else stack.enter_context(Journal(path, self._identity() | said))
            keys = [] if kept is None else [key_of(i, e) for i, e in enumerate(examples)]
            if kept is not None:
                for i, key in enumerate(keys):
                    if key in kept.groups:
                        found[i] = _from_journal(kept.groups[key], examples[i])
            done = sum(g is not None for g in found)
            show, room = shown(progress, done), asyncio.Semaphore(window)
            if done and done == len(examples):
                show(done, done, mean_reward(g for g in found if g))

            async def finish(index: int) -> None:
                nonlocal done
                async with room:
                    group = await one(index, examples[index])
                if kept is not None:
                    kept.add(keys[index], _for_journal(group))
                found[index] = group
                done += 1
                show(done, len(examples), mean_reward(g for g in found if g))

            await _together([finish(i) for i, g in enumerate(found) if g is None])
        return [g for g in found if g is not None]

    def _identity(self) -> Json:
        """What must be the same when a journal is used again."""
        return {"model": self.body["model"], "samples_per_prompt": self.samples, "seed": self.seed} | {
            k: v for k, v in self.body.items() if k not in ("model", "logprobs", "return_token_ids", "n")
        }


async def _together(work: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """All results; when one fails or the caller is cancelled, the rest is cancelled and has ended before this raises."""
    tasks = [asyncio.ensure_future(w) for w in work]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _blocking(llm: ModelHandle, work: Coroutine[Any, Any, T]) -> T:
    """Run to the end in an event loop of its own; where one is running already (a notebook), in a thread of its own."""

    async def all() -> T:
        try:
            return await work
        finally:
            await llm.client.aclose()

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(all())
    with ThreadPoolExecutor(1, thread_name_prefix="rollouts") as thread:
        return thread.submit(asyncio.run, all()).result()


def _sample(messages: Messages, answer: Json, choice: Json) -> Sample:
    prompt, completion, logprobs = tokens_of(answer, choice)
    return Sample(messages, choice["message"].get("content") or "", choice.get("finish_reason") or "stop", [*prompt, *completion], logprobs)


def _numbers(value: Any) -> dict[str, float]:
    evals = dict(value) if isinstance(value, dict) else {"score": value}
    for key, number in evals.items():
        if isinstance(number, bool) or not isinstance(number, (int, float)) or not math.isfinite(number):
            raise ValueError(f"reward: {key} must be a finite number, not {number!r}")
    return {k: float(v) for k, v in evals.items()}


def _for_journal(group: Group) -> Json:
    return {"samples": [vars(s) for s in group.samples]}


def _from_journal(kept: Json, example: Any) -> Group:
    return Group([Sample(**(s | {"weights": {int(k): v for k, v in s["weights"].items()}})) for s in kept["samples"]], example)
