"""Multi-turn rollouts: a conversation in which the model's turns are what is trained.

Two ways to say what happens between its turns, both running in this process:

    async def guess(chat, example):            # a function of the conversation
        chat.user("I think of a number below 10.")
        for _ in range(3):
            text = await chat.answer()
            if example["number"] in text:
                return 1.0
            chat.user("No. Again?")
        return 0.0

    class Guess:                               # an Environment: reset, then steps
        def reset(self, example): ...
        def step(self, text): ...

A conversation keeps the tokens that were sampled. When the next prompt, as the server
rendered it, begins with them, the sample carries `token_ids` and `logprobs` of all
turns, null where the environment speaks; otherwise text and message weights alone,
and the trainer tokenises it again (then nothing corrects for off-policy data).
"""

from __future__ import annotations

import copy
import hashlib
import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

from ._flow import Json
from .errors import FirekeepError

Messages = list[Json]
Score = float | dict[str, float]
Ask = Callable[[Json], Awaitable[Json]]


@dataclass
class Step:
    """What an environment answers to one turn of the model.

    `messages` are added to the conversation (a str is one user message). `reward`
    counts into the sample's score, which is the sum over all steps; further numbers
    for `evals` stand in `evals`, the last step's winning.
    """

    messages: str | Messages = field(default_factory=list)
    reward: float = 0.0
    done: bool = False
    evals: dict[str, float] = field(default_factory=dict)


class Environment(Protocol):
    """One episode. A new one is made for each sample; its methods may be async."""

    def reset(self, example: Any) -> str | Messages | Awaitable[str | Messages]:
        """The messages that the conversation begins with."""
        ...

    def step(self, text: str) -> Step | Awaitable[Step]:
        """What follows the model's turn."""
        ...


class Conversation:
    """One sample in the making. `messages` is what was said so far."""

    def __init__(self, ask: Ask, body: Json, seed: int | None):
        self._ask, self._body, self._seed = ask, body, seed
        self.messages: Messages = []
        self.turns = 0  # of the model
        self.finish_reason = "stop"  # of its last turn: "stop" or "length"
        self._trained: set[int] = set()
        self._ids: list[int] = []
        self._logprobs: list[float | None] = []
        self._exact = True

    def add(self, *messages: Json) -> None:
        """Messages of the wire's shape: {"role": "user", "content": "..."}."""
        self.messages += copy.deepcopy(list(messages))

    def user(self, text: str) -> None:
        self.add({"role": "user", "content": text})

    def system(self, text: str) -> None:
        self.add({"role": "system", "content": text})

    async def answer(self, **options: Any) -> str:
        """The model's next turn, sampled; it is added, and trained on. `options` win over those of the run."""
        if not self.messages:
            raise FirekeepError("answer: the conversation has no messages yet; add one first")
        body = self._body | {"messages": self.messages} | options
        if self._seed is not None:
            body["seed"] = _seed_of(self._seed, self.turns)
        answer = await self._ask(body)
        (choice,) = answer["choices"]
        self._take(answer, choice)
        text = choice["message"].get("content") or ""
        self._trained.add(len(self.messages))
        self.messages.append({"role": "assistant", "content": text})
        self.finish_reason = choice.get("finish_reason") or "stop"
        self.turns += 1
        return text

    def _take(self, answer: Json, choice: Json) -> None:
        prompt, ids, logprobs = tokens_of(answer, choice)
        if self.turns == 0:
            self._ids, self._logprobs = [*prompt, *ids], [*logprobs]
            return
        gap = len(prompt) - len(self._ids)
        self._exact = self._exact and gap >= 0 and prompt[: len(self._ids)] == self._ids
        if self._exact:
            self._ids = [*prompt, *ids]
            self._logprobs += [None] * gap + logprobs

    def trace(self) -> Trace:
        """What the sample of this conversation is made of."""
        if self.turns == 0:
            raise FirekeepError("the rollout ended before the model said anything: call `await chat.answer()` at least once")
        # What the environment said behind the last turn is no part of the sample.
        last = max(self._trained)
        weights = {i: int(i in self._trained) for i, m in enumerate(self.messages[: last + 1]) if m.get("role") == "assistant"}
        exact = self._exact
        return Trace(self.messages[: last + 1], weights, self.finish_reason, self._ids if exact else [], self._logprobs if exact else [])


@dataclass
class Trace:
    messages: Messages
    weights: dict[int, int]  # of assistant messages, by index: 1 is trained
    finish_reason: str
    token_ids: list[int]  # empty: the tokens are not known
    logprobs: list[float | None]


def tokens_of(answer: Json, choice: Json) -> tuple[list[int], list[int], list[float | None]]:
    """Ids of the prompt, ids of the completion, and one log-prob for each of the latter."""
    ids = choice.get("token_ids") or []
    logprobs = [t["logprob"] for t in (choice.get("logprobs") or {}).get("content") or []]
    if len(ids) != len(logprobs):
        raise FirekeepError(f"the server sent {len(ids)} token ids but {len(logprobs)} log-probs")
    return answer.get("prompt_token_ids") or [], ids, logprobs


def as_rollout(game: Any, max_turns: int) -> Callable[[Conversation, Any], Awaitable[Score]]:
    """A rollout function from one, or from what makes environments."""
    if inspect.iscoroutinefunction(game) or inspect.iscoroutinefunction(getattr(game, "__call__", None)):
        return cast("Callable[[Conversation, Any], Awaitable[Score]]", game)
    if not callable(game):
        raise TypeError(f"game: {game!r} is neither `async def rollout(chat, example)` nor a class or function that makes an Environment")

    async def play(chat: Conversation, example: Any) -> Score:
        environment = game()
        chat.add(*_messages(await _settled(environment.reset(example))))
        score, evals = 0.0, dict[str, float]()
        for turn in range(max_turns):
            step: Step = await _settled(environment.step(await chat.answer()))
            score += step.reward
            evals |= step.evals
            if step.done:
                break
            if turn < max_turns - 1:
                chat.add(*_messages(step.messages))
        return evals | {"score": score}

    return play


async def _settled(value: Any) -> Any:
    return await value if inspect.isawaitable(value) else value


def _messages(said: str | Messages) -> Messages:
    return [{"role": "user", "content": said}] if isinstance(said, str) else said


def _seed_of(seed: int, turn: int) -> int:
    """A seed for each turn, so that turns and episodes do not repeat each other's luck."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{turn}".encode()).digest()[:6], "big")
