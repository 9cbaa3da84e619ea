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
PEAK = "1280x1536x576"  # where MKL is measured around a step
SHAPES = ["1280x576x576", "1280x1536x576", "1280x576x1536", "1280x192x576", "128x49152x576"]


class Failed(Exception):
    pass


def run(command):
    """One measured process; its last line is JSON."""
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, cwd=ROOT)
    if done.returncode != 0:
        raise Failed((done.stderr.strip() or f"exit {done.returncode}").splitlines()[-1][:200])
    return json.loads(done.stdout.strip().splitlines()[-1])


def build():
    CACHE.mkdir(parents=True, exist_ok=True)
    engine = CACHE / "enginebench"
    subprocess.run(["go", "build", "-o", engine, "./bench/enginebench"], check=True, cwd=ROOT, env=os.environ | {"CGO_ENABLED": "0"})
    return engine


def prepare(peers=True):
    engine = build()
    weights = prepared(engine, "q4_1", GGUF)
    if not peers:
        return engine, weights
    if not PEER.exists():
        run([PYTHON, BENCH / "peer_torch.py", "prepare", "--gguf", GGUF, "--model", PEER])
    for kind in EVERY_KIND:
        if not stored(kind).exists():
            subprocess.run([PYTHON, BENCH / "convert_gguf.py", GGUF, stored(kind), kind], check=True)
    return engine, weights


def stored(kind):
    """The model in a format of its own: q4_1 is the file itself, the others have its values."""
    return Path(GGUF) if kind == "q4_1" else CACHE / f"{kind}.gguf"


def prepared(engine, kind, gguf, *more):
    """Weights of format 2, which keep the bits of their file."""
    weights = CACHE / f"smollm2.{kind}.2.prepared"
    if not weights.exists():
        run([engine, "prepare", *more, "-gguf", gguf, "-out", weights])
    return weights


class Table:
    def __init__(self):
        self.rows = []

    def add(self, id, unit, ours, peer, peer_value, ratio, target, note="", spread=None, most=False):
        """A row; most says that the target is an upper bound. A ratio of None: the comparison cannot run here."""
        met = None if ratio is None else (ratio <= target if most else ratio >= target)
        self.rows.append({
            "id": id, "unit": unit, "ours": ours, "peer": peer, "peer_value": peer_value, "ratio": ratio, "target": target, "met": met,
            **({"spread": spread} if spread else {}), **({"note": note} if note else {}),
        })
        shown = "not on this host" if ratio is None else f"{ratio:6.2f}x  (target {'<=' if most else '>='} {target})  {'ok' if met else 'MISSED'}"
        number = lambda v: f"{v:>10.4g}" if v is not None else f"{'-':>10}"
        line = f"{id:<34} {number(ours)} {number(peer_value)} {unit:<7} {shown}  vs {peer} {note}"
        print(f"\033[31m{line}\033[0m" if met is False and sys.stdout.isatty() else line, flush=True)


