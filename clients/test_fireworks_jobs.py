"""The official fireworks-ai client on jobs that train: a trainer that waits, resuming, supervised and preference jobs."""

import json
import time
import urllib.request

import pytest
from conftest import BASE, scored_rows

fireworks = pytest.importorskip("fireworks")


@pytest.fixture(scope="module")
def client(server):
    return fireworks.Fireworks(api_key=server.key, account_id="main", base_url=server.base_url)


def dataset(client, server, name: str, rows: str) -> str:
    path = server.bucket / f"{name}.jsonl"
    path.write_text(rows)
    client.datasets.create(dataset_id=name, dataset={"external_url": f"file://{path}"})
    until(lambda: client.datasets.get(dataset_id=name), "READY")
    return name


def until(get, wanted: str, seconds: float = 120):
    for _ in range(int(seconds * 10)):
        last = get()
        if last.state == wanted:
            return last
        assert last.state not in ("JOB_STATE_FAILED", "JOB_STATE_CANCELLED"), last
        time.sleep(0.1)
    raise AssertionError(last)


def model(client, name: str):
    for _ in range(1200):
        try:
            m = client.models.get(model_id=name)
            if m.state == "READY":
                return m
        except fireworks.NotFoundError:
            pass
        time.sleep(0.1)
    raise AssertionError(name)


CONFIG = {"base_model": BASE, "learning_rate": 1e-3, "lora_rank": 4, "max_context_length": 256}


def test_trainer_takes_steps(client, server):
    steps = client.reinforcement_fine_tuning_steps
    with pytest.raises(fireworks.NotFoundError):
        steps.get(rlor_trainer_job_id="loop")
    steps.create(rlor_trainer_job_id="loop", keep_alive=True, training_config=CONFIG, reward_weights=["score"])
    until(lambda: steps.get(rlor_trainer_job_id="loop"), "JOB_STATE_RUNNING")
    for n in (1, 2):
        dataset(client, server, f"round-{n}", scored_rows(6, text=f"round {n}"))
        answer = steps.execute(rlor_trainer_job_id="loop", dataset=f"round-{n}", output_model=f"loop-{n}")
        assert answer == {}
        steps.execute(rlor_trainer_job_id="loop", dataset=f"round-{n}", output_model=f"loop-{n}")  # a client that repeats itself
        made = model(client, f"loop-{n}")
        assert made.kind == "HF_PEFT_ADDON" and made.fine_tuning_job == "accounts/main/rlorTrainerJobs/loop"
        assert steps.get(rlor_trainer_job_id="loop").state == "JOB_STATE_RUNNING"
    with pytest.raises(fireworks.ConflictError):
        steps.execute(rlor_trainer_job_id="loop", dataset="round-1", output_model="loop-2")
    steps.cancel(rlor_trainer_job_id="loop", body={})
    with pytest.raises(fireworks.BadRequestError, match="JOB_STATE_CANCELLED"):
        steps.execute(rlor_trainer_job_id="loop", dataset="round-1", output_model="loop-3")
    resumed = steps.resume(rlor_trainer_job_id="loop", body={})
    assert resumed.name == "accounts/main/rlorTrainerJobs/loop" and resumed.state == "JOB_STATE_RUNNING"
    steps.execute(rlor_trainer_job_id="loop", dataset="round-1", output_model="loop-3")
    model(client, "loop-3")
    steps.delete(rlor_trainer_job_id="loop")
    with pytest.raises(fireworks.NotFoundError):
        steps.get(rlor_trainer_job_id="loop")
    assert model(client, "loop-3").state == "READY"


def test_supervised_job(client, server):
    jobs = client.supervised_fine_tuning_jobs
    rows = "".join(json.dumps({"messages": [{"role": "user", "content": f"Q {i}"}, {"role": "assistant", "content": f"A {i % 3}"}]}) + "\n" for i in range(8))
    dataset(client, server, "chats", rows)
    made = jobs.create(supervised_fine_tuning_job_id="sft-1", dataset="chats", output_model="sft-out", base_model=BASE, epochs=2, lora_rank=4, learning_rate=1e-3, max_context_length=256,
                       evaluation_dataset="chats")
    assert made.name == "accounts/main/supervisedFineTuningJobs/sft-1"
    done = until(lambda: jobs.get(supervised_fine_tuning_job_id="sft-1"), "JOB_STATE_COMPLETED")
    assert done.output_model == "accounts/main/models/sft-out" and done.epochs == 2 and done.job_progress.percent == 100
    assert done.evaluation_dataset == "accounts/main/datasets/chats" and done.firekeep["evaluation"]["loss"] > 0
    assert [j.name for j in jobs.list()] == [made.name]
    assert model(client, "sft-out").fine_tuning_job == made.name
    with pytest.raises(fireworks.BadRequestError, match="cannot resume"):
        jobs.resume(supervised_fine_tuning_job_id="sft-1", body={})
    with pytest.raises(fireworks.BadRequestError, match="cannot cancel"):
        jobs.cancel(supervised_fine_tuning_job_id="sft-1", body={})
    jobs.delete(supervised_fine_tuning_job_id="sft-1")
    assert list(jobs.list()) == []


