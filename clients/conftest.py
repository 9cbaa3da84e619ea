"""A real server on a temporary home, with a tiny random model, for the tests of clients that others wrote.

The tests of a folder clients* run in the venv of its name (.cache/clients-venv):
these clients pin what the rest pins otherwise, and nothing here imports the
`firekeep` package.
"""

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

ROOT = Path(__file__).resolve().parents[1]
BASE = "accounts/fireworks/models/tiny"


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def die_with_parent():
    """A server ends with this process, also when it is killed."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


class Server:
    """`firekeep serve` on a home of its own."""

    def __init__(self, home: Path, config: dict, *flags: str, scheme: str = "http", context=None):
        self.home, self.scheme, self.log = home, scheme, home.parent / (home.name + ".log")
        self.flags, self.context, self.port = flags, context, free_port()
        self.base_url = f"{scheme}://127.0.0.1:{self.port}"
        home.mkdir(mode=0o700)
        (home / "config.json").write_text(json.dumps(config))
        self.start()
        self.key = (home / "admin.key").read_text().strip()

    def start(self):
        out = open(self.log, "ab")
        self.process = subprocess.Popen(
            [os.environ.get("FIREKEEP_BINARY", ROOT / "bin/firekeep"), "serve", "--home", self.home, "--listen", f"127.0.0.1:{self.port}", *self.flags],
            stdout=out, stderr=out, stdin=subprocess.DEVNULL, preexec_fn=die_with_parent,
        )
        for _ in range(600):
            assert self.process.poll() is None, self.log.read_text()[-4000:]
            try:
                if urllib.request.urlopen(self.base_url + "/readyz", timeout=2, context=self.context).status == 200:
                    return
            except (urllib.error.URLError, OSError):
                time.sleep(0.1)
        raise AssertionError(self.log.read_text()[-4000:])

    def cli(self, *words: str, key: str | None = None) -> str:
        env = os.environ | {"FIREKEEP_BASE_URL": self.base_url, "FIREKEEP_API_KEY": key or self.key}
        done = subprocess.run([os.environ.get("FIREKEEP_BINARY", ROOT / "bin/firekeep"), *words], env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def stop(self):
        self.process.terminate()
        assert self.process.wait(60) == 0, self.log.read_text()[-4000:]


@pytest.fixture(scope="session")
def tiny(tmp_path_factory) -> Path:
    """The directory of a tiny random base model in the form of Hugging Face."""
    folder = tmp_path_factory.mktemp("tiny") / "tiny"
    subprocess.run(["go", "run", "./internal/e2e/tinymodel", str(folder)], cwd=ROOT, check=True)
    return folder


@pytest.fixture(scope="session")
def server(tmp_path_factory, tiny):
    folder = tmp_path_factory.mktemp("firekeep")
    (folder / "bucket").mkdir()
    s = Server(folder / "home", {"fileRoots": [str(folder), str(tiny)]})
    s.bucket = folder / "bucket"
    s.cli("model", "import", BASE, str(tiny), "--wait")
    yield s
    s.stop()


def scored_rows(groups: int, samples: int = 4, text: str = "hello") -> str:
    """Rows with rewards that differ within each group, as JSONL."""
    rows = []
    for g in range(groups):
        rows.append(json.dumps({"samples": [
            {"messages": [{"role": "user", "content": f"Say {text} {g}"}, {"role": "assistant", "content": f"{text} " * (1 + (g + i) % 3)}],
             "evals": {"score": float((g + i) % samples)}}
            for i in range(samples)]}))
    return "\n".join(rows) + "\n"
