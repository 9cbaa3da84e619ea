"""A large dataset validates and trains its first batch with flat memory.

    python bench/large_dataset.py --bytes 2000000000

Prints seconds and the peak resident memory of serve and of each engine child.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "sdk/python"), str(ROOT / "sdk/python/tests")]

from conftest import BASE, Server  # noqa: E402

from firekeep import LLM, Client, Dataset  # noqa: E402


def generate(path, size):
    """Rows of 4 samples, about 4 KB each, all different."""
    written = n = 0
    filler = "the quick brown fox jumps over the lazy dog " * 20
    with open(path, "w", buffering=1 << 22) as f:
        while written < size:
            samples = [
                {"messages": [{"role": "user", "content": f"Task {n}: {filler}"}, {"role": "assistant", "content": f"answer {n} {i}"}], "evals": {"score": float((n + i) % 4)}}
                for i in range(4)
            ]
            line = json.dumps({"samples": samples}) + "\n"
            f.write(line)
            written += len(line)
            n += 1
    return n


class Peaks(threading.Thread):
    """Peak resident memory of a process and of each of its children, by /proc."""

    def __init__(self, pid):
        super().__init__(daemon=True)
        self.pid, self.peak, self.done = pid, {}, False

    def run(self):
        while not self.done:
            for pid in [self.pid, *self._children()]:
                try:
                    fields = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
                    self.peak[pid] = max(self.peak.get(pid, 0), int(fields["RssAnon"].split()[0]) * 1024)
                except (OSError, KeyError):
                    pass
            time.sleep(0.05)

    def _children(self):
        try:
            return [int(p) for t in Path(f"/proc/{self.pid}/task").iterdir() for p in (t / "children").read_text().split()]
        except OSError:
            return []


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--bytes", type=float, default=2e9)
    a = p.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="firekeep-large-"))
    try:
        rows = generate(folder / "large.jsonl", a.bytes)
        subprocess.run(["go", "run", "./internal/e2e/tinymodel", str(folder / "tiny")], cwd=ROOT, check=True)
        server = Server(folder / "home", [folder])
        server.cli("model", "import", BASE, str(folder / "tiny"), "--wait")
        peaks = Peaks(server.process.pid)
        peaks.start()
        client = Client(base_url=server.base_url, api_key=server.key)
        begin = time.monotonic()
        dataset = Dataset.from_url(f"file://{folder}/large.jsonl", id="large").sync(client, timeout=3600)
        validated = time.monotonic()
        job = LLM(BASE, client=client).reinforcement_step(dataset=dataset, output_model="large-v1")
        first = None
        while first is None:
            job = job.get()
            job.raise_if_bad_state()
            first = next(iter(job.metrics()), None)
            time.sleep(0.05)
        trained = time.monotonic()
        job.cancel()
        peaks.done = True
        size = (folder / "large.jsonl").stat().st_size
        print(json.dumps({
            "bytes": size, "rows": rows, "validate_seconds": round(validated - begin, 1), "validate_mb_per_second": round(size / 1e6 / (validated - begin)),
            "first_batch_seconds": round(trained - validated, 1), "serve_peak_mb": peaks.peak[server.process.pid] >> 20,
            "children_peak_mb": sorted((v >> 20 for k, v in peaks.peak.items() if k != server.process.pid), reverse=True),
        }))
        server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
