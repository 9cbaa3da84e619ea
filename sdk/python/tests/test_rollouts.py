"""Groups are sampled, scored here, and written to the user's bucket."""

import asyncio
import json
import math
import uuid

import pytest
from conftest import BASE

from firekeep import LLM, AlreadyExistsError, Dataset, FirekeepError, rollouts

PROMPTS = [{"messages": [{"role": "user", "content": f"Say {w}"}], "truth": w} for w in ("red", "green", "blue")]


def length_reward(sample, example):
    assert example["truth"] in example["messages"][0]["content"]
    return len(sample.text) / 10


def test_rows_hold_what_was_sampled_and_train(server, client):
    llm = LLM(model=BASE)
    groups = rollouts.sample(llm, PROMPTS, length_reward, samples_per_prompt=4, max_tokens=12, seed=3, progress=False)
    assert len(groups) == 3 and all(len(g.samples) == 4 for g in groups)
    url = rollouts.write(groups, f"file://{server.bucket}/{uuid.uuid4()}.jsonl")
    rows = [json.loads(line) for line in open(url.removeprefix("file://"))]
    for row, prompt in zip(rows, PROMPTS):
        for s in row["samples"]:
            assert s["messages"][:-1] == prompt["messages"] and len(s["logprobs"]) <= 12 < len(s["token_ids"])
            assert all(math.isfinite(x) and x <= 0 for x in s["logprobs"])
            assert s["evals"]["score"] == pytest.approx(len(s["messages"][-1]["content"]) / 10)
    job = llm.reinforcement_step(dataset=Dataset.from_url(url), output_model=f"m-{uuid.uuid4().hex[:8]}").wait()
    (m,) = job.metrics()
    # Sampler and trainer agree on the log-probs, so the importance weights are all 1.
    assert m["effectiveSampleSize"] == pytest.approx(m["scoredTokens"], rel=1e-3)
    with pytest.raises(AlreadyExistsError):
        rollouts.write(groups, url)


def test_a_seed_gives_the_same_samples(server, client):
    llm = LLM(model=BASE)
    a, b = (rollouts.sample(llm, PROMPTS, lambda s, e: 0, samples_per_prompt=3, max_tokens=10, seed=9, progress=False) for _ in range(2))
    assert [s.token_ids for g in a for s in g.samples] == [s.token_ids for g in b for s in g.samples]
    c = rollouts.sample(llm, PROMPTS, lambda s, e: 0, samples_per_prompt=3, max_tokens=10, seed=10, progress=False)
    assert [s.token_ids for g in a for s in g.samples] != [s.token_ids for g in c for s in g.samples]


def test_async_rewards_and_progress(server, client):
    calls = []

    async def reward(sample, example):
        await asyncio.sleep(0)
        return {"score": 1.0, "length": len(sample.text)}

    groups = rollouts.sample(LLM(model=BASE), PROMPTS, reward, samples_per_prompt=2, max_tokens=4, progress=lambda d, t: calls.append((d, t)))
    assert calls == [(1, 3), (2, 3), (3, 3)]
    assert groups[0].samples[0].evals.keys() == {"score", "length"}


@pytest.mark.parametrize("value", [float("nan"), True, "1", None])
def test_a_reward_must_be_a_finite_number(server, client, value):
    with pytest.raises(ValueError, match="score"):
        rollouts.sample(LLM(model=BASE), PROMPTS[:1], lambda s, e: value, samples_per_prompt=2, max_tokens=4, progress=False)


def test_a_reward_that_raises_ends_the_call(server, client):
    def reward(sample, example):
        raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        rollouts.sample(LLM(model=BASE), PROMPTS, reward, samples_per_prompt=2, max_tokens=4, progress=False)


def test_unknown_scheme():
    with pytest.raises(ValueError, match="ftp"):
        Dataset.from_url("ftp://x/y")
    with pytest.raises((ValueError, FirekeepError), match="ftp"):
        rollouts.put("ftp://x/y", b"")
