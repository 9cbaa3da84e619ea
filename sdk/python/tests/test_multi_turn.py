"""Conversations of several turns: what the model said is trained, on the tokens that were sampled."""

import asyncio
import uuid

import pytest

from firekeep import LLM, Dataset, FirekeepError, rollouts
from firekeep.environment import Conversation, Step

OPTIONS = {"samples_per_prompt": 3, "max_tokens": 12, "seed": 4, "progress": False}


class Guess:
    """A number is to be found; each turn tells more."""

    made = 0

    def __init__(self):
        Guess.made += 1

    def reset(self, example):
        self.number, self.turns = example["number"], 0
        return f"I think of a number below 5. It is {self.number}. Which one is it?"

    async def step(self, text):
        await asyncio.sleep(0)
        self.turns += 1
        right = str(self.number) in text
        return Step("Say it once more.", reward=0.5 * right + 0.01 * len(text), done=self.turns == 2, evals={"right": float(right)})


async def ask_twice(chat, example):
    chat.system("Be short.")
    chat.user(f"Name a {example}.")
    first = await chat.answer()
    chat.user("And another?")
    second = await chat.answer(max_tokens=6)
    chat.user("This is behind the last turn, and no part of the sample.")
    return {"score": len(first) / 10 + len(second) / 100, "different": float(first != second)}


def scored_positions(sample):
    return sum(lp is not None for lp in sample.logprobs)


@pytest.mark.parametrize("game, examples", [(Guess, [{"number": 3}, {"number": 4}]), (ask_twice, ["fruit", "town"])])
def test_turns_are_trained_as_they_were_sampled(real, client, game, examples):
    llm = LLM(real)
    groups = rollouts.play(llm, examples, game, **OPTIONS)
    for group, example in zip(groups, examples):
        assert group.example == example and len(group.samples) == 3
        for s in group.samples:
            roles = [m["role"] for m in s.messages]
            assert roles[-4:] == ["user", "assistant", "user", "assistant"]
            assert [m["weight"] for m in s.messages if m["role"] == "assistant"] == [1, 1]
            assert s.token_ids, "the template repeats what was sampled"
            gaps = [i for i, lp in enumerate(s.logprobs) if lp is None]
            assert gaps and gaps == list(range(gaps[0], gaps[-1] + 1))  # one stretch between two turns
    dataset = Dataset.from_list([g.row() for g in groups], id=f"d-{uuid.uuid4().hex[:8]}")
    job = llm.reinforcement_step(dataset, f"m-{uuid.uuid4().hex[:8]}", lora_rank=4).wait()
    (m,) = job.metrics()
    assert m["scoredTokens"] == sum(scored_positions(s) for g in groups for s in g.samples)
    # Sampler and trainer agree on every turn's log-probs, so the importance weights are all 1.
    assert m["effectiveSampleSize"] == pytest.approx(m["scoredTokens"], rel=1e-3)
    same = rollouts.play(llm, examples, game, **OPTIONS)
    assert [g.row() for g in same] == [g.row() for g in groups]


def test_environments_end_and_are_made_anew(real, client):
    Guess.made = 0
    (group,) = rollouts.play(LLM(real), [{"number": 2}], Guess, max_turns=1, **OPTIONS)
    assert Guess.made == 3
    for s in group.samples:
        assert [m["role"] for m in s.messages] == ["user", "assistant"]
        assert s.evals["score"] == pytest.approx(0.5 * s.evals["right"] + 0.01 * len(s.text))


def test_text_stands_in_where_tokens_are_not_known(real, client):
    """A turn that the environment rewrites is not what was sampled."""

    async def rewrite(chat, example):
        chat.user("Name a fruit.")
        await chat.answer()
        chat.messages[-1]["content"] = "Apple."
        chat.user("And another?")
        return len(await chat.answer())

    (group,) = rollouts.play(LLM(real), [0], rewrite, **OPTIONS)
    for row in group.row()["samples"]:
        assert "token_ids" not in row and "logprobs" not in row and row["messages"][1] == {"role": "assistant", "content": "Apple.", "weight": 1}
    dataset = Dataset.from_list([group.row()], id=f"d-{uuid.uuid4().hex[:8]}").sync(client)
    assert dataset.resource["firekeep"]["withLogprobs"] in ("0", 0)


@pytest.mark.parametrize("prompt, known", [([1, 2, 7, 8, 4, 5], True), ([1, 2, 7, 9, 4, 5], False), ([1, 2], False)])
def test_tokens_are_kept_only_where_the_next_prompt_repeats_them(prompt, known):
    """Ids as a server would say them: [1, 2] was the prompt, [7, 8] was sampled."""
    said = [([1, 2], [7, 8], [-0.5, -0.25]), (prompt, [3], [-1.0])]

    async def ask(body):
        before, ids, logprobs = said.pop(0)
        choice = {"message": {"content": "x"}, "finish_reason": "stop", "token_ids": ids, "logprobs": {"content": [{"logprob": x} for x in logprobs]}}
        return {"prompt_token_ids": before, "choices": [choice]}

    async def talk():
        chat = Conversation(ask, {}, None)
        for _ in range(2):
            chat.user("?")
            await chat.answer()
        return chat.trace()

    trace = asyncio.run(talk())
    assert trace.weights == {1: 1, 3: 1}
    assert trace.token_ids == ([1, 2, 7, 8, 4, 5, 3] if known else [])
    assert trace.logprobs == ([-0.5, -0.25, None, None, -1.0] if known else [])


def test_games_that_cannot_be_played(real, client):
    async def silent(chat, example):
        return 1.0

    async def mute(chat, example):
        return len(await chat.answer())

    for game, sentence in ((silent, "before the model said anything"), (mute, "no messages yet")):
        with pytest.raises(FirekeepError, match=sentence):
            rollouts.play(LLM(real), [0], game, **OPTIONS)
    with pytest.raises(TypeError, match="game"):
        rollouts.play(LLM(real), [0], "guess", **OPTIONS)


def test_conversations_have_a_journal_too(real, client, tmp_path):
    path = tmp_path / "run.jsonl"
    groups = rollouts.play(LLM(real), ["fruit"], ask_twice, journal=path, **OPTIONS)

    async def never(chat, example):
        raise AssertionError("played again")

    again = rollouts.play(LLM(real), ["fruit"], never, journal=path, **OPTIONS)
    assert [g.row() for g in again] == [g.row() for g in groups]
