"""Schemathesis over our own OpenAPI document: no 500, no answer that the document does not have, nothing accepted that it calls invalid.

FIREKEEP_LONG=1 runs it for ten minutes instead of one.
"""

import json
import os
import re
import subprocess
import sys
import urllib.request
from pathlib import Path

from conftest import BASE, ROOT
from planted import Garden

SECONDS = int(os.environ.get("FIREKEEP_SCHEMATHESIS_SECONDS", 600 if os.environ.get("FIREKEEP_LONG") else 60))

# What would end the test for everybody else: other tests of this folder use the server.
DESTRUCTIVE = ["deleteAccount", "postAccountSuspend", "postEncryptionKeyShred", "postEncryptionKeyDisable", "postEncryptionKeySet", "postUsersUserApiKeysRotate",
               "putModelPolicy", "postModelSigningKeyRotate", "postIssuerRotate", "postIssuerExport", "UpdateQuota", "getAuditLogsFollow"]


def pin(document: dict, ids: dict[str, list[str]]) -> None:
    """Paths name what is there, so that the operations behind them are reached. What would take it away names whatever comes."""
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            # A mask leaves out what is required without it.
            operation["parameters"] = [p for p in operation.get("parameters", []) if p["name"] != "readMask"]
            takes = method == "delete" or path.endswith(":cancel")
            for p in operation["parameters"]:
                if p["name"] == "account" and "/deploymentShapes" in path:
                    continue  # of which all accounts have the same: none
                if p["in"] == "path" and p["name"] in ids and (p["name"] == "account" or not takes):
                    p["schema"] = {"type": "string", "enum": ids[p["name"]]}
            if path.endswith("completions"):
                body = operation["requestBody"]["content"]["application/json"]
                body["schema"]["allOf"].append({"properties": {"model": {"enum": [BASE]}}})


# There are none of these.
ABSENT = {"/v1/accounts/{account}/deploymentShapes/{shape}", "/v1/accounts/{account}/deploymentShapes/{shape}/versions/{version}", "/v1/accounts/{account}/deploymentShapes/{shape}/versions"}


def succeeded(server) -> dict[tuple[str, str], float]:
    """How often each route answered 200, by method and path."""
    request = urllib.request.Request(server.base_url + "/metrics", headers={"Authorization": f"Bearer {server.key}"})
    text = urllib.request.urlopen(request).read().decode()
    return {(m["method"].lower(), m["route"]): float(m["n"])
            for m in re.finditer(r'firekeep_http_requests_total\{method="(?P<method>\w+)",route="(?P<route>[^"]+)",status="200"\} (?P<n>\S+)', text)}


def test_schemathesis(server, tmp_path):
    document = json.load(urllib.request.urlopen(server.base_url + "/openapi.json"))
    garden = Garden(server)
    ids = garden.grow()
    asked = {(method, path) for path, operations in document["paths"].items() for method, o in operations.items()
             if method in ("get", "patch") and path.startswith("/v1/") and path not in ABSENT and o["operationId"] not in DESTRUCTIVE}
    unknown = [path for method, path in asked if method == "get" and not garden.has(path, ids)]
    assert not unknown, sorted(unknown)  # else all answers would be those about nothing
    pin(document, ids)
    before = succeeded(server)
    (tmp_path / "openapi.json").write_text(json.dumps(document))
    command = [Path(sys.executable).with_name("schemathesis"), "--config-file", Path(__file__).with_name("schemathesis.toml"), "run", tmp_path / "openapi.json",
               "--url", server.base_url, "-H", f"Authorization: Bearer {server.key}", "--suppress-health-check", "all", "--max-time", str(SECONDS), "--continue-on-failure", "--no-color"]
    if not os.environ.get("FIREKEEP_LONG"):  # the short run is the same every time, the long one looks further
        command += ["--generation-deterministic"]
    for name in DESTRUCTIVE:
        command += ["--exclude-operation-id", name]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS * 3 + 300, cwd=tmp_path)
    assert done.returncode == 0, done.stdout[-20000:] + done.stderr[-2000:]
    known = {o["operationId"] for p in document["paths"].values() for o in p.values()}
    assert set(DESTRUCTIVE) <= known, set(DESTRUCTIVE) - known
    if os.environ.get("FIREKEEP_LONG"):  # a short run does not come to every path and to a body that fits for every change
        after = succeeded(server)
        missed = {(method, path) for method, path in asked if after.get((method, path), 0) <= before.get((method, path), 0)}
        assert not missed, sorted(missed)


def test_document_is_valid(server):
    """By a validator of OpenAPI documents, in the venv of the oracles."""
    done = subprocess.run([ROOT / ".venv/bin/python", "-c",
                           "import json,sys; from openapi_spec_validator import validate; validate(json.load(sys.stdin))"],
                          input=urllib.request.urlopen(server.base_url + "/openapi.json").read(), capture_output=True)
    assert done.returncode == 0, done.stderr[-2000:]
