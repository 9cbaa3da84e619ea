"""What docs/inference.md shows is what happens: its shell examples run against a real server."""

import json
import os
import re
import subprocess

import pytest
from conftest import BASE, ROOT

TEXT = (ROOT / "docs/inference.md").read_text()
EXAMPLES = re.findall(r"^```sh\n(.*?)^```\n(?:\n?```json\n(.*?)^```)?", TEXT, re.M | re.S)


def shape(v):
    """The keys of an answer, to any depth; lists by their first item."""
    if isinstance(v, dict):
        return {k: shape(x) for k, x in v.items()}
    if isinstance(v, list):
        return [shape(v[0])] if v else []
    return type(v).__name__ if not isinstance(v, (int, float)) or isinstance(v, bool) else "number"


@pytest.mark.parametrize("script,shown", EXAMPLES, ids=[s.strip().splitlines()[-1][:50] for s, _ in EXAMPLES])
def test_example(server, script, shown):
    env = os.environ | {"FIREKEEP_BASE_URL": server.base_url, "FIREKEEP_API_KEY": server.key, "MODEL": BASE}
    done = subprocess.run(["bash", "-euo", "pipefail", "-c", script], env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and done.stdout, done.stderr + done.stdout
    if shown:
        assert shape(json.loads(done.stdout)) == shape(json.loads(shown)), done.stdout


def test_there_are_examples():
    assert len(EXAMPLES) >= 8 and sum(bool(shown) for _, shown in EXAMPLES) >= 4
