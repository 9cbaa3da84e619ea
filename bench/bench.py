"""The ratio table: Firekeep's engine against what people use today, on this machine, in this run.

    make bench          every row
    make bench-quick    under 5 minutes: fewer repeats, smaller step

A step is compared in seconds for identical samples, with the peer at the fastest
micro-batch that fits; memory is each process's own peak. Pairs alternate; values
are medians, ratios are medians of the pairs' ratios. Results go to bench/results.json.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BENCH = ROOT / "bench"
CACHE = ROOT / ".cache/bench"
GGUF = os.environ.get("FIREKEEP_DEMO_GGUF", str(ROOT / ".cache/demo/SmolLM2-135M-Instruct.Q4_1.gguf"))
PEER = CACHE / "peer-float32"
PYTHON = sys.executable
SHAPES = ["1280x576x576", "1280x1536x576", "1280x576x1536", "1280x192x576", "128x49152x576"]


class Failed(Exception):
    pass


def run(command):
    """One measured process; its last line is JSON."""
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, cwd=ROOT)
    if done.returncode != 0:
        raise Failed((done.stderr.strip() or f"exit {done.returncode}").splitlines()[-1][:200])
    return json.loads(done.stdout.strip().splitlines()[-1])


def prepare():
    CACHE.mkdir(parents=True, exist_ok=True)
    engine = CACHE / "enginebench"
    subprocess.run(["go", "build", "-o", engine, "./bench/enginebench"], check=True, cwd=ROOT, env=os.environ | {"CGO_ENABLED": "0"})
    weights = CACHE / "smollm2.prepared"
    run([engine, "prepare", "-gguf", GGUF, "-out", weights])
    if not PEER.exists():
        run([PYTHON, BENCH / "peer_torch.py", "prepare", "--gguf", GGUF, "--model", PEER])
    for kind in ("f32", "f16", "q8_0"):
        out = CACHE / f"{kind}.gguf"
        if not out.exists():
            subprocess.run([PYTHON, BENCH / "convert_gguf.py", GGUF, out, kind], check=True)
    return engine, weights


class Table:
    def __init__(self):
        self.rows = []

    def add(self, id, unit, ours, peer, peer_value, ratio, target, note="", spread=None):
        met = None if ratio is None else (ratio <= target if id.endswith(".memory") else ratio >= target)
        self.rows.append({
            "id": id, "unit": unit, "ours": ours, "peer": peer, "peer_value": peer_value, "ratio": ratio, "target": target, "met": met,
            **({"spread": spread} if spread else {}), **({"note": note} if note else {}),
        })
        sign = "<=" if id.endswith(".memory") else ">="
        colour = "\033[31m" if met is False and sys.stdout.isatty() else ""
        shown = "peer cannot run here" if ratio is None else f"{ratio:6.2f}x  (target {sign} {target})  {'ok' if met else 'MISSED'}"
        values = f"{ours:>12.4g} {peer_value:>12.4g} {unit:<7}" if peer_value is not None else f"{ours:>12.4g} {'-':>12} {unit:<7}"
        print(f"{colour}{id:<34} {values} {shown}  vs {peer} {note}\033[0m" if colour else f"{id:<34} {values} {shown}  vs {peer} {note}", flush=True)


def gemm(table, engine, threads, pairs):
    """Ours and the peer's take turns of 0.3 s, so that the machine's drift hits both; the ratio is the median of the pairs'."""
    open_pipe = lambda command: subprocess.Popen([str(c) for c in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    mine = open_pipe([engine, "gemm", "-threads", threads])
    torch = open_pipe([PYTHON, BENCH / "peer_torch.py", "gemm", "--threads", threads])

    def ask(process, line):
        process.stdin.write(line + "\n")
        process.stdin.flush()
        return float(process.stdout.readline())

    for s in SHAPES:
        for way in ("forward", "backward"):
            a, p = zip(*((ask(mine, f"{way} {s}"), ask(torch, s)) for _ in range(pairs)))
            ratio = statistics.median(x / y for x, y in zip(a, p))
            spread = {"ours": [round(x, 1) for x in a], "peer": [round(x, 1) for x in p]}
            table.add(f"gemm.{way}.{s}", "GFLOPS", statistics.median(a), "PyTorch (MKL) float32", statistics.median(p), ratio, 0.8, spread=spread)
    for process in (mine, torch):
        process.stdin.close()
        process.wait()


def step(table, engine, weights, threads, id, groups, samples, prompt, completion, micros, repeats, target):
    shape = ["--groups", groups, "--samples", samples, "--prompt", prompt, "--completion", completion, "--threads", threads]
    tried = {}
    for micro in micros:  # the peer's best setting, on one group
        try:
            one = ["--groups", 1, *shape[2:], "--micro", micro]
            tried[micro] = run([PYTHON, BENCH / "peer_torch.py", "step", "--model", PEER, *one])["seconds"]
        except Failed as e:
            print(f"  peer at micro-batch {micro}: {e}")
    best = min(tried, key=tried.get)
    print(f"  peer's seconds per group by micro-batch: { {k: round(v, 2) for k, v in tried.items()} }; {best} it is")
    mine, theirs = [], []  # pairs: the machine's speed drifts by a third, so the ratio is the median of the pairs'
    dashes = [f"-{c[2:]}" if isinstance(c, str) else c for c in shape]
    for _ in range(repeats):
        mine.append(run([engine, "step", "-weights", weights, *dashes]))
        theirs.append(run([PYTHON, BENCH / "peer_torch.py", "step", "--model", PEER, *shape, "--micro", best]))
    a, p = (statistics.median(x["seconds"] for x in xs) for xs in (mine, theirs))
    tokens = groups * samples * (prompt + completion)
    spread = {"ours": [x["seconds"] for x in mine], "peer": [x["seconds"] for x in theirs]}
    name = f"PyTorch+PEFT, micro-batch {best}"
    ratio = statistics.median(t["seconds"] / m["seconds"] for m, t in zip(mine, theirs))
    table.add(id, "s", a, name, p, ratio, target, f"{tokens / a:.0f} vs {tokens / p:.0f} tok/s", spread)
    ma, mp = (max(x["peak_bytes"] for x in xs) / 2**30 for xs in (mine, theirs))
    table.add(id + ".memory", "GiB", ma, name, mp, ma / mp, 0.5)


def decode(table, engine, weights, threads, repeats):
    for sequences, target in ((1, 1.0), (8, 1.0), (32, 2.0)):
        best, kind = 0.0, None
        for fmt in ("f32", "f16", "q8_0"):
            try:
                got = run([PYTHON, BENCH / "peer_llama.py", "--gguf", CACHE / f"{fmt}.gguf", "--sequences", sequences, "--threads", threads])
            except Failed as e:
                print(f"  llama.cpp {fmt}: {e}")
                continue
            print(f"  llama.cpp {fmt} at {sequences}: {got['tokens_per_second']:.1f} tok/s")
            if sequences == 1 and fmt != "f32":
                continue  # one sequence is bandwidth: compare the same bytes per weight
            if got["tokens_per_second"] > best:
                best, kind = got["tokens_per_second"], fmt
        if kind is None:
            table.add(f"decode.{sequences}", "tok/s", run([engine, "decode", "-weights", weights, "-sequences", sequences, "-threads", threads])["tokens_per_second"], "llama.cpp", None, None, target)
            continue
        mine, theirs = [], []
        for _ in range(repeats):
            mine.append(run([engine, "decode", "-weights", weights, "-sequences", sequences, "-threads", threads])["tokens_per_second"])
            theirs.append(run([PYTHON, BENCH / "peer_llama.py", "--gguf", CACHE / f"{kind}.gguf", "--sequences", sequences, "--threads", threads])["tokens_per_second"])
        a, p = statistics.median(mine), statistics.median(theirs)
        ratio = statistics.median(x / y for x, y in zip(mine, theirs))
        table.add(f"decode.{sequences}", "tok/s", a, f"llama.cpp {kind}", p, ratio, target, spread={"ours": mine, "peer": theirs})


def host():
    with open("/proc/cpuinfo") as f:
        text = f.read()
    model = next((l.split(":", 1)[1].strip() for l in text.splitlines() if l.startswith("model name")), platform.machine())
    flags = set(next((l.split(":", 1)[1].split() for l in text.splitlines() if l.startswith("flags")), []))
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, cwd=ROOT).stdout.strip()
    return {"cpu": model, "cores": os.cpu_count(), "isa": sorted(flags & {"avx2", "avx512f", "amx_tile", "avx512_bf16"}), "commit": commit}


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--quick", action="store_true")
    p.add_argument("--only", choices=["gemm", "step", "long", "single", "decode"])
    p.add_argument("--out", default=str(BENCH / "results.json"))
    a = p.parse_args()
    threads = os.cpu_count()
    engine, weights = prepare()
    table = Table()
    print(f"{'row':<34} {'ours':>12} {'peer':>12}")
    if a.only in (None, "gemm"):
        gemm(table, engine, threads, 1 if a.quick else 9)
    if a.quick and a.only in (None, "step"):
        step(table, engine, weights, threads, "step.256+128x8", 1, 8, 256, 128, (2, 8), 1, 2.0)
    elif a.only in (None, "step"):
        step(table, engine, weights, threads, "step.256+128x8", 1, 8, 256, 128, (1, 2, 4, 8), 7, 2.0)
    if a.only == "long" or not (a.only or a.quick):
        step(table, engine, weights, threads, "step.1024+128x8", 1, 8, 1024, 128, (1, 2, 4), 3, 2.0)
    if a.only == "single" or not (a.only or a.quick):
        step(table, engine, weights, threads, "step.256+128x1", 8, 1, 256, 128, (2, 4, 8), 3, 1.0)
    if a.only in (None, "decode"):
        decode(table, engine, weights, threads, 1 if a.quick else 5)
    if not a.only:
        Path(a.out).write_text(json.dumps({"host": host(), "quick": a.quick, "rows": table.rows}, indent=2) + "\n")
    missed = [r["id"] for r in table.rows if r["met"] is False]
    print(f"{len(table.rows) - len(missed)} of {len(table.rows)} rows meet their target" + (f"; missed: {', '.join(missed)}" if missed else ""))


if __name__ == "__main__":
    main()
