"""Does bfloat16 learn what float32 learns? The demo's task, several rounds, several seeds, both precisions.

    make build python-demo weights
    .venv/bin/python bench/precision_curve.py                                    # 30 rounds, 3 seeds: hours
    .venv/bin/python bench/precision_curve.py --rounds 2 --seeds 1 --held-out 20 # a short form

Each finished run is kept in bench/out/precision_curve/, so that a curve which was stopped goes on where it was
(--fresh begins again; --only float32 or bfloat16 runs one of the two and compares nothing).

The held-out reward of the last checkpoint must lie within 2 standard errors of float32's. The error of a difference
counts both spreads over seeds. Results go to bench/precision_curve.json; the exit code is 1 when the bound is missed.
"""

import argparse
import json
import math
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
KEPT = ROOT / "bench/out/precision_curve"
PRECISIONS = ("float32", "bfloat16")
sys.path[:0] = [str(ROOT / "sdk/python"), str(ROOT / "demo")]

import demo  # noqa: E402
import task  # noqa: E402
from servers import Firekeep, Storage  # noqa: E402

from firekeep import LLM, Client, Dataset, rollouts  # noqa: E402


class Precise(Firekeep):
    """A server that samples and trains in one precision."""

    def __init__(self, precision, *rest):
        self.precision = precision
        super().__init__(*rest)

    def _config(self, storage):
        return json.dumps(json.loads(super()._config(storage)) | {"precision": self.precision})


def learn(a, precision, seed, work):
    """One run; the held-out reward before and after, and the rounds' mean rewards."""
    folder = work / f"{precision}-{seed}"
    folder.mkdir()
    storage = Storage(folder / "bucket", folder / "storage.log")
    firekeep = Precise(precision, folder / "home", folder / "firekeep.log", storage)
    try:
        firekeep.run("model", "import", demo.BASE, os.environ.get("FIREKEEP_DEMO_GGUF", str(ROOT / ".cache/demo/SmolLM2-135M-Instruct.Q4_1.gguf")), "--wait")
        if storage.process is not None:
            secret = json.dumps({"access_key_id": storage.access, "secret_access_key": storage.secret})
            firekeep.run("connection", "create", "acme", "--url", storage.url + "/", "--secret-file", "-", stdin=secret)
        client = Client(base_url=firekeep.base_url, api_key=firekeep.key)
        held_out = task.held_out_prompts(a.held_out)
        llm = LLM(demo.BASE, client=client)
        before, curve = demo.evaluate(llm, held_out)["reward"], []
        for n in range(1, a.rounds + 1):
            draw = 1000 * seed + n
            groups = rollouts.sample(llm, task.training_prompts(a.prompts, seed=draw), task.reward, samples_per_prompt=demo.SAMPLES, max_tokens=demo.MAX_TOKENS, seed=draw)
            url = rollouts.write(groups, f"{storage.url}/rollouts/round-{n}.jsonl")
            dataset = Dataset.from_url(url, id=f"round-{n}")
            job = llm.reinforcement_step(dataset=dataset, output_model=f"curve-v{n}", epochs=1, learning_rate=a.learning_rate, seed=seed).wait(poll=0.2)
            llm = LLM(job.output_model, client=client)
            scores = [s for g in groups for s in g.scores]
            curve.append(sum(scores) / len(scores))
            print(f"{precision} seed {seed} round {n}: reward {curve[-1]:.3f}", flush=True)
        ran = json.loads(firekeep.run("step", "list", "--json"))
        jobs = ran.get("rlorTrainerJobs", ran) if isinstance(ran, dict) else ran
        used = {j["firekeep"]["ran"]["precision"] for j in jobs}
        if used != {precision}:
            sys.exit(f"the steps ran in {used}, not in {precision}")
        return {"before": before, "after": demo.evaluate(llm, held_out)["reward"], "curve": curve}
    finally:
        for server in (firekeep, storage):
            if server.process is not None:
                server.process.terminate()
                server.process.wait(20)


def run(a, precision, seed, work):
    """learn, unless a run of the same settings is kept."""
    settings = {k: getattr(a, k) for k in ("rounds", "prompts", "held_out", "learning_rate")} | {"precision": precision, "seed": seed}
    kept = KEPT / f"{precision}-{seed}.json"
    if kept.exists() and not a.fresh:
        was = json.loads(kept.read_text())
        if was["settings"] == settings:
            return was["run"]
    got = learn(a, precision, seed, work)
    KEPT.mkdir(parents=True, exist_ok=True)
    part = kept.with_suffix(".part")
    got["commit"] = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, cwd=ROOT).stdout.strip()
    part.write_text(json.dumps({"settings": settings, "run": got}))
    part.rename(kept)
    return got


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--rounds", type=int, default=30)
    p.add_argument("--seeds", type=int, default=3)
    p.add_argument("--prompts", type=int, default=16)
    p.add_argument("--held-out", type=int, default=100)
    p.add_argument("--learning-rate", type=float, default=5e-4)
    p.add_argument("--out", default=str(ROOT / "bench/precision_curve.json"))
    p.add_argument("--only", choices=PRECISIONS)
    p.add_argument("--fresh", action="store_true", help="forget the runs that are kept")
    a = p.parse_args()
    work = Path(tempfile.mkdtemp(prefix="firekeep-curve-"))
    try:
        runs = {precision: [run(a, precision, seed, work) for seed in range(1, a.seeds + 1)] for precision in PRECISIONS if a.only in (None, precision)}
    finally:
        shutil.rmtree(work, ignore_errors=True)
    if a.only:
        return
    ends = {precision: [r["after"] for r in rs] for precision, rs in runs.items()}
    means = {precision: statistics.mean(xs) for precision, xs in ends.items()}
    # Over seeds where there are several; else that of a mean of held-out rewards in [0, 1].
    errors = {p: statistics.stdev(xs) / math.sqrt(len(xs)) if len(xs) > 1 else math.sqrt(max(means[p] * (1 - means[p]), 0.01) / a.held_out) for p, xs in ends.items()}
    gap, bound = abs(means["bfloat16"] - means["float32"]), 2 * math.hypot(*errors.values())
    met = gap <= bound
    Path(a.out).write_text(json.dumps({"rounds": a.rounds, "runs": runs, "means": means, "gap": gap, "bound": bound, "met": met}, indent=2) + "\n")
    print(f"held-out reward {means['float32']:.3f} in float32, {means['bfloat16']:.3f} in bfloat16: {gap:.3f} apart, allowed {bound:.3f}: {'met' if met else 'MISSED'}")
    sys.exit(0 if met else 1)


if __name__ == "__main__":
    main()
