"""A program that tries again what failed while the server was away."""

import json
import sys
import time

from fireworks import LLM, Dataset

base, tag = sys.argv[1], sys.argv[2]
failures = 0


def retry(call):
    global failures
    for _ in range(240):
        try:
            return call()
        except Exception as e:
            failures += 1
            last = e
            time.sleep(0.25)
    raise last


def say(stage):
    print(stage, flush=True)


rows = [{"samples": [{"messages": [{"role": "user", "content": f"Say {tag} {g}"}, {"role": "assistant", "content": f"{tag} " * (1 + (g + i) % 3)}],
                      "evals": {"score": float((g + i) % 4)}} for i in range(4)]} for g in range(200)]
say("upload")
dataset = Dataset.from_list(rows)
retry(dataset.sync)
llm = retry(lambda: LLM(model=base, deployment_type="auto"))
job = retry(lambda: llm.reinforcement_step(dataset=dataset, output_model=tag))
say("step")
while not job.is_completed:
    time.sleep(0.5)
    job = retry(job.get)
say("stream")


def stream():
    n = 0
    for chunk in llm.chat.completions.create(messages=[{"role": "user", "content": "go"}], max_tokens=40, temperature=1, stream=True, ignore_eos=True):
        n += len(chunk.choices)
        time.sleep(0.02)
    return n


counts = [retry(stream) for _ in range(3)]
print(json.dumps({"failures": failures, "counts": counts, "model": job.output_model, "datasets": retry(dataset.get).name}))
