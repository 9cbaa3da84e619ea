"""The main job, end to end: rollouts -> rows in your bucket -> a reinforcement step -> the next round.

Nothing here is special: a real S3 server plays the company's storage, a real
language model learns by the wire API, and reward code stays in this process.
"""

import argparse
import json
import math
import os
import shutil
import struct
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "sdk/python"), str(ROOT / "demo")]

import report  # noqa: E402
import task  # noqa: E402
from servers import Firekeep, Storage  # noqa: E402

from firekeep import LLM, Client, Dataset, rollouts  # noqa: E402

BASE = "accounts/fireworks/models/smollm2-135m"
SAMPLES = 8
MAX_TOKENS = 48


def main():
    a = arguments()
    began = time.monotonic()
    out = Path(a.out)
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    work = Path(tempfile.mkdtemp(prefix="firekeep-demo-"))
    try:
        storage = Storage(work / "bucket", out / "storage.log")
        firekeep = Firekeep(work / "home", out / "firekeep.log", storage)
        say(f"firekeep serves on {firekeep.base_url}; the company's bucket is {storage.url}")
        result = run(a, firekeep, storage, out)
    finally:
        for server in ("firekeep", "storage"):
            process = getattr(locals().get(server), "process", None)
            if process is not None:
                process.terminate()
                process.wait(20)
        shutil.rmtree(work, ignore_errors=True)
    result["seconds"] = round(time.monotonic() - began, 1)
    (out / "report.json").write_text(json.dumps(result, indent=2) + "\n")
    failed = [name for name, ok in result["conditions"].items() if not ok]
    for name in failed:
        say(f"NOT MET: {name}")
    before, after = result["held_out_reward"]["before"], result["held_out_reward"]["after"]
    print(f"demo: held-out reward {before:.3f} -> {after:.3f} ({a.rounds} rounds, {result['seconds']:.0f} s)")
    sys.exit(1 if failed else 0)


def arguments():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--rounds", type=int, default=6)
    p.add_argument("--prompts", type=int, default=16)
    p.add_argument("--held-out", type=int, default=100)
    p.add_argument("--learning-rate", type=float, default=5e-4)
    p.add_argument("--out", default=str(ROOT / "demo/out"))
    return p.parse_args()


def run(a, firekeep, storage, out):
    firekeep.run("model", "import", BASE, os.environ.get("FIREKEEP_DEMO_GGUF", str(ROOT / ".cache/demo/SmolLM2-135M-Instruct.Q4_1.gguf")), "--wait")
    if storage.process is not None:
        secret = json.dumps({"access_key_id": storage.access, "secret_access_key": storage.secret})
        firekeep.run("connection", "create", "acme", "--url", storage.url + "/", "--secret-file", "-", stdin=secret)
    client = Client(base_url=firekeep.base_url, api_key=firekeep.key)
    held_out = task.held_out_prompts(a.held_out)
    base = LLM(BASE, client=client)

    say(f"scoring {len(held_out)} held-out prompts with the base model")
    before = evaluate(base, held_out)
    say(f"held-out reward of the base model: {before['reward']:.3f}")

    llm, curve = base, []
    for n in range(1, a.rounds + 1):
        llm, line = one_round(a, n, llm, storage, client)
        curve.append(line)
        report.draw(curve, before["reward"], None, out / "reward.png")
    after = evaluate(llm, held_out)
    say(f"held-out reward of {llm.model}: {after['reward']:.3f}")
    report.draw(curve, before["reward"], after["reward"], out / "reward.png")

    perplexity = {"before": base_perplexity(base, before["samples"]), "after": base_perplexity(base, after["samples"])}
    distinct = len({s.text for s in after["samples"]}) / len(after["samples"])
    report.write_samples(out / "samples.md", held_out, before["samples"], after["samples"])
    chat(base, llm, held_out[0])

    destination = f"{storage.url}/exports/{llm.model.rsplit('/', 1)[-1]}/"
    firekeep.run("model", "export", llm.model, "--to", destination, "--wait")
    fetch(storage, destination, out / "adapter")
    adapter = check_adapter(out / "adapter")
    say(f"exported to {destination}: {adapter['tensors']} tensors, rank {adapter['rank']}")

    gain = after["reward"] - before["reward"]
    return {
        "rounds": curve, "held_out_prompts": len(held_out), "base_perplexity": perplexity, "distinct": distinct, "adapter": adapter,
        "held_out_reward": {"before": before["reward"], "after": after["reward"]},
        "conditions": {
            f"gain {gain:.3f} >= 0.2": gain >= 0.2,
            f"base-model perplexity {perplexity['after']:.2f} <= 1.5 x {perplexity['before']:.2f}": perplexity["after"] <= 1.5 * perplexity["before"],
            f"distinct answers {distinct:.2f} >= 0.5": distinct >= 0.5,
        },
    }


