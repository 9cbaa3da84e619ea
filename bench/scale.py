"""What grows with the model and with the dataset, and what does not.

    python bench/scale.py

1. A step of a 1.7B-class Llama (random weights, float32, LoRA r16 on all linear layers), one group of 8 samples, 256 + 128
   tokens: it must fit into 12 GiB, weights included.
2. Processor time per token and peak memory from 8 to 512 groups (a small model): both must stay flat.

Results go to bench/scale.json in the form of bench/results.json.
"""

import argparse
import json
import os
from pathlib import Path

import bench

LIMIT = 12.0  # GiB
FLAT = 1.1  # 512 groups may cost this much more per token than 8


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--threads", type=int, default=os.cpu_count())
    p.add_argument("--skip-large", action="store_true", help="leave the 1.7B class out")
    p.add_argument("--out", default=str(bench.BENCH / "scale.json"))
    a = p.parse_args()
    engine = bench.build()
    rows = []

    def add(id, unit, ours, peer, peer_value, target):
        ratio = ours / peer_value
        rows.append({"id": id, "unit": unit, "ours": ours, "peer": peer, "peer_value": peer_value, "ratio": ratio, "target": target, "met": ratio <= target})
        print(f"{id:<28} {ours:>10.4g} {unit:<10} {ratio:6.2f}x of {peer} ({peer_value:.4g}), target <= {target}: {'ok' if ratio <= target else 'MISSED'}", flush=True)

    scale = lambda *more: bench.run([engine, "scale", "-threads", a.threads, *more])
    if not a.skip_large:
        got = scale("-class", "1.7b", "-groups", 1, "-samples", 8, "-prompt", 256, "-completion", 128)
        add("scale.1.7b.memory", "GiB", got["peak_bytes"] / 2**30, "the limit", LIMIT, 1.0)
        print(f"  {got['seconds']:.1f} s, {got['tokens'] / got['seconds']:.1f} tok/s")
    few, *more = [(n, scale("-class", "tiny", "-groups", n, "-samples", 4, "-prompt", 64, "-completion", 32)) for n in (8, 64, 512)]
    cost = lambda got: 1e6 * got["cpu_seconds"] / got["tokens"]
    for n, got in more:
        add(f"scale.{n}groups.cost", "us/token", cost(got), "8 groups", cost(few[1]), FLAT)
        add(f"scale.{n}groups.memory", "GiB", got["peak_bytes"] / 2**30, "8 groups", few[1]["peak_bytes"] / 2**30, 1.2)
    Path(a.out).write_text(json.dumps({"host": bench.host(), "rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
