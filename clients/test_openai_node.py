"""The official `openai` client for Node, in openai.mjs."""

import os
import shutil
import subprocess
from pathlib import Path

from conftest import BASE, ROOT


def test_node(server):
    modules = Path(os.environ.get("FIREKEEP_OPENAI_NODE", ROOT / ".cache/openai-node"))
    node = shutil.which("node", path=f"{ROOT}/.venv/bin:{os.environ['PATH']}")
    assert node and (modules / "node_modules/openai").is_dir(), "scripts/install-node puts it there"
    done = subprocess.run([node, Path(__file__).with_name("openai.mjs"), modules, server.base_url + "/v1", server.key, BASE],
                          capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and done.stdout.strip() == "ok", done.stderr
