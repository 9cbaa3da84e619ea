"""Every resource method of the official client that an RFT program uses, sync and async, against a real server."""

import io
import json

import fireworks
import httpx
import pytest
from conftest import BASE, scored_rows
from fireworks_calls import Calls


@pytest.fixture(params=["sync", "async"])
def calls(request, server):
    c = Calls(request.param == "async", base_url=server.base_url, api_key=server.key, account_id="main", max_retries=0)
    c.tag = request.param
    yield c
    c.close()


def rows_file(groups=4, **kw):
    return ("rows.jsonl", io.BytesIO(scored_rows(groups, **kw).encode()))


def test_accounts(calls):
    assert [a.name for a in calls.all("accounts.list")] == ["accounts/main"]
    a = calls("accounts.get", account_id="main")
    assert a.state == "READY" and a.suspend_state == "UNSUSPENDED"


def test_users_and_keys(calls, server):
    user = f"bob-{calls.tag}"
    made = calls("users.create", role="user", user_id=user, email=f"{user}@example.com", display_name="Bob")
    assert made.name == f"accounts/main/users/{user}" and made.role == "user" and made.state == "READY"
    assert user in {u.name.rsplit("/", 1)[1] for u in calls.all("users.list", page_size=1)}
    assert calls("users.update", user, role="contributor").role == "contributor"
    assert calls("users.get", user).email == f"{user}@example.com"

    key = calls("api_keys.create", user, api_key={"display_name": "laptop"})
    assert key.key.startswith(key.prefix) and key.secure and key.expire_time
    mine = fireworks.Fireworks(base_url=server.base_url, api_key=key.key, account_id="main", max_retries=0)
    assert isinstance(mine.datasets.list().datasets, list)
    with pytest.raises(fireworks.PermissionDeniedError):
        mine.secrets.list()
    assert [(k.key_id, k.key) for k in calls.all("api_keys.list", user_id=user)] == [(key.key_id, None)]
    calls("api_keys.delete", user, key_id=key.key_id)
    with pytest.raises(fireworks.AuthenticationError):
        mine.datasets.list()

    robot = calls("users.create", role="contributor", user_id=f"robot-{calls.tag}", service_account=True)
    assert robot.service_account


def test_secrets_never_come_back(calls):
    name, id = f"accounts/main/secrets/wolf-{calls.tag}", f"wolf-{calls.tag}"
    made = calls("secrets.create", key_name="WOLFRAM_ALPHA_API_KEY", name=name, value="planted")
    assert made.name == name and made.key_name == "WOLFRAM_ALPHA_API_KEY" and not made.value
    assert not calls("secrets.get", id).value
    assert [s.name for s in calls.all("secrets.list")] == [name]
    assert not calls("secrets.update", id, key_name="OTHER", value="planted again").value
    calls("secrets.delete", id)
    with pytest.raises(fireworks.NotFoundError):
        calls("secrets.get", id)


def test_datasets(calls):
    id = f"rows-{calls.tag}"
    made = calls("datasets.create", dataset_id=id, dataset={"display_name": "Rows", "user_uploaded": {}})
    assert made.state == "UPLOADING" and made.status.code == "OK"
    sent = calls("datasets.upload", id, file=rows_file())
    assert sent.filename == "rows.jsonl" and sent.bytes == len(scored_rows(4))
    d = calls.until("datasets.get", id, state="READY")
    assert d.example_count == "4" and d.format == "RL" and d.created_by
    # A client that lost the answer sends the file again.
    calls("datasets.upload", id, file=rows_file())
    calls("datasets.validate_upload", id, body={})
    assert calls("datasets.update", id, display_name="Other rows").display_name == "Other rows"
    assert calls("datasets.get", id, read_mask="state").display_name is None
    urls = calls("datasets.get_download_endpoint", id).filename_to_signed_urls
    assert [httpx.get(u).text for u in urls.values()] == [scored_rows(4)]
    assert id in {d.name.rsplit("/", 1)[1] for d in calls.all("datasets.list", filter='state=READY AND display_name:"other"', order_by="create_time desc")}
    calls("datasets.delete", id)
    with pytest.raises(fireworks.NotFoundError):
        calls("datasets.get", id)


def test_wrong_rows_are_refused_with_their_line(calls):
    id = f"wrong-{calls.tag}"
    calls("datasets.create", dataset_id=id, dataset={})
    rows = scored_rows(2) + '{"samples":[{"messages":[],"evals":{"score":"high"}}]}\n'
    with pytest.raises(fireworks.BadRequestError, match="line 3"):
        calls("datasets.upload", id, file=("rows.jsonl", rows.encode()))
    assert calls("datasets.get", id).state == "UPLOADING"
    with pytest.raises(fireworks.BadRequestError):
        calls.client.datasets.upload(id) if not calls.is_async else calls.wait(calls.client.datasets.upload(id))
    calls("datasets.delete", id)


