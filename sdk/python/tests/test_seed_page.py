"""The flow that this project exists for, as users write it."""

import json
import uuid

import pytest
from conftest import BASE, scored_rows

from firekeep import LLM, Dataset


def test_seed_block_runs_verbatim(server, client):
    path = server.bucket / f"{uuid.uuid4()}.jsonl"
    path.write_text("".join(json.dumps(r) + "\n" for r in scored_rows(6)))
    llm = LLM(model=BASE)
    dataset = Dataset.from_url(f"file://{path}")
    scope = {"llm": llm, "dataset": dataset}

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
    exec(block, scope)
    job = scope["job"]
    assert job.output_model.endswith("/models/my-improved-model-v1")
    answer = LLM(model=job.output_model).chat.completions.create([{"role": "user", "content": "Say hello 1"}], max_tokens=4)
    assert answer.usage.completion_tokens >= 1
    chunks = list(LLM(model=job.output_model).chat.completions.create([{"role": "user", "content": "Say hello 1"}], max_tokens=4, temperature=0, stream=True))
    assert chunks[-1].choices[0].finish_reason in ("stop", "length")


def test_output_model_must_not_exist(server, client):
    llm = LLM(model=BASE)
    dataset = Dataset.from_list(scored_rows(2))
    name = f"m-{uuid.uuid4().hex[:8]}"
    llm.reinforcement_step(dataset=dataset, output_model=name).wait()
    with pytest.raises(ValueError, match=name):
        llm.reinforcement_step(dataset=dataset, output_model=name)


def test_continuing_names_the_field_and_both_values(server, client):
    dataset = Dataset.from_list(scored_rows(3))
    name = f"m-{uuid.uuid4().hex[:8]}"
    first = LLM(model=BASE).reinforcement_step(dataset=dataset, output_model=name, lora_rank=8, learning_rate=2e-5).wait()
    lora = LLM(model=first.output_model)
    assert lora.is_lora
    with pytest.raises(ValueError) as e:
        lora.reinforcement_step(dataset=dataset, output_model=name + "-b", learning_rate=5e-5)
    assert "learningRate" in str(e.value) and "2e-05" in str(e.value) and "5e-05" in str(e.value)
    with pytest.raises(ValueError, match="loraRank.*(16.*8|8.*16)"):
        lora.reinforcement_step(dataset=dataset, output_model=name + "-b", lora_rank=16)
    # The same parameters, or none, are fine: what is left out is inherited.
    second = lora.reinforcement_step(dataset=dataset, output_model=name + "-c", learning_rate=2e-5).wait()
    assert second.resource["trainingConfig"]["loraRank"] == 8
