"""The page on secure RFT, from end to end: a list of scored rows, a step on a
base, its checkpoint on a running deployment, a step on that, scaling, deletion."""

import json
import sys

from fireworks import LLM, Dataset

base, tag = sys.argv[1], sys.argv[2]
rows = [json.loads(line) for line in sys.stdin] if len(sys.argv) > 3 else [
    {"samples": [{"messages": [{"role": "user", "content": f"Say {tag} {g}"}, {"role": "assistant", "content": f"{tag} " * (1 + (g + i) % 3)}],
                  "evals": {"score": float((g + i) % 4)}} for i in range(4)]} for g in range(4)]
question = [{"role": "user", "content": f"Say {tag} 1"}]
seen = {}

dataset = Dataset.from_list(rows)
dataset.sync()
dataset.sync()  # it is there now
assert dataset.get().name == dataset.name, (dataset.get(), dataset.name)
assert Dataset.from_id(dataset.id).read() == dataset.read()

llm = LLM(model=base, deployment_type="on-demand", id=f"dep-{tag}", min_replica_count=0, accelerator_type="NVIDIA_H100_80GB")
llm.apply()
llm.apply()  # nothing changes
assert llm.get_deployment().replica_count == 1, llm.get_deployment()
answer = llm.chat.completions.create(messages=question, max_tokens=4, temperature=0)
seen["base"] = answer.choices[0].message.content
seen["usage"] = answer.usage.completion_tokens


def step(llm, dataset, output_model):
    # From here on the text is the page's own.
    block = '''
import time

job = llm.reinforcement_step(
    dataset=dataset,                 # Dataset with rewards in your bucket

    output_model="my-improved-model-v1",  # New checkpoint name (must not exist)

    epochs=1,
    learning_rate=1e-5,
    accelerator_count=2,
    accelerator_type="NVIDIA_H100_80GB",
)

# Wait for completion

while not job.is_completed:
    job.raise_if_bad_state()
    time.sleep(1)
    job = job.get()
    if job is None:
        raise RuntimeError("Job was deleted while waiting for completion")

# The new model is now available at job.output_model
'''
    scope = {"llm": llm, "dataset": dataset}
    exec(block.replace("my-improved-model-v1", output_model), scope)
    return scope["job"]


def serve(job):
    lora = LLM(model=job.output_model, deployment_type="on-demand-lora", base_id=f"dep-{tag}")
    lora.apply()
    lora.apply()
    whole = lora.chat.completions.create(messages=question, max_tokens=6, temperature=0).choices[0].message.content
    chunks = list(lora.chat.completions.create(messages=question, max_tokens=6, temperature=0, stream=True))
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == whole
    assert chunks[-1].choices[0].finish_reason in ("stop", "length"), chunks[-1]
    text = lora.completions.create(prompt=f"Say {tag}", max_tokens=3)
    assert text.usage.total_tokens > 0 and text.choices[0].text is not None
    return lora


first = step(llm, dataset, f"{tag}-v1")
lora = serve(first)
second = step(lora, dataset, f"{tag}-v2")
next_lora = serve(second)
seen["models"] = [first.output_model, second.output_model]
seen["served"] = [lora.model_id(), next_lora.model_id()]
try:
    llm.reinforcement_step(dataset=dataset, output_model=f"{tag}-v1")
except ValueError as e:
    seen["taken"] = str(e)

again = LLM(model=base, deployment_type="on-demand", id=f"dep-{tag}")
again.scale_to_zero()
seen["at zero"] = again.get_deployment().replica_count
again.apply()
seen["scaled up"] = again.get_deployment().replica_count
again.scale_to_1_replica()

lora.delete_deployment()
next_lora.delete_deployment()
again.delete_deployment()
assert again.get_deployment() is None
seen["deployments left"] = len(again._gateway.list_deployments_sync(filter=f'display_name="x" AND base_model="{base}"'))
dataset.delete()
dataset.delete()
assert dataset.get() is None
print(json.dumps(seen))