def test_several_files_by_signed_urls(calls):
    id = f"shards-{calls.tag}"
    calls("datasets.create", dataset_id=id, dataset={"user_uploaded": {}})
    shards = {f"shard-{i}.jsonl": scored_rows(2, text=f"shard{i}").encode() for i in range(3)}
    sizes = {n: str(len(b)) for n, b in shards.items()}
    calls("datasets.get_upload_endpoint", id, filename_to_size={"forgotten.jsonl": "7"})
    urls = calls("datasets.get_upload_endpoint", id, filename_to_size=sizes).filename_to_signed_urls
    assert set(urls) == set(shards)
    with pytest.raises(fireworks.BadRequestError):
        calls("datasets.validate_upload", id, body={})
    for name, body in shards.items():
        r = httpx.put(urls[name], content=body, headers={"Content-Type": "application/octet-stream", "X-Goog-Content-Length-Range": f"{len(body)},{len(body)}"})
        assert r.status_code == 200, r.text
    calls("datasets.validate_upload", id, body={})
    d = calls.until("datasets.get", id, state="READY")
    assert d.example_count == "6"
    down = calls("datasets.get_download_endpoint", id).filename_to_signed_urls
    assert {n: httpx.get(u).content for n, u in down.items()} == shards
    calls("datasets.delete", id)


def test_rows_in_a_bucket_never_travel(calls, server):
    id = f"bucket-{calls.tag}"
    (server.bucket / f"{id}.jsonl").write_text(scored_rows(3))
    calls("datasets.create", dataset_id=id, dataset={"external_url": f"file://{server.bucket}/{id}.jsonl"})
    assert calls.until("datasets.get", id, state="READY").example_count == "3"
    for url in calls("datasets.get_download_endpoint", id).filename_to_signed_urls.values():
        r = httpx.get(url)
        assert r.status_code == 200 and r.content == b""
    calls("datasets.delete", id)


def test_pages(calls):
    ids = [f"page-{calls.tag}-{i}" for i in range(5)]
    for id in ids:
        calls("datasets.create", dataset_id=id, dataset={"display_name": f"Page {calls.tag}"})
    found = calls.all("datasets.list", page_size=2, filter=f'display_name="Page {calls.tag}"', order_by="name desc")
    assert [d.name.rsplit("/", 1)[1] for d in found] == ids[::-1]
    for id in ids:
        calls("datasets.delete", id)


def test_the_round_of_reinforcement(calls):
    """The order of calls in an RFT program: deployment, step, checkpoint, LoRA, chat."""
    t = calls.tag
    base = calls("models.get", "tiny", account_id="fireworks")
    assert base.state == "READY" and base.kind == "HF_BASE_MODEL" and base.context_length
    d = calls("deployments.create", base_model=BASE, deployment_id=f"dep-{t}", enable_addons=True, min_replica_count=0, max_replica_count=1,
              accelerator_type="NVIDIA_H100_80GB", autoscaling_policy={"scale_to_zero_window": "600s"}, skip_shape_validation=True)
    assert d.state in ("CREATING", "READY")
    d = calls.until("deployments.get", f"dep-{t}", state="READY")
    assert d.enable_addons and d.replica_stats.ready_replica_count == 1 and d.autoscaling_policy.scale_to_zero_window == "600s"

    with pytest.raises(fireworks.NotFoundError, match="not found"):
        calls("reinforcement_fine_tuning_steps.get", f"step-{t}")
    with pytest.raises(fireworks.NotFoundError):
        calls("models.get", f"out-{t}")
    calls("datasets.create", dataset_id=f"train-{t}", dataset={})
    calls("datasets.upload", f"train-{t}", file=rows_file(4))
    calls.until("datasets.get", f"train-{t}", state="READY")
    job = calls("reinforcement_fine_tuning_steps.create", rlor_trainer_job_id=f"step-{t}", dataset=f"accounts/main/datasets/train-{t}", display_name="One",
                reward_weights=["score"], training_config={"base_model": BASE, "output_model": f"out-{t}", "lora_rank": 4, "epochs": 1, "learning_rate": 1e-4,
                                                           "max_context_length": 64})
    assert job.state.startswith("JOB_STATE_")
    job = calls.until("reinforcement_fine_tuning_steps.get", f"step-{t}", state="JOB_STATE_COMPLETED")
    assert job.job_progress.percent == 100 and job.status.code == "OK" and job.training_config.output_model.endswith(f"out-{t}")
    assert f"step-{t}" in {j.name.rsplit("/", 1)[1] for j in calls.all("reinforcement_fine_tuning_steps.list", page_size=1)}

    m = calls.until("models.get", f"out-{t}", state="READY")
    assert m.kind == "HF_PEFT_ADDON" and m.peft_details.base_model == BASE and m.peft_details.r == 4 and m.fine_tuning_job == job.name
    assert f"out-{t}" in {m.name.rsplit("/", 1)[1] for m in calls.all("models.list", filter="kind=HF_PEFT_ADDON")}

    loaded = calls("lora.load", model=m.name, deployment=d.name)
    assert loaded.state in ("DEPLOYING", "DEPLOYED")
    with pytest.raises(fireworks.ConflictError):
        calls("lora.load", model=m.name, deployment=d.name)
    id = loaded.name.rsplit("/", 1)[1]
    calls.until("lora.get", id, state="DEPLOYED")
    assert [x.name for x in calls.all("lora.list", filter=f'model="{m.name}"')] == [loaded.name]
    assert calls("lora.update", id, display_name="Latest", description="of the round").display_name == "Latest"
    assert calls("models.get", f"out-{t}").deployed_model_refs[0].deployment == d.name

    answer = calls("chat.completions.create", model=f"{m.name}#{d.name}", messages=[{"role": "user", "content": "Say hello"}], max_tokens=4)
    assert answer.choices[0].finish_reason and answer.usage.completion_tokens <= 4

    calls("lora.unload", id)
    calls("reinforcement_fine_tuning_steps.delete", f"step-{t}")
    with pytest.raises(fireworks.NotFoundError):
        calls("reinforcement_fine_tuning_steps.get", f"step-{t}")
    calls("models.delete", f"out-{t}")
    calls("deployments.delete", f"dep-{t}", ignore_checks=True, hard=True)
    calls("datasets.delete", f"train-{t}")


