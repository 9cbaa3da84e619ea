"""Supervised data with a reward attached teaches a real model, because of its rewards."""

import random
import sys
import uuid

from conftest import ROOT

from firekeep import LLM, Dataset, rollouts

sys.path.insert(0, str(ROOT / "demo"))
import task  # noqa: E402


def supervised_rows(seed: int, shuffled: bool, count: int = 64):
    """One answer per prompt, every prompt unique: half of the answers are right (reward 1), half are chatter (0)."""
    rng = random.Random(seed)
    examples = list({e["messages"][0]["content"]: e for e in task.training_prompts(2 * count, seed)}.values())[:count]
    rows = []
    for i, e in enumerate(examples):
        t = e["truth"]
        right = '{"name": "%s", "city": "%s", "day": "%s"}' % (t["name"], t["city"], t["day"])
        wrong = rng.choice([f"The person is going to {t['city']}.", f"It is about {t['name']}.", "I am not sure what you mean.", f"The day is {t['day']}."])
        answer = right if i % 2 else wrong
        rows.append({"messages": [*e["messages"], {"role": "assistant", "content": answer}], "reward": float(i % 2)})
    if shuffled:
        rewards = [r["reward"] for r in rows]
        rng.shuffle(rewards)
        for row, reward in zip(rows, rewards):
            row["reward"] = reward
    return rows


def held_out_reward(llm, prompts):
    groups = rollouts.sample(llm, prompts, task.reward, samples_per_prompt=1, max_tokens=40, seed=1, progress=False)
    return sum(g.scores[0] for g in groups) / len(groups)


def test_rewards_are_what_teaches(real, client):
    base = LLM(model=real)
    held_out = task.held_out_prompts(32)
    before = held_out_reward(base, held_out)
    after = {}
    for shuffled in (False, True):
        dataset = Dataset.from_list(supervised_rows(5, shuffled), id=f"d-{uuid.uuid4().hex[:8]}")
        job = base.reinforcement_step(dataset=dataset, output_model=f"m-{uuid.uuid4().hex[:8]}", learning_rate=5e-4, batch_size_samples=16)
        job.wait(timeout=1200)
        after[shuffled] = held_out_reward(LLM(model=job.output_model), held_out)
    print(f"held-out reward: base {before:.3f}, trained {after[False]:.3f}, shuffled rewards {after[True]:.3f}")
    assert after[False] >= before + 0.1
    assert after[False] > after[True]
