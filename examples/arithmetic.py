"""Arithmetic with exact match: the answer must be the number, and nothing else counts.

    python examples/arithmetic.py            # 6 rounds
    python examples/arithmetic.py --small    # one small round
"""

import random
import re

from rounds import Task, arguments, run

SHOWN = [("3 + 4", "7"), ("9 - 2", "7"), ("6 + 5", "11")]
NUMBER = re.compile(r"-?\d+")


def example(rng):
    a, b, sign = rng.randint(2, 19), rng.randint(2, 9), rng.choice("+-")
    messages = [{"role": "system", "content": "You are a calculator. Answer with the number only."}]
    for question, answer in SHOWN:
        messages += [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    messages.append({"role": "user", "content": f"{a} {sign} {b}"})
    return {"messages": messages, "answer": str(a + b if sign == "+" else a - b)}


def prompts(count, seed):
    """Different problems, none of which is held out."""
    rng, reserved = random.Random(seed), {e["messages"][-1]["content"] for e in held_out(64)}
    found = {}
    while len(found) < count:
        e = example(rng)
        if e["messages"][-1]["content"] not in reserved:
            found.setdefault(e["messages"][-1]["content"], e)
    return list(found.values())


def held_out(count):
    rng, found = random.Random(4242), {}
    while len(found) < count:
        e = example(rng)
        found.setdefault(e["messages"][-1]["content"], e)
    return list(found.values())


def reward(sample, example):
    """1 if the answer's only number is the right one, else 0."""
    return float(NUMBER.findall(sample.text) == [example["answer"]])


if __name__ == "__main__":
    run(Task("arithmetic", prompts, held_out, reward, max_tokens=12), arguments(__doc__))