def test_deployments_scale_to_zero_and_back(calls):
    id = f"scale-{calls.tag}"
    made = calls("deployments.create", base_model=BASE, deployment_id=id, display_name="Scale", description="For a while")
    assert made.description == "For a while" and made.max_replica_count == 1
    calls("deployments.scale", id, replica_count=0)
    assert calls("deployments.get", id).replica_stats.ready_replica_count == 0
    answer = calls("chat.completions.create", model=made.name, messages=[{"role": "user", "content": "Wake up"}], max_tokens=2)
    assert answer.choices
    assert calls("deployments.get", id).replica_stats.ready_replica_count == 1
    after = calls("deployments.update", id, base_model=BASE, max_replica_count=3, autoscaling_policy={"scale_down_window": "60s"})
    assert after.max_replica_count == 3 and after.display_name == "Scale" and after.autoscaling_policy.scale_down_window == "60s"
    calls("deployments.scale", id, replica_count=2)
    assert calls("deployments.get", id).desired_replica_count == 2
    calls("deployments.delete", id)
    assert id not in {d.name.rsplit("/", 1)[1] for d in calls.all("deployments.list")}
    gone = {d.name.rsplit("/", 1)[1]: d for d in calls.all("deployments.list", show_deleted=True)}[id]
    assert gone.state == "DELETED" and gone.purge_time
    assert calls("deployments.undelete", id, body={}).state == "READY"
    calls("deployments.delete", id, hard=True)
    with pytest.raises(fireworks.NotFoundError):
        calls("deployments.undelete", id, body={})


def test_steps_can_be_cancelled(calls):
    t = calls.tag
    calls("datasets.create", dataset_id=f"long-{t}", dataset={})
    calls("datasets.upload", f"long-{t}", file=rows_file(64))
    calls.until("datasets.get", f"long-{t}", state="READY")
    calls("reinforcement_fine_tuning_steps.create", rlor_trainer_job_id=f"long-{t}", dataset=f"long-{t}",
          training_config={"base_model": BASE, "output_model": f"long-{t}", "epochs": 10, "max_context_length": 64, "batch_size_samples": 4})
    calls("reinforcement_fine_tuning_steps.cancel", f"long-{t}", body={})
    calls.until("reinforcement_fine_tuning_steps.get", f"long-{t}", state="JOB_STATE_CANCELLED")
    calls("reinforcement_fine_tuning_steps.delete", f"long-{t}")
    calls("datasets.delete", f"long-{t}")


def test_shapes_are_none(calls):
    assert calls.all("deployment_shapes.list") == [] and calls.all("deployment_shape_versions.list", deployment_shape_id="-") == []
    assert calls.all("deployment_shape_versions.list", deployment_shape_id="-", account_id="-", filter="latest_validated=true") == []
    assert not calls("deployment_shape_versions.match", create_deployment_request={"parent": "accounts/main", "deployment": {"baseModel": BASE}}).deployment_shape_versions
    with pytest.raises(fireworks.NotFoundError):
        calls("deployment_shapes.get", "fast")


@pytest.mark.parametrize("path, args", [
    ("reinforcement_fine_tuning_jobs.create", {"dataset": "d", "evaluator": "e"}),
    ("reinforcement_fine_tuning_jobs.list", {}),
    ("evaluators.create", {"evaluator": {}}),
    ("evaluation_jobs.list", {}),
])
def test_what_would_run_user_code_points_to_rollouts(calls, path, args):
    with pytest.raises(fireworks.InternalServerError, match="firekeep.rollouts") as e:
        calls(path, **args)
    assert e.value.status_code == 501 and e.value.response.headers["x-should-retry"] == "false"
