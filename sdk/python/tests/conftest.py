"""A real server on a temporary home, with a tiny random model, for every test of this folder."""

import ctypes
import json
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from firekeep import Client

ROOT = Path(__file__).resolve().parents[3]
GGUF = Path(os.environ.get("FIREKEEP_DEMO_GGUF", ROOT / ".cache/demo/SmolLM2-135M-Instruct.Q4_1.gguf"))
BASE = "accounts/fireworks/models/tiny"
REAL = "accounts/fireworks/models/smollm2-135m"


class Server:
    def __init__(self, home: Path, roots: list[Path]):
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            port = s.getsockname()[1]
        self.home, self.base_url, self.log = home, f"http://127.0.0.1:{port}", home.parent / (home.name + ".log")
        home.mkdir(mode=0o700)
        # In float32 every host samples the same texts.
        (home / "config.json").write_text(json.dumps({"fileRoots": [str(r) for r in roots], "precision": "float32"}))
        out = open(self.log, "ab")
        self.process = subprocess.Popen(
            [ROOT / "bin/firekeep", "serve", "--home", home, "--listen", f"127.0.0.1:{port}"], stdout=out, stderr=out,
            stdin=subprocess.DEVNULL, preexec_fn=lambda: ctypes.CDLL(None).prctl(1, signal.SIGKILL),
        )
        for _ in range(300):
            assert self.process.poll() is None, self.log.read_text()[-4000:]
            try:
                if urllib.request.urlopen(self.base_url + "/readyz", timeout=1).status == 200:
                    break
            except (urllib.error.URLError, OSError):
                time.sleep(0.1)
        else:
            raise AssertionError(self.log.read_text()[-4000:])
        self.key = (home / "admin.key").read_text().strip()

    def cli(self, *words: str, stdin: str | None = None) -> str:
        env = os.environ | {"FIREKEEP_BASE_URL": self.base_url, "FIREKEEP_API_KEY": self.key}
        done = subprocess.run([ROOT / "bin/firekeep", *words], env=env, input=stdin, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def stop(self):
        self.process.terminate()
        assert self.process.wait(30) == 0, self.log.read_text()[-4000:]


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("firekeep")
    (folder / "bucket").mkdir()
    subprocess.run(["go", "run", "./internal/e2e/tinymodel", str(folder / "tiny")], cwd=ROOT, check=True)
    s = Server(folder / "home", [folder, GGUF.parent])
    s.bucket = folder / "bucket"
    s.cli("model", "import", BASE, str(folder / "tiny"), "--wait")
    yield s
    s.stop()


@pytest.fixture(scope="session")
def real(server):
    """A model that speaks, imported once."""
    server.cli("model", "import", REAL, str(GGUF), "--wait")
    return REAL


@pytest.fixture
def client(server, monkeypatch):
    monkeypatch.setenv("FIREKEEP_BASE_URL", server.base_url)
    monkeypatch.setenv("FIREKEEP_API_KEY", server.key)
    return Client()


def scored_rows(groups: int, samples: int = 4, text: str = "hello"):
    """Rows with rewards that differ within each group."""
    for g in range(groups):
        yield {
            "samples": [
                {
                    "messages": [{"role": "user", "content": f"Say {text} {g}"}, {"role": "assistant", "content": f"{text} " * (1 + (g + i) % 3)}],
                    "evals": {"score": float((g + i) % samples)},
                }
                for i in range(samples)
            ]
        }