class Turns:
    """Processes that answer one line each, in turns of 0.3 s, so that the machine's drift hits all alike."""

    def __init__(self, engine, threads):
        commands = {
            "ours": [engine, "gemm", "-threads", threads],
            "mkl": [PYTHON, BENCH / "peer_torch.py", "gemm", "--threads", threads],
            "openblas": [PYTHON, BENCH / "peer_openblas.py", "--threads", threads],
        }
        if has_bfloat16():
            commands["bfloat16"] = [engine, "gemm", "-precision", "bfloat16", "-threads", threads]
        self.processes = {
            name: subprocess.Popen([str(c) for c in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
            for name, command in commands.items()
        }
        for name in self.processes:  # whoever still loads its libraries would take the machine from the first turns
            self.ask(name, PEAK if name in ("mkl", "openblas") else f"forward {PEAK}")

    def ask(self, name, line):
        process = self.processes[name]
        process.stdin.write(line + "\n")
        process.stdin.flush()
        return float(process.stdout.readline())

    def close(self):
        for process in self.processes.values():
            process.stdin.close()
            process.wait()


def gemm(table, turns, pairs):
    """One turn each; the ratio is the median of the turns'."""
    peers = {"mkl": ("PyTorch (MKL) float32", 0.97), "openblas": ("OpenBLAS (NumPy's) float32", 1.0)}
    for s in SHAPES:
        got = {name: [] for name in ("forward", "backward", *peers)}
        for _ in range(pairs):
            for way in ("forward", "backward"):
                got[way].append(turns.ask("ours", f"{way} {s}"))
            for peer in peers:
                got[peer].append(turns.ask(peer, s))
        for way in ("forward", "backward"):
            for peer, (name, target) in peers.items():
                ratio = statistics.median(x / y for x, y in zip(got[way], got[peer]))
                spread = {"ours": [round(x, 1) for x in got[way]], "peer": [round(x, 1) for x in got[peer]]}
                table.add(f"gemm.{way}.{s}.{peer}", "GFLOPS", statistics.median(got[way]), name, statistics.median(got[peer]), ratio, target, spread=spread)


def fastest(shape, micros):
    """The peer's best micro-batch, on one group: larger ones are tried while they help. The better of two rounds counts."""
    seconds = lambda micro: run([PYTHON, BENCH / "peer_torch.py", "step", "--model", PEER, "--groups", 1, *shape, "--micro", micro])["seconds"]
    tried = {}
    for micro in micros:
        try:
            tried[micro] = seconds(micro)
        except Failed as e:
            print(f"  peer at micro-batch {micro}: {e}")
            continue
        if tried[micro] > 1.25 * min(tried.values()):
            break
    for micro in [m for m, t in tried.items() if t < 1.25 * min(tried.values())]:
        tried[micro] = min(tried[micro], seconds(micro))
    best = min(tried, key=tried.get)
    print(f"  peer's seconds per group by micro-batch: { {k: round(v, 2) for k, v in tried.items()} }; {best} it is")
    return best


def step(table, turns, engine, weights, threads, id, groups, samples, prompt, completion, micros, repeats, target, share=0.65, precision="float32"):
    shape = ["--samples", samples, "--prompt", prompt, "--completion", completion, "--threads", threads]
    best = fastest(shape, micros) if len(micros) > 1 else micros[0]
    mine, theirs, peak = [], [], []  # pairs: the machine's speed drifts by a third, so the ratio is the median of the pairs'
    dashes = [f"-{c[2:]}" if isinstance(c, str) else c for c in shape]
    for _ in range(repeats):
        before = turns.ask("mkl", PEAK)
        mine.append(run([engine, "step", "-precision", precision, "-weights", weights, "-groups", groups, *dashes]))
        peak.append((before + turns.ask("mkl", PEAK)) / 2)
        theirs.append(run([PYTHON, BENCH / "peer_torch.py", "step", "--model", PEER, "--groups", groups, *shape, "--micro", best]))
    a, p = (statistics.median(x["seconds"] for x in xs) for xs in (mine, theirs))
    tokens = groups * samples * (prompt + completion)
    spread = {"ours": [x["seconds"] for x in mine], "peer": [x["seconds"] for x in theirs]}
    name = f"PyTorch+PEFT, micro-batch {best}"
    ratio = statistics.median(t["seconds"] / m["seconds"] for m, t in zip(mine, theirs))
    table.add(id, "s", a, name, p, ratio, target, f"{tokens / a:.0f} vs {tokens / p:.0f} tok/s", spread)
    ma, mp = (max(x["peak_bytes"] for x in xs) / 2**30 for xs in (mine, theirs))
    table.add(id + ".memory", "GiB", ma, name, mp, ma / mp, 0.25, most=True)
    rates = [m["gflop"] / m["seconds"] for m in mine]
    ratio = statistics.median(r / m for r, m in zip(rates, peak))
    table.add(id + ".gemm_share", "GFLOPS", statistics.median(rates), f"MKL float32 alone, {PEAK}", statistics.median(peak), ratio, share)


def llama(kind, threads, *more):
    return run([PYTHON, BENCH / "peer_llama.py", "--gguf", stored(kind), "--threads", threads, *more])["tokens_per_second"]


def alternate(table, id, target, kind, ours, peer, repeats):
    mine, theirs = [], []
    for _ in range(repeats):
        mine.append(ours())
        theirs.append(peer())
    ratio = statistics.median(x / y for x, y in zip(mine, theirs))
    table.add(id, "tok/s", statistics.median(mine), f"llama.cpp {kind}", statistics.median(theirs), ratio, target, spread={"ours": mine, "peer": theirs})


EVERY_KIND = ("q4_1", "f32", "f16", "q8_0")
# Sequences, precision, target and the peer's formats: one sequence is bandwidth, so it is compared with the same file, and a model that
# is stored in float32 with llama.cpp's float32.
DECODES = ((1, "float32", 1.0, ("q4_1",)), (1, "float32 file", 1.0, ("f32",)), (8, "float32", 1.0, EVERY_KIND), (32, "float32", 2.0, EVERY_KIND),
           (1, "bfloat16", 1.0, ("f16",)), (32, "bfloat16", 5.0, EVERY_KIND))


def decode(table, engine, weights, threads, repeats):
    """A format whose kernels fault on this host (llama.cpp's AMX, on some) is left out."""
    seen = {}  # what the peer gave, by format and sequences
    for sequences, precision, target, kinds in DECODES:
        id, file = f"decode.{sequences}", weights
        if precision == "float32 file":
            id, precision, file = id + ".f32", "float32", prepared(engine, "f32", stored("f32"))
        if precision == "bfloat16":
            id += ".bf16"
            if not has_bfloat16():
                table.add(id, "tok/s", None, "llama.cpp", None, None, target, "neither AMX nor AVX512-BF16")
                continue
            file = bfloat16_weights(engine)
        ours = lambda: run([engine, "decode", "-precision", precision, "-weights", file, "-sequences", sequences, "-threads", threads])["tokens_per_second"]
        for kind in kinds:
            if (kind, sequences) in seen:
                continue
            try:
                seen[kind, sequences] = llama(kind, threads, "--sequences", sequences)
                print(f"  llama.cpp {kind} at {sequences}: {seen[kind, sequences]:.1f} tok/s")
            except Failed as e:
                print(f"  llama.cpp {kind}: {e}")
        rates = {kind: seen[kind, sequences] for kind in kinds if (kind, sequences) in seen}
        if not rates:
            table.add(id, "tok/s", ours(), "llama.cpp", None, None, target, "the peer cannot run here")
            continue
        best = max(rates, key=rates.get)
        alternate(table, id, target, best, ours, lambda: llama(best, threads, "--sequences", sequences), repeats)
    ours = lambda: run([engine, "prefill", "-weights", weights, "-context", 512, "-threads", threads])["tokens_per_second"]
    try:
        alternate(table, "prefill.512", 1.0, "f32", ours, lambda: llama("f32", threads, "--prefill", "--context", 512), repeats)
    except Failed as e:
        table.add("prefill.512", "tok/s", ours(), "llama.cpp", None, None, 1.0, f"the peer cannot run here: {e}")


def has_bfloat16():
    return bool(set(host()["isa"]) & {"amx_bf16", "avx512_bf16"})


def bfloat16_weights(engine):
    """Prepared in both precisions."""
    return prepared(engine, "bf16", GGUF, "-precision", "bfloat16")


def bfloat16(table, turns, engine, threads, quick):
    """The same rows in bfloat16 against the same float32 peers; the targets are those of a processor with AMX."""
    steps = (("step.256+128x8.bf16", 1, 8, 256, 8.0), ("step.1024+128x8.bf16", 1, 8, 1024, 15.0), ("step.256+128x1.bf16", 8, 1, 256, 4.0))
    if not has_bfloat16():
        for id, unit, peer, target in (("gemm.bf16", "GFLOPS", "PyTorch (MKL) float32", 5.0), *((s[0], "s", "PyTorch+PEFT", s[-1]) for s in steps)):
            table.add(id, unit, None, peer, None, None, target, "neither AMX nor AVX512-BF16")
        return
    pairs = [(turns.ask("bfloat16", f"forward {PEAK}"), turns.ask("mkl", PEAK)) for _ in range(1 if quick else 5)]
    ours, mkl = zip(*pairs)
    table.add("gemm.bf16", "GFLOPS", statistics.median(ours), f"PyTorch (MKL) float32, {PEAK}", statistics.median(mkl), statistics.median(x / y for x, y in pairs), 5.0)
    weights = bfloat16_weights(engine)
    for id, groups, samples, prompt, target in steps[:1] if quick else steps:
        step(table, turns, engine, weights, threads, id, groups, samples, prompt, 128, (2,), 1, target, 1.8, "bfloat16")


def host():
    with open("/proc/cpuinfo") as f:
        text = f.read()
    model = next((l.split(":", 1)[1].strip() for l in text.splitlines() if l.startswith("model name")), platform.machine())
    flags = set(next((l.split(":", 1)[1].split() for l in text.splitlines() if l.startswith("flags")), []))
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, cwd=ROOT).stdout.strip()
    return {"cpu": model, "cores": os.cpu_count(), "isa": sorted(flags & {"avx2", "avx512f", "amx_tile", "amx_bf16", "avx512_bf16"}), "commit": commit}


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--quick", action="store_true")
    p.add_argument("--only", choices=["gemm", "step", "long", "single", "bf16", "decode"])
    p.add_argument("--out", default=str(BENCH / "results.json"))
    a = p.parse_args()
    wanted = lambda what, quick=True: a.only == what or a.only is None and (quick or not a.quick)
    threads = os.cpu_count()
    engine, weights = prepare()
    table, turns = Table(), Turns(engine, threads)
    print(f"{'row':<34} {'ours':>10} {'peer':>10}")
    if wanted("gemm"):
        gemm(table, turns, 1 if a.quick else 9)
    rows = (engine, weights, threads)
    if wanted("step"):
        step(table, turns, *rows, "step.256+128x8", 1, 8, 256, 128, (2,) if a.quick else (2, 1, 4, 8), 1 if a.quick else 5, 2.7)
    if wanted("long", quick=False):
        step(table, turns, *rows, "step.1024+128x8", 1, 8, 1024, 128, (2, 1, 4), 2, 5.0)
    if wanted("single", quick=False):
        step(table, turns, *rows, "step.256+128x1", 8, 1, 256, 128, (1, 2, 4, 8), 3, 1.3)
    if wanted("bf16"):
        bfloat16(table, turns, engine, threads, a.quick)
    turns.close()
    if wanted("decode"):
        decode(table, *rows, 1 if a.quick else 3)
    if a.only is None:
        Path(a.out).write_text(json.dumps({"host": host(), "quick": a.quick, "rows": table.rows}, indent=2) + "\n")
    missed = [r["id"] for r in table.rows if r["met"] is False]
    asked = sum(r["met"] is not None for r in table.rows)
    print(f"{asked - len(missed)} of {asked} rows meet their target" + (f"; missed: {', '.join(missed)}" if missed else ""))


if __name__ == "__main__":
    main()
