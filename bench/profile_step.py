"""Where the time of a step goes: a CPU profile, a flame graph and a table.

    make profile        one group of 8 samples, 256 + 128 tokens

Writes bench/out/profile/{cpu.pprof, flame.svg, table.txt}; open the first with `go tool pprof`.
"""

import argparse
import html
import os
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import bench

OUT = bench.BENCH / "out/profile"

# The first pattern that a frame of the stack matches says what the time was spent on.
PARTS = [
    ("attention", r"model\.(attend|\(\*Workspace\)\.attend|\(\*Workspace\)\.clearKey|sumHeads)"),
    ("norms", r"model\.normRows"),
    ("RoPE", r"model\.turnRows"),
    ("SwiGLU", r"model\.gateRows"),
    ("softmax and loss", r"model\.(scoreRows|logitGradients)|engine/rl\."),
    ("optimiser", r"engine/optim\."),
    ("residuals and copies", r"model\.(copyElements|addElements|addToRows)"),
    ("products: turning weights", r"kernel\.turn"),
    ("products: copying rows", r"kernel\.(copy512|copy256|gather|upright|\(\*scratch\)\.copyRows)"),
    ("products: tiles", r"kernel\.(\(\*product\)|tile|\(\*Pool\)\.run[A-Z]\w*BF16|\(\*productBF16\))"),
    ("waiting for the other threads", r"kernel\.(watch|pause|\(\*Pool\))"),
    ("data and batches", r"engine/train\.|engine/rows\.|model\."),
    ("runtime", r"runtime\."),
]


def traces(binary, profile):
    """Yields (seconds, stack from the root) of a CPU profile."""
    text = subprocess.run(["go", "tool", "pprof", "-traces", binary, profile], check=True, capture_output=True, text=True).stdout
    unit = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "mins": 60.0}
    for block in re.split(r"-{10,}\+-{10,}", text)[1:]:
        seconds, stack = 0.0, []
        for line in block.splitlines():
            found = re.match(r"\s*(?:([\d.]+)(ns|us|µs|ms|s|mins))?\s+(\S.*)$", line)
            if not found or line.lstrip().startswith("duration"):
                continue
            if found[1]:
                seconds = float(found[1]) * unit[found[2]]
            stack.append(re.sub(r"github.com/firekeep/firekeep/(internal/|bench/)?", "", found[3].removesuffix(" (inline)").strip()))
        if stack and seconds:
            yield seconds, stack[::-1]


def table(stacks):
    spent, total = defaultdict(float), 0.0
    for seconds, stack in stacks:
        total += seconds
        spent[next((name for name, pattern in PARTS if any(re.search(pattern, f) for f in stack)), "other")] += seconds
    lines = [f"{'part':<32} {'cpu s':>8} {'share':>7}"]
    lines += [f"{name:<32} {s:>8.2f} {s / total:>7.1%}" for name, s in sorted(spent.items(), key=lambda x: -x[1])]
    return "\n".join([*lines, f"{'total':<32} {total:>8.2f}"])


def flame(stacks, path, width=1400, row=17):
    root = {}

    def put(node, stack, seconds):
        for frame in stack:
            node = node.setdefault(frame, [0.0, {}])
            node[0] += seconds
            node = node[1]

    total = 0.0
    for seconds, stack in stacks:
        put(root, stack, seconds)
        total += seconds
    boxes, deepest = [], 0

    def draw(node, x, depth):
        nonlocal deepest
        for frame, (seconds, below) in sorted(node.items()):
            w = seconds / total * width
            if w >= 0.5:
                deepest = max(deepest, depth)
                boxes.append((x, depth, w, frame, seconds))
                draw(below, x, depth + 1)
            x += w

    draw(root, 0.0, 0)
    height = (deepest + 1) * row
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="monospace" font-size="11">']
    for x, depth, w, frame, seconds in boxes:
        y, hue = height - (depth + 1) * row, 10 + sum(map(ord, frame)) % 45
        name = html.escape(frame)
        out.append(f'<g><title>{name}: {seconds:.2f} s, {seconds / total:.1%}</title><rect x="{x:.1f}" y="{y}" width="{w:.1f}" height="{row - 1}" fill="hsl({hue},85%,65%)"/>')
        fits = int(w / 6.7) - 1
        if fits >= 3:
            out.append(f'<text x="{x + 3:.1f}" y="{y + 12}">{html.escape(frame[-fits:] if len(frame) > fits else frame)}</text>')
        out.append("</g>")
    path.write_text("\n".join([*out, "</svg>"]) + "\n")


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--groups", type=int, default=2)
    p.add_argument("--samples", type=int, default=8)
    p.add_argument("--prompt", type=int, default=256)
    p.add_argument("--completion", type=int, default=128)
    p.add_argument("--threads", type=int, default=os.cpu_count())
    a = p.parse_args()
    engine, weights = bench.prepare(peers=False)
    OUT.mkdir(parents=True, exist_ok=True)
    profile = OUT / "cpu.pprof"
    shape = [f for name in ("groups", "samples", "prompt", "completion", "threads") for f in (f"-{name}", getattr(a, name))]
    done = bench.run([engine, "step", "-weights", weights, *shape, "-profile", profile])
    stacks = list(traces(engine, profile))
    text = table(stacks)
    print(f"{done['seconds']:.2f} s, {done['gflop'] / done['seconds']:.0f} GFLOPS of useful products, level {done['level']}\n{text}")
    (OUT / "table.txt").write_text(text + "\n")
    flame(stacks, OUT / "flame.svg")
    print(f"flame graph: {OUT / 'flame.svg'}")


if __name__ == "__main__":
    main()
