"""fireworks-ai 0.19.20 against a live server."""

import json
import os
import signal
import sqlite3
import urllib.request
from pathlib import Path

import pytest
from conftest import BASE, ROOT, in_bucket, result, run, serve, served, start

GGUF = os.environ.get("FIREKEEP_DEMO_GGUF", str(ROOT / ".cache/demo/SmolLM2-135M-Instruct.Q4_1.gguf"))


def test_client_is_the_last_release():
    from importlib.metadata import version

    assert version("fireworks-ai") == "0.19.20"


def test_seed_page(server):
    seen = run(server, "seed_page.py", BASE, "hello")
    assert seen["models"] == ["accounts/main/models/hello-v1", "accounts/main/models/hello-v2"]
    assert all(s.startswith("accounts/main/deployedModels/") for s in seen["served"]) and len(set(seen["served"])) == 2
    assert seen["at zero"] == 0 and seen["scaled up"] == 1 and seen["usage"] >= 1
    assert "already exists" in seen["taken"] and seen["deployments left"] == 0
    log = sqlite3.connect(f"file:{server.home}/firekeep.db?mode=ro", uri=True)
    methods = {m for (m,) in log.execute("SELECT DISTINCT method FROM audit_outbox")}
    assert {"CreateDataset", "AnnounceUpload", "UploadFile", "DownloadDataset", "DeleteDataset", "CreateDeployment", "ScaleDeployment", "DeleteDeployment", "CreateDeployedModel",
            "DeleteDeployedModel", "CreateRlorTrainerJob"} <= methods, methods


def test_bucket_dataset_by_id(server):
    in_bucket(server, "in-the-bucket")
    seen = run(server, "bucket.py", BASE, "in-the-bucket", "from-bucket")
    assert seen["rows"] == "" and seen["name"] == "accounts/main/datasets/in-the-bucket"
    assert seen["strategy"] == "serverless" and seen["lora strategy"] == "serverless-lora" and min(seen["answers"]) >= 1


def test_the_loop_ends_when_a_job_fails(server):
    path = in_bucket(server, "changes")
    path.write_text(served.scored_rows(5, text="other"))
    seen = run(server, "failing.py", BASE, "changes", "never-made")
    assert seen["code"] == "ABORTED" and "is failed" in seen["details"] and "changed" in seen["details"], seen
    # Whoever is not that client sees the state.
    request = urllib.request.Request(server.base_url + "/v1/accounts/main/rlorTrainerJobs?filter=state=JOB_STATE_FAILED", headers={"Authorization": "Bearer " + server.key})
    failed = json.load(urllib.request.urlopen(request))["rlorTrainerJobs"]
    assert failed and failed[0]["status"]["message"] in seen["details"]


def test_errors(server):
    canary = "canary-7f3a9b"
    seen = run(server, "errors.py", BASE, CANARY=canary)
    assert seen["unsynced dataset"][0] == "NOT_FOUND", seen
    for name in ("wrong rows", "wrong rows again"):
        assert seen[name][0] == "INVALID_ARGUMENT" and "1" in seen[name][1], seen
    assert not seen["wrong rows listed"]
    assert seen["missing dataset"][0] == "ValueError" and "does not exist" in seen["missing dataset"][1]
    assert seen["lora on a base"][0] == "ValueError"
    assert seen["unknown model"][0] == seen["another's model"][0] == "NOT_FOUND"
    assert seen["unknown model"][1].replace("accounts/main/models/nothing", "X") == seen["another's model"][1].replace("accounts/acme/models/secret", "X")
    assert seen["rank"][0] in ("INVALID_ARGUMENT", "NOT_FOUND")
    assert seen["bad key"][0] in ("KeyError", "UNAUTHENTICATED"), seen["bad key"]
    assert canary not in str(seen) and canary not in server.log.read_text()


def test_other_address(tmp_path, tiny):
    """The address of gRPC alone: files still travel by that of HTTP."""
    port = served.free_port()
    s = serve(tmp_path, tiny, "--grpc-listen", f"127.0.0.1:{port}")
    s.cli("model", "import", BASE, str(tiny), "--wait")
    in_bucket(s, "rows")
    assert run(s, "bucket.py", BASE, "rows", "out", FIREWORKS_GATEWAY_ADDR=f"localhost:{port}")["rows"] == ""
    s.stop()


def test_restarts(tmp_path, tiny):
    """kill -9 during an upload, a step and a stream: trying again is enough."""
    s = serve(tmp_path, tiny)
    s.cli("model", "import", BASE, str(tiny), "--wait")
    p = start(s, "patient.py", BASE, "patient")
    stages = []
    while len(stages) < 3:
        line = p.stdout.readline()
        assert line, p.stderr.read()[-4000:]
        stages.append(line.strip())
        s.process.send_signal(signal.SIGKILL)
        s.process.wait()
        s.start()
    seen = result(p)
    assert stages == ["upload", "step", "stream"] and seen["failures"] >= 1
    assert seen["counts"] and min(seen["counts"]) >= 1 and seen["model"] == "accounts/main/models/patient"
    s.stop()
    s.cli("fsck", "--home", str(s.home))  # what it finds is its exit code


@pytest.mark.skipif(not os.path.exists(GGUF), reason="make weights")
def test_real_weights(tmp_path):
    """The page's block on SmolLM2-135M, at small size."""
    s = serve(tmp_path, Path(GGUF))
    s.cli("model", "import", "accounts/fireworks/models/smollm2-135m", GGUF, "--wait")
    seen = run(s, "seed_page.py", "accounts/fireworks/models/smollm2-135m", "real")
    assert seen["base"].strip() and len(seen["models"]) == 2
    s.stop()