def one_round(a, n, llm, storage, client):
    """Sample with the newest checkpoint, score here, write to our bucket, train, and go on with the result."""
    begin = time.monotonic()
    prompts = task.training_prompts(a.prompts, seed=n)
    groups = rollouts.sample(llm, prompts, task.reward, samples_per_prompt=SAMPLES, max_tokens=MAX_TOKENS, seed=n)
    sampled = time.monotonic()
    url = rollouts.write(groups, f"{storage.url}/rollouts/round-{n}.jsonl")
    job = llm.reinforcement_step(dataset=Dataset.from_url(url, id=f"round-{n}"), output_model=f"demo-v{n}", epochs=1, learning_rate=a.learning_rate)
    metrics = []
    job = job.wait(poll=0.2, on_metrics=metrics.append)
    scores = [s for g in groups for s in g.scores]
    mean = sum(scores) / len(scores)
    trained = time.monotonic()
    line = {
        "round": n, "reward": mean, "loss": metrics[-1]["loss"], "grad_norm": metrics[-1]["gradNorm"], "dead_groups": metrics[-1]["deadGroups"],
        "rollout_seconds": round(sampled - begin, 1), "step_seconds": round(trained - sampled, 1), "model": job.output_model,
    }
    bar = "#" * round(40 * mean)
    say(f"round {n}: reward {mean:.3f} |{bar:<40}|  rollouts {line['rollout_seconds']} s, step {line['step_seconds']} s, live groups {a.prompts - line['dead_groups']}/{a.prompts}")
    return LLM(job.output_model, client=client), line


def evaluate(llm, held_out):
    groups = rollouts.sample(llm, held_out, task.reward, samples_per_prompt=1, max_tokens=MAX_TOKENS, seed=77, concurrency=32)
    samples = [g.samples[0] for g in groups]
    return {"samples": samples, "reward": sum(s.evals["score"] for s in samples) / len(samples)}


def base_perplexity(base, samples):
    """exp of the mean negative log-prob per answer token under the base model."""

    def answer_logprobs(s):
        scored = base.completions.create(s.token_ids, max_tokens=1, echo=True, logprobs=True, temperature=0)
        content = scored.choices[0].logprobs["content"]
        return [entry["logprob"] for entry in content[len(s.token_ids) - len(s.logprobs) : len(s.token_ids)]]

    with ThreadPoolExecutor(16) as pool:
        logprobs = [x for xs in pool.map(answer_logprobs, samples) for x in xs]
    return math.exp(-sum(logprobs) / len(logprobs))


def chat(base, llm, example):
    question = example["messages"]
    print(f"\n  you     {question[0]['content'].splitlines()[-1]}")
    for name, model in (("before", base), ("after", llm)):
        answer = model.chat.completions.create(question, temperature=0, max_tokens=MAX_TOKENS)
        print(f"  {name:<7} {answer.choices[0].message.content!r}")
    print()


def fetch(storage, url, folder):
    """Bring the exported files from the bucket to demo/out/adapter."""
    folder.mkdir()
    if storage.process is None:
        for path in Path(url.removeprefix("file://")).iterdir():
            shutil.copy(path, folder)
        return
    bucket, _, prefix = url.removeprefix("s3://").partition("/")
    for item in storage.client.list_objects_v2(Bucket=bucket, Prefix=prefix)["Contents"]:
        storage.client.download_file(bucket, item["Key"], str(folder / item["Key"].removeprefix(prefix)))


def check_adapter(folder):
    """What PEFT requires: the config's keys and, per target and layer, A [r, in] and B [out, r] in float32."""
    config = json.loads((folder / "adapter_config.json").read_text())
    assert config["peft_type"] == "LORA" and config["task_type"] == "CAUSAL_LM", config
    rank, targets = config["r"], config["target_modules"]
    with open(folder / "adapter_model.safetensors", "rb") as f:
        header = json.loads(f.read(struct.unpack("<Q", f.read(8))[0]))
    header.pop("__metadata__", None)
    for name, tensor in header.items():
        assert name.startswith("base_model.model.model.layers.") and tensor["dtype"] == "F32", name
        assert name.split(".")[-3] in targets, name
        assert tensor["shape"][0 if name.endswith("lora_A.weight") else 1] == rank, name
    assert len(header) == 2 * 30 * len(targets), len(header)
    return {"rank": rank, "targets": targets, "tensors": len(header)}


def say(text):
    print(f"[{time.strftime('%H:%M:%S')}] {text}", flush=True)


if __name__ == "__main__":
    main()
