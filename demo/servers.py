"""Start the demo's two servers: an S3 server on loopback (the company's storage) and Firekeep."""

import ctypes
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def _die_with_parent():
    """The servers end with this process, also when it is killed."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def start(command, log, env=None):
    out = open(log, "ab")
    return subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env=env, preexec_fn=_die_with_parent)


class Storage:
    """The company's bucket: versitygw, a real S3 server, over a folder. `url` is file:// where it cannot start."""

    def __init__(self, folder, log):
        self.access, self.secret = "demo" + secrets.token_hex(6), secrets.token_hex(20)
        self.endpoint = f"http://127.0.0.1:{free_port()}"
        self.folder = folder
        self.process = None
        program = ROOT / ".cache/bin/versitygw"
        folder.mkdir(parents=True)
        if program.exists():
            env = {"PATH": os.environ["PATH"], "ROOT_ACCESS_KEY": self.access, "ROOT_SECRET_KEY": self.secret}
            command = [str(program), "--port", self.endpoint.removeprefix("http://"), "posix", str(folder)]
            self.process = start(command, log, env)
            self.client = self._wait()
        if self.process is None:
            self.url = f"file://{folder}/acme-rft"
            (folder / "acme-rft").mkdir()
        else:
            self.client.create_bucket(Bucket="acme-rft")
            self.url = "s3://acme-rft"

    def _wait(self):
        import boto3
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError, ClientError

        # The user's own credentials: rollouts.write finds them like any boto3 program.
        os.environ |= {
            "AWS_ACCESS_KEY_ID": self.access, "AWS_SECRET_ACCESS_KEY": self.secret,
            "AWS_ENDPOINT_URL_S3": self.endpoint, "AWS_DEFAULT_REGION": "us-east-1",
        }
        client = boto3.client("s3", config=Config(retries={"max_attempts": 1}, connect_timeout=1))
        for _ in range(100):
            try:
                client.list_buckets()
                return client
            except (BotoCoreError, ClientError):
                if self.process.poll() is not None:
                    break
                time.sleep(0.1)
        self.process = None
        return None


class Firekeep:
    """`firekeep serve` in a temporary home, and its command line."""

    def __init__(self, home, log, storage):
        self.home = home
        self.port = free_port()
        self.base_url = f"http://127.0.0.1:{self.port}"
        home.mkdir(parents=True)
        (home / "config.json").write_text(self._config(storage))
        self.process = start([str(ROOT / "bin/firekeep"), "serve", "--home", str(home), "--listen", f"127.0.0.1:{self.port}"], log, self._env())
        key = home / "admin.key"
        for _ in range(300):
            if self.process.poll() is not None:
                sys.exit(f"demo: firekeep serve ended; its log is {log}")
            if key.exists() and self._ready():
                break
            time.sleep(0.1)
        else:
            sys.exit(f"demo: firekeep serve is not ready after 30 s; its log is {log}")
        self.key = key.read_text().strip()

    def _config(self, storage):
        import json

        config = {"fileRoots": [str(ROOT / ".cache/demo"), str(storage.folder)]}
        if storage.process is not None:
            config["s3"] = {"endpoint": storage.endpoint, "region": "us-east-1", "pathStyle": True, "allowLoopback": True}
        return json.dumps(config, indent=2)

    def _ready(self):
        import urllib.error
        import urllib.request

        try:
            return urllib.request.urlopen(self.base_url + "/readyz", timeout=1).status == 200
        except (urllib.error.URLError, OSError):
            return False

    def _env(self):
        return {k: v for k, v in os.environ.items() if not k.startswith("AWS_")}

    def run(self, *words, stdin=None):
        """A CLI command; its output, or the end of the demo with its error."""
        env = self._env() | {"FIREKEEP_BASE_URL": self.base_url, "FIREKEEP_API_KEY": self.key}
        done = subprocess.run([str(ROOT / "bin/firekeep"), *words], input=stdin, capture_output=True, text=True, env=env)
        if done.returncode != 0:
            sys.exit(f"demo: firekeep {' '.join(words)}: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout
