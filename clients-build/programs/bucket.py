"""A step on a dataset that lies in the user's bucket, known here by its id."""

import json
import sys

from fireworks import LLM, Dataset

base, dataset_id, output = sys.argv[1:4]
dataset = Dataset.from_id(dataset_id)
seen = {"rows": dataset.read().decode(), "name": dataset.name}
llm = LLM(model=base, deployment_type="auto")
seen["strategy"] = llm.deployment_strategy
job = llm.reinforcement_step(dataset=dataset, output_model=output, learning_rate=1e-5)

import time

while not job.is_completed:
    job.raise_if_bad_state()
    time.sleep(1)
    job = job.get()
    if job is None:
        raise RuntimeError("Job was deleted while waiting for completion")
lora = LLM(model=job.output_model, deployment_type="auto")
seen["lora strategy"] = lora.deployment_strategy
lora.apply()
seen["answers"] = [m.chat.completions.create(messages=[{"role": "user", "content": "Say hello"}], max_tokens=4).usage.completion_tokens for m in (llm, lora)]
lora.delete_deployment()
print(json.dumps(seen))
