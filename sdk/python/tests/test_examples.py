"""The programs of examples/ run end to end, at their smallest size, on the demo model."""

import json
import os
import subprocess
import sys

import pytest
from conftest import ROOT


@pytest.mark.parametrize("program, task", [("arithmetic", "arithmetic"), ("json_extraction", "json-extraction"), ("brevity", "brevity")])
def test_example(real, server, client, tmp_path, program, task):
    report = tmp_path / "report.json"
    command = [
        sys.executable, ROOT / f"examples/{program}.py", "--small", "--name", "test", "--bucket", f"file://{server.bucket}/examples",
        "--journal", tmp_path / "journal", "--report", report,
    ]
    env = os.environ | {"PYTHONPATH": str(ROOT / "sdk/python")}
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{task}: held-out reward" in done.stdout.splitlines()[-1] and "->" in done.stdout.splitlines()[-1]
    said = json.loads(report.read_text())
    assert 0 <= said["before"] <= 1 and 0 <= said["after"] <= 1
    (round,) = said["rounds"]
    assert round["samples"] == 16 and round["updates"] >= 1 and 0 <= round["reward"] <= 1

    # The server says the same: the rows were accepted, the step is done, the checkpoint is signed.
    dataset = client.datasets.get(round["dataset"])
    assert (dataset.state, dataset.example_count, dataset.firekeep["samplesPerGroup"]) == ("READY", 4, 4)
    assert int(dataset.firekeep["withLogprobs"]) == 16
    (step,) = [s for s in client.steps.list() if s.output_model == round["model"]]
    assert step.is_completed and client.models.get(round["model"]).signed
    folder = said["exported"].removeprefix("file://")
    server.cli("model", "verify", folder, "--key", str(server.home / "model-signing.pub"))
    assert not list((tmp_path / "journal").iterdir())

    if program != "arithmetic":  # the loop is the same
        return
    # Started again under its name, a program takes up what is there and samples no round anew.
    again = subprocess.run([*command, "--bucket", f"file://{server.bucket}/again"], env=env, capture_output=True, text=True)
    assert again.returncode == 0, again.stdout + again.stderr
    assert "JOB_STATE_COMPLETED" in again.stdout
    assert json.loads(report.read_text())["after"] == said["after"]
