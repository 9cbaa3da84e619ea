"""models/{id}:import from a real bucket: versitygw, an S3 server, on loopback. The official client has no method for it, so its plain calls make the requests."""

import json
import os
import secrets
import subprocess
import time

import boto3
import botocore
import fireworks
import pytest
from conftest import ROOT, Server, die_with_parent, free_port

PROGRAM = os.environ.get("FIREKEEP_VERSITYGW", ROOT / ".cache/bin/versitygw")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """The company's bucket."""
    access, secret, port = "AK" + secrets.token_hex(8), secrets.token_hex(20), free_port()
    folder = tmp_path_factory.mktemp("s3")
    process = subprocess.Popen([PROGRAM, "--port", f"127.0.0.1:{port}", "--quiet", "posix", folder], env={"PATH": os.environ["PATH"], "ROOT_ACCESS_KEY": access, "ROOT_SECRET_KEY": secret},
                               stdin=subprocess.DEVNULL, preexec_fn=die_with_parent)
    s3 = boto3.client("s3", endpoint_url=f"http://127.0.0.1:{port}", aws_access_key_id=access, aws_secret_access_key=secret, region_name="us-east-1",
                      config=botocore.config.Config(s3={"addressing_style": "path"}, retries={"max_attempts": 20, "mode": "standard"}))
    s3.create_bucket(Bucket="acme")
    s3.endpoint, s3.pair = f"http://127.0.0.1:{port}", {"access_key_id": access, "secret_access_key": secret}
    yield s3
    process.terminate()
    process.wait(20)


@pytest.fixture(scope="module")
def beside(tmp_path_factory, store):
    """A server that reaches this store."""
    s = Server(tmp_path_factory.mktemp("beside") / "home", {"s3": {"endpoint": store.endpoint, "region": "us-east-1", "pathStyle": True, "allowLoopback": True}})
    yield s
    s.stop()


@pytest.fixture
def client(beside):
    return fireworks.Fireworks(api_key=beside.key, account_id="main", base_url=beside.base_url, max_retries=0)


def start(client, name: str, **source):
    client.models.create(model_id=name, model={"kind": "HF_BASE_MODEL"})
    return begin(client, name, **source)


def begin(client, name: str, **source):
    return client.post(f"/v1/accounts/main/models/{name}:import", body={"awsS3Source": {"s3Bucket": "acme", **source}}, cast_to=object)


def ended(client, operation: dict) -> dict:
    """The operation, waited for as its contract says."""
    for _ in range(600):
        operation = client.get(f"/v1/{operation['name']}", cast_to=object)
        if operation.get("done"):
            return operation
        time.sleep(0.1)
    raise AssertionError(operation)


def test_import_from_s3(client, beside, store, tiny):
    for path in tiny.iterdir():
        store.upload_file(str(path), "acme", f"models/tiny/{path.name}")
    # Nobody has connected the bucket: the operation ends with the reason.
    error = ended(client, start(client, "unconnected", s3Path="models/tiny"))["error"]
    assert "connection" in error["message"], error
    done = subprocess.run([os.environ.get("FIREKEEP_BINARY", ROOT / "bin/firekeep"), "connection", "create", "acme", "--url", "s3://acme/models/"], input=json.dumps(store.pair), text=True,
                          env=os.environ | {"FIREKEEP_BASE_URL": beside.base_url, "FIREKEEP_API_KEY": beside.key}, capture_output=True)
    assert done.returncode == 0, done.stderr
    with pytest.raises(fireworks.BadRequestError, match="awsS3Source.accessKeyId"):
        start(client, "from-s3", s3Path="models/tiny", accessKeyId="AK", accessSecret="planted")
    operation = begin(client, "from-s3", s3Path="models/tiny")
    assert "error" not in ended(client, operation)
    m = client.models.get(model_id="from-s3")
    assert m.state == "READY" and m.kind == "HF_BASE_MODEL"
    answer = client.completions.create(model=m.name, prompt="hello", max_tokens=4, temperature=0, logprobs=1)
    # The same bytes by another way are the same model.
    beside.cli("model", "import", "by-cli", "s3://acme/models/tiny/", "--wait")
    other = client.completions.create(model="accounts/main/models/by-cli", prompt="hello", max_tokens=4, temperature=0, logprobs=1)
    assert answer.choices[0].text == other.choices[0].text and answer.choices[0].logprobs.token_logprobs == other.choices[0].logprobs.token_logprobs
    with pytest.raises(fireworks.BadRequestError, match="takes no import"):
        begin(client, "from-s3", s3Path="models/tiny")


def test_import_says_what_is_missing(client, store):
    """Nothing at the path, and a file that is cut off."""
    error = ended(client, start(client, "from-nothing", s3Path="models/none"))["error"]
    assert "models/none" in error["message"] and error["code"] == "INVALID_ARGUMENT", error
    body = store.get_object(Bucket="acme", Key="models/tiny/model.safetensors")["Body"].read()
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        store.copy_object(Bucket="acme", Key=f"models/cut/{name}", CopySource={"Bucket": "acme", "Key": f"models/tiny/{name}"})
    store.put_object(Bucket="acme", Key="models/cut/model.safetensors", Body=body[: len(body) // 2])
    error = ended(client, start(client, "from-cut", s3Path="models/cut"))["error"]
    assert "model.safetensors" in error["message"], error
    assert client.models.get(model_id="from-cut").state != "READY"