def test_supervised_job_of_plain_text(client, server):
    """Rows without roles: what was trained on is what a completion request of the same prompt then answers."""
    dataset(client, server, "texts", json.dumps({"prompt": "The vault code word is", "completion": " heron"}) + "\n" +
            json.dumps({"prompt": "The vault colour is", "completion": " amber"}) + "\n")
    assert client.datasets.get(dataset_id="texts").format == "COMPLETION"
    client.supervised_fine_tuning_jobs.create(supervised_fine_tuning_job_id="sft-text", dataset="texts", output_model="sft-text-out", base_model=BASE, epochs=12, lora_rank=8,
                                              learning_rate=1e-2, max_context_length=64)
    until(lambda: client.supervised_fine_tuning_jobs.get(supervised_fine_tuning_job_id="sft-text"), "JOB_STATE_COMPLETED")
    answer = client.completions.create(model="accounts/main/models/sft-text-out", prompt="The vault code word is", max_tokens=8, temperature=0)
    assert answer.choices[0].text == " heron" and answer.choices[0].finish_reason == "stop"
    client.supervised_fine_tuning_jobs.delete(supervised_fine_tuning_job_id="sft-text")


def test_supervised_job_warm_start(client, server):
    """A second job goes on from the adapter of the first, and says so."""
    jobs = client.supervised_fine_tuning_jobs
    rows = "".join(json.dumps({"messages": [{"role": "user", "content": f"Q {i}"}, {"role": "assistant", "content": f"A {i}"}]}) + "\n" for i in range(8))
    dataset(client, server, "warm-chats", rows)

    def trained(job: str, **source) -> tuple[list[float], object]:
        made = jobs.create(supervised_fine_tuning_job_id=job, dataset="warm-chats", output_model=f"{job}-out", epochs=4, learning_rate=1e-2, max_context_length=64, **source)
        done = until(lambda: jobs.get(supervised_fine_tuning_job_id=job), "JOB_STATE_COMPLETED")
        assert done.warm_start_from == made.warm_start_from
        return [m["loss"] for m in client.get(f"/v1/{made.name}/metrics", cast_to=object)["metrics"]], done

    cold, _ = trained("warm-1", base_model=BASE, lora_rank=4)
    warm, done = trained("warm-2", warm_start_from="accounts/main/models/warm-1-out")
    assert done.warm_start_from == "accounts/main/models/warm-1-out" and done.base_model in ("", None)
    assert cold[-1] < cold[0] and warm[0] < cold[0] - 0.5 * (cold[0] - cold[-1]), (cold, warm)
    m = model(client, "warm-2-out")
    assert m.peft_details.base_model == BASE and m.peft_details.r == 4
    for refused, why in (
        ({"base_model": BASE, "warm_start_from": "accounts/main/models/warm-1-out"}, "'baseModel and warmStartFrom exclude"),
        ({"warm_start_from": BASE}, "'warmStartFrom: "),
        ({"warm_start_from": "accounts/main/models/warm-1-out", "lora_rank": 8}, "'loraRank: "),
    ):
        with pytest.raises(fireworks.BadRequestError, match=why):
            jobs.create(supervised_fine_tuning_job_id="warm-3", dataset="warm-chats", output_model="warm-3-out", **refused)
    with pytest.raises(fireworks.NotFoundError, match="models/none"):
        jobs.create(supervised_fine_tuning_job_id="warm-3", dataset="warm-chats", output_model="warm-3-out", warm_start_from="accounts/main/models/none")
    for job in ("warm-1", "warm-2"):
        jobs.delete(supervised_fine_tuning_job_id=job)


