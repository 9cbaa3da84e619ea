"""The official client's own helper for datasets of several files: over https only, and without a key."""

import subprocess

import pytest
from conftest import Server, scored_rows
from fireworks import Fireworks
from fireworks.lib.dataset_upload import DatasetUploadError, count_dataset_examples, upload_dataset_shards


@pytest.fixture
def shards(tmp_path):
    folder = tmp_path / "shards"
    folder.mkdir()
    for i in range(3):
        (folder / f"shard-{i}.jsonl").write_text(scored_rows(2, text=f"shard{i}"))
    return folder


def test_shards_over_tls(tmp_path, shards, monkeypatch):
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", "/CN=localhost",
                    "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost", "-keyout", str(key), "-out", str(cert)], check=True, capture_output=True)
    key.chmod(0o600)
    monkeypatch.setenv("SSL_CERT_FILE", str(cert))
    server = Server(tmp_path / "home", {"tls": {"cert": str(cert), "key": str(key)}}, "--grpc-listen", "-", scheme="https")
    try:
        client = Fireworks(base_url=server.base_url, api_key=server.key, account_id="main", max_retries=0)
        client.datasets.create(dataset_id="shards", dataset={"user_uploaded": {}, "example_count": str(count_dataset_examples(shards))})
        upload_dataset_shards(client, "shards", shards)
        d = client.datasets.get("shards")
        assert (d.state, d.example_count, d.status.code) == ("READY", "6", "OK")
    finally:
        server.stop()


def test_shards_need_tls(server, shards):
    client = Fireworks(base_url=server.base_url, api_key=server.key, account_id="main", max_retries=0)
    client.datasets.create(dataset_id="plain-shards", dataset={"user_uploaded": {}})
    with pytest.raises(DatasetUploadError, match="non-https"):
        upload_dataset_shards(client, "plain-shards", shards)
    client.datasets.delete("plain-shards")
