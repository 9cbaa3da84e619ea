"""The part of test_tls.py that runs where port 443 is free: in a network of its own."""

import os
import ssl
import subprocess

from conftest import BASE, ROOT, in_bucket, run, serve, served, start


def test_one_tls_address(tmp_path, tiny):
    subprocess.run(["go", "run", "./internal/e2e/privateca", str(tmp_path), "localhost"], cwd=ROOT, check=True)
    served.free_port = lambda: 443
    context = ssl.create_default_context(cafile=tmp_path / "ca.pem")
    s = serve(tmp_path, tiny, "--grpc-listen", "-", "--tls-cert", str(tmp_path / "cert.pem"), "--tls-key", str(tmp_path / "key.pem"), scheme="https", context=context)
    os.environ["FIREKEEP_CA_FILE"] = str(tmp_path / "ca.pem")  # of the command line
    s.cli("model", "import", BASE, str(tiny), "--wait")
    in_bucket(s, "rows")
    trust = {"GRPC_DEFAULT_SSL_ROOTS_FILE_PATH": str(tmp_path / "ca.pem"), "SSL_CERT_FILE": str(tmp_path / "ca.pem")}
    address = {"FIREWORKS_GATEWAY_ADDR": "localhost:443", "FIREWORKS_API_BASE_URL": "https://localhost"}
    assert run(s, "seed_page.py", BASE, "secure", **address, **trust)["models"][0] == "accounts/main/models/secure-v1"
    assert run(s, "bucket.py", BASE, "rows", "out", **address, **trust)["rows"] == ""
    # Without the CA the client does not speak to it.
    stranger = start(s, "bucket.py", BASE, "rows", "never", **address)
    _, err = stranger.communicate(timeout=120)
    assert stranger.returncode != 0 and "CERTIFICATE_VERIFY_FAILED" in err.upper(), err[-2000:]
    s.stop()