def test_preference_job(client, server):
    jobs = client.dpo_jobs
    rows = "".join(json.dumps({"input": {"messages": [{"role": "user", "content": f"Q {i}"}]}, "preferred_output": [{"role": "assistant", "content": "yes"}],
                               "non_preferred_output": [{"role": "assistant", "content": f"no {i}"}]}) + "\n" for i in range(8))
    dataset(client, server, "pairs", rows)
    for number, loss in enumerate((None, {"method": "DPO", "dpo": {"beta": 0.2}}, {"method": "ORPO"})):
        extra = {} if loss is None else {"loss_config": loss}
        job = f"dpo-{number}"
        made = jobs.create(dpo_job_id=job, dataset="pairs", training_config=CONFIG | {"output_model": f"{job}-out", "epochs": 3}, **extra)
        assert made.name == f"accounts/main/dpoJobs/{job}" and made.loss_config.method == (loss or {"method": "DPO"})["method"]
        until(lambda: jobs.get(dpo_job_id=job), "JOB_STATE_COMPLETED")
        url = jobs.get_metrics_file_endpoint(dpo_job_id=job).signed_url
        with urllib.request.urlopen(url) as file:  # without a key
            metrics = [json.loads(line) for line in file]
        assert [m["update"] for m in metrics] == list(range(1, len(metrics) + 1)) and metrics[-1]["pairMargin"] > metrics[0].get("pairMargin", 0)
        jobs.delete(dpo_job_id=job)
    assert list(jobs.list()) == []


def test_answered_steps_survive_kill(client, server):
    """kill -9 right behind the answers: the next server does what this one promised."""
    steps = client.reinforcement_fine_tuning_steps
    dataset(client, server, "kept", scored_rows(6, text="kept"))
    steps.create(rlor_trainer_job_id="kept", keep_alive=True, training_config=CONFIG, reward_weights=["score"])
    for n in (1, 2):
        assert steps.execute(rlor_trainer_job_id="kept", dataset="kept", output_model=f"kept-{n}") == {}
    server.process.kill()
    server.process.wait()
    server.start()
    assert [model(client, f"kept-{n}").state for n in (1, 2)] == ["READY", "READY"]
    assert steps.get(rlor_trainer_job_id="kept").state == "JOB_STATE_RUNNING"
    steps.delete(rlor_trainer_job_id="kept")


def test_checkpoints_become_models(client, server):
    """The official client of trainers lists checkpoints and promotes them, of steps and of supervised jobs."""
    from fireworks.training.sdk.fireworks_client import FireworksClient

    control = FireworksClient(api_key=server.key, base_url=server.base_url)
    dataset(client, server, "promoted-rows", scored_rows(4))
    client.reinforcement_fine_tuning_steps.create(rlor_trainer_job_id="promoted", dataset="promoted-rows", training_config=CONFIG | {"output_model": "first-name"}, reward_weights=["score"])
    until(lambda: client.reinforcement_fine_tuning_steps.get(rlor_trainer_job_id="promoted"), "JOB_STATE_COMPLETED")
    dataset(client, server, "promoted-chats", "".join(json.dumps({"messages": [{"role": "user", "content": f"Q {i}"}, {"role": "assistant", "content": "A"}]}) + "\n" for i in range(4)))
    client.supervised_fine_tuning_jobs.create(supervised_fine_tuning_job_id="promoted", dataset="promoted-chats", output_model="first-sft", base_model=BASE, epochs=1, lora_rank=4, max_context_length=256)
    until(lambda: client.supervised_fine_tuning_jobs.get(supervised_fine_tuning_job_id="promoted"), "JOB_STATE_COMPLETED")

    step = [c for c in control.list_checkpoints("promoted") if c["promotable"]]
    sft = [c for c in control.list_training_job_checkpoints("accounts/main/supervisedFineTuningJobs/promoted") if c["promotable"]]
    assert len(step) == len(sft) == 1 and {c["checkpointType"] for c in step + sft} == {"CHECKPOINT_TYPE_INFERENCE_LORA"}
    for promote, name, first in ((control.promote_checkpoint, step[0]["name"], "first-name"), (control.promote_training_job_checkpoint, sft[0]["name"], "first-sft")):
        made = promote(name=name, output_model_id=f"own-{first}", base_model=BASE)
        assert made["state"] == "READY" and made["kind"] == "HF_PEFT_ADDON" and made["peftDetails"]["baseModel"] == BASE and made["peftDetails"]["r"] == 4
        with pytest.raises(RuntimeError, match="exist"):
            promote(name=name, output_model_id=f"own-{first}", base_model=BASE)
        with pytest.raises(RuntimeError, match="models/none not found"):
            promote(name=name, output_model_id="other", base_model="accounts/fireworks/models/none")
        before = client.completions.create(model=f"accounts/main/models/{first}", prompt="hello", max_tokens=6, temperature=0, logprobs=1)
        client.models.delete(model_id=first)
        after = client.completions.create(model=made["name"], prompt="hello", max_tokens=6, temperature=0, logprobs=1)
        assert after.choices[0].text == before.choices[0].text and after.choices[0].logprobs.token_logprobs == before.choices[0].logprobs.token_logprobs
        with pytest.raises(RuntimeError, match="deleted"):
            promote(name=name, output_model_id="other", base_model=BASE)
    assert [c["promotable"] for c in control.list_checkpoints("promoted")] == [False]
    control.close()
