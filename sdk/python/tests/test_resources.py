"""The other resources of the account, against a real server."""

import json
import time
import uuid

import pytest
from conftest import BASE, scored_rows

from firekeep import LLM, Dataset, InvalidArgumentError, NotFoundError
from firekeep.types import Model


def unique(prefix="m"):
    return f"{prefix}-{uuid.uuid4().hex[:8]}"


@pytest.fixture(scope="module")
def step(server):
    from firekeep import Client

    client = Client(base_url=server.base_url, api_key=server.key)
    return LLM(BASE, client=client).reinforcement_step(Dataset.from_list(scored_rows(4), id=unique("d")), unique(), batch_size_samples=8).wait()


def test_models(server, client, step):
    base = client.models.get(BASE)
    assert base.kind == "HF_BASE_MODEL" and base.id == "tiny" and not base.is_lora and base.context_length > 0
    made = client.models.get(step.output_model)
    assert made.is_lora and made.peft_details.base_model == BASE and made.fine_tuning_job == step.name and made.create_time is not None
    assert made == client.models.get(made.id)
    assert made.name in [m.name for m in client.models.list(filter="state=READY", order_by="create_time desc")]
    with pytest.raises(NotFoundError, match="nowhere"):
        client.models.get("nowhere")


def test_an_export_is_signed_and_verifies(server, client, step):
    assert client.models.get(step.output_model).signed
    attestation = client.models.attestation(step.output_model)
    assert attestation.model.endswith(step.output_model) and len(attestation.key) == 64 and attestation.provenance["signatures"]
    folder = server.bucket / unique("export")
    done = client.models.export(step.output_model, f"file://{folder}/")
    assert done.done and int(done.response["bytes"]) > 0
    assert json.loads((folder / "adapter_config.json").read_text())["r"] == 16
    server.cli("model", "verify", str(folder), "--key", str(server.home / "model-signing.pub"))


def test_models_that_come_from_outside(server, client):
    name = unique("outside")
    model = client.models.import_(name, f"file://{server.bucket.parent}/tiny/")
    assert isinstance(model, Model) and model.state == "READY" and model.id == name
    client.models.delete(name)
    with pytest.raises(NotFoundError):
        client.models.get(name)


def test_datasets(server, client):
    dataset = Dataset.from_list(scored_rows(3), id=unique("d")).sync(client)
    assert "3 rows" in repr(dataset)
    found = client.datasets.get(dataset.id)
    assert found.example_count == 3 and found.state == "READY" and int(found.firekeep["samples"]) == 12
    assert dataset.id in [d.id for d in client.datasets.list()]
    client.datasets.delete(dataset.id)
    with pytest.raises(NotFoundError):
        client.datasets.get(dataset.id)


def test_deployments(server, client):
    made = client.deployments.create(BASE, unique("serve"), displayName="Serve it")
    assert made.base_model == BASE and made.display_name == "Serve it"
    client.deployments.scale(made.id, 0)
    assert client.deployments.get(made.name).desired_replica_count == 0
    client.deployments.scale(made.id, 1)
    assert client.deployments.get(made.id).desired_replica_count == 1
    client.deployments.delete(made.id, ignore_checks=True)
    assert made.id not in [d.id for d in client.deployments.list()]
    assert client.deployments.undelete(made.id).name == made.name
    client.deployments.delete(made.id, hard=True, ignore_checks=True)


def test_secrets_go_in_and_never_come_out(server, client):
    made = client.secrets.create(unique("wandb"), "planted-value")
    assert made.key_name == made.id.replace("-", "_").upper()
    client.secrets.update(made.id, "planted-again", key_name=made.key_name)
    for said in (made, client.secrets.get(made.id), *client.secrets.list()):
        assert "planted" not in repr(said) + said.model_dump_json()
    client.secrets.delete(made.id)
    with pytest.raises(NotFoundError):
        client.secrets.get(made.id)


def test_connections(server, client):
    made = client.connections.create(unique("acme"), "s3://acme-rft/rounds/", {"access_key_id": "AKIDPLANTED", "secret_access_key": "planted"})
    assert made.url == "s3://acme-rft/rounds/" and "planted" not in repr(made).lower()
    assert made.id in [c.id for c in client.connections.list()]
    client.connections.delete(made.id)


def test_a_step_tells_what_happened(server, client, step):
    found = client.steps.get(step.id)
    assert found.output_model == step.output_model and step.name in [s.name for s in client.steps.list()]
    assert [e.seq for e in step.events()] == sorted(e.seq for e in step.events()) and "JOB_STATE_COMPLETED" in [e.state for e in step.events()]
    assert step.output_model in [c.model for c in step.checkpoints() if c.checkpoint_type == "CHECKPOINT_TYPE_INFERENCE_LORA"]
    log = step.logs()
    assert "update" in log and "hello" not in log


def test_held_out_rows(server, client):
    job = LLM(BASE).reinforcement_step(
        Dataset.from_list(scored_rows(2), id=unique("d")), unique(), evaluation_dataset=Dataset.from_list(scored_rows(2, text="other"), id=unique("d"))
    )
    assert job.wait().resource["firekeep"]["evaluation"]["samples"] == 8


