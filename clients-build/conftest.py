"""The last Build SDK, unmodified, against a real server. It reads its addresses
when it is imported, so each program runs in a process of its own, told where the
server is by environment variables only."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
spec = importlib.util.spec_from_file_location("served", ROOT / "clients/conftest.py")
served = importlib.util.module_from_spec(spec)
spec.loader.exec_module(served)

tiny, BASE = served.tiny, served.BASE


def environment(server, **more: str) -> dict[str, str]:
    """What a user of this client sets."""
    base = os.environ | {
        "FIREWORKS_GATEWAY_ADDR": f"127.0.0.1:{server.port}", "FIREWORKS_API_BASE_URL": server.base_url, "FIREWORKS_API_KEY": server.key, "PYTHONDONTWRITEBYTECODE": "1"}
    return base | more


def start(server, program: str, *words: str, **more: str) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, HERE / "programs" / program, *words], env=environment(server, **more), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def result(process: subprocess.Popen, timeout: float = 240):
    """The last line of a program, which is JSON."""
    try:
        out, err = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
        raise AssertionError(f"{process.args} does not end\n{out}\n{err[-4000:]}") from None
    assert process.returncode == 0, f"{out}\n{err[-4000:]}"
    return json.loads(out.splitlines()[-1])


def run(server, program: str, *words: str, **more: str):
    return result(start(server, program, *words, **more))


def serve(folder: Path, model: Path, *flags: str, **options):
    """A server with a model under the name BASE and a bucket."""
    (folder / "bucket").mkdir()
    s = served.Server(folder / "home", {"fileRoots": [str(folder), str(model if model.is_dir() else model.parent)]}, *flags, **options)
    s.bucket = folder / "bucket"
    return s


@pytest.fixture(scope="session")
def server(tmp_path_factory, tiny):
    s = serve(tmp_path_factory.mktemp("firekeep"), tiny)
    s.cli("model", "import", BASE, str(tiny), "--wait")
    yield s
    s.stop()


def in_bucket(server, name: str, groups: int = 4) -> Path:
    """Registers rows that lie in the user's bucket; this client cannot do that."""
    path = server.bucket / f"{name}.jsonl"
    path.write_text(served.scored_rows(groups))
    server.cli("dataset", "create", name, "--from", f"file://{path}", "--wait")
    return path