def test_supervised_jobs(server, client):
    rows = [{"messages": [{"role": "user", "content": f"Say {i}"}, {"role": "assistant", "content": str(i)}]} for i in range(6)]
    job = client.supervised_jobs.create(Dataset.from_list(rows, id=unique("d")), unique(), BASE, lora_rank=4, epochs=1, batch_size_samples=3).wait()
    assert client.models.get(job.output_model).peft_details.r == 4
    assert job.name in [j.name for j in client.supervised_jobs.list()] and client.supervised_jobs.get(job.id).is_completed
    with pytest.raises(TypeError, match="epoch_count"):
        client.supervised_jobs.create("d", unique(), BASE, epoch_count=2)
    seen = []
    job.wait(on_metrics=seen.append)
    assert [m["update"] for m in seen] == [1, 2] == [m["update"] for m in job.metrics()] and [m["update"] for m in job.metrics(after=1)] == [2]
    assert "JOB_STATE_COMPLETED" in [e.state for e in job.events()] and "update 2" in job.logs() and job.plot().label == "loss"
    assert [c.promotable for c in job.checkpoints()] == [True]
    own = job.promote(unique())
    client.models.delete(job.output_model)
    assert client.models.get(own.name).state == "READY" and own.peft_details.r == 4
    with pytest.raises(ValueError, match="no such checkpoint"):
        job.promote(unique())
    job.delete()
    assert job.get() is None


@pytest.mark.parametrize("method", [None, "ORPO"])
def test_preference_jobs(server, client, method):
    def answer(text):
        return [{"role": "assistant", "content": text}]

    rows = [{"input": {"messages": [{"role": "user", "content": f"Say {i}"}]}, "preferred_output": answer("yes"), "non_preferred_output": answer("no")} for i in range(4)]
    job = client.dpo_jobs.create(Dataset.from_list(rows, id=unique("d")), unique(), BASE, method=method, lora_rank=4).wait()
    assert [json.loads(line)["pairs"] for line in job.metrics_file().splitlines()] == [4]
    assert job.name in [j.name for j in client.dpo_jobs.list()]
    with pytest.raises(InvalidArgumentError, match="(?i)beta"):
        client.dpo_jobs.create(Dataset.from_list(rows, id=unique("d")), unique(), BASE, beta=0.9)


def test_trainers_that_wait(server, client):
    body = {"keepAlive": True, "trainingConfig": {"baseModel": BASE, "loraRank": 4}}
    made = client.request("POST", client.path("rlorTrainerJobs"), body=body)
    trainer = client.steps.get(made["name"])
    assert trainer.output_model == "" and trainer.state == "JOB_STATE_RUNNING"
    output = unique()
    trainer.execute(Dataset.from_list(scored_rows(2), id=unique("d")), output)
    for _ in range(600):
        if output in [m.id for m in client.models.list(filter="state=READY")]:
            break
        time.sleep(0.1)
    assert client.models.get(output).is_lora
    trainer.cancel()


def test_merge_jobs(server, client, step):
    job = client.merge_jobs.create(step.output_model, unique("whole"), display_name="all of it").wait()
    assert job.is_completed and job.progress == 100 and job.name in [j.name for j in client.merge_jobs.list()] and client.merge_jobs.get(job.id).resource["displayName"] == "all of it"
    made = client.models.get(job.output_model)
    assert made.kind == "HF_BASE_MODEL" and made.state == "READY" and made.signed and not made.is_lora and made.fine_tuning_job == job.name
    assert LLM(made.name, client=client).chat.completions.create(messages=[{"role": "user", "content": "hello"}], max_tokens=3).choices[0].message.content is not None
    with pytest.raises(InvalidArgumentError, match="is not a LoRA"):
        client.merge_jobs.create(BASE, unique())
    with pytest.raises(TypeError, match="on_metrics"):
        job.wait(on_metrics=print)
    job.delete()
    assert job.get() is None and client.models.get(made.name).state == "READY"


def test_batch_jobs(server, client):
    rows = [{"custom_id": f"q-{i}", "body": {"messages": [{"role": "user", "content": f"question {i}"}], "temperature": 9 if i == 1 else 0}} for i in range(4)]
    job = client.batch_jobs.create(Dataset.from_list(rows, id=unique("d")), BASE, max_tokens=3, stop=["zzz"]).wait()
    assert job.counts == (4, 3, 1) and job.output_dataset.endswith(f"{job.id}-output") and job.name in [j.name for j in client.batch_jobs.list()]
    answers = {a["custom_id"]: a for a in job.answers()}
    assert set(answers) == {"q-0", "q-1", "q-2", "q-3"}
    assert answers["q-0"]["response"]["usage"]["completion_tokens"] <= 3 and answers["q-1"]["error"]["param"] == "temperature"
    with pytest.raises(TypeError, match="on_metrics"):
        job.wait(on_metrics=print)
    with pytest.raises(InvalidArgumentError, match="custom_id"):
        client.batch_jobs.create(Dataset.from_list(scored_rows(2), id=unique("d")), BASE)
    job.delete()
    assert job.get() is None
