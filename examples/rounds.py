"""The loop that the three programs share: sample, score, write to the bucket, train, go on with the result.

A run that was stopped can be started again with the same --name: rounds whose step
exists are taken up where it is, and the journal of the round that was interrupted
keeps the groups that were finished.
"""

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from firekeep import LLM, AlreadyExistsError, Client, Curve, Dataset, NotFoundError, rollouts


@dataclass
class Task:
    """What a program brings: prompts by seed, a reward, and prompts that training never shows."""

    name: str
    prompts: Callable  # (count, seed) -> dicts with "messages" and whatever the reward needs
    held_out: Callable  # (count) -> the same
    reward: Callable  # (sample, example) -> a number, or a dict of them with "score"
    max_tokens: int


def arguments(doc):
    p = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--model", default="smollm2-135m", help="where training begins: an id or a full name")
    p.add_argument("--bucket", default=f"file://{Path.home()}/firekeep-examples", help="where rows and checkpoints go: s3://, gs:// or file://, readable by the server")
    p.add_argument("--name", default=time.strftime("%Y%m%d-%H%M%S"), help="of the run; give an old one to go on with it")
    p.add_argument("--journal", default=str(Path.home() / ".cache/firekeep-examples"), help="folder on this machine for what was sampled")
    p.add_argument("--rounds", type=int, default=6)
    p.add_argument("--group", type=int, default=8, help="samples per prompt")
    p.add_argument("--prompts", type=int, default=16, help="prompts per round")
    p.add_argument("--held-out", type=int, default=64, help="prompts of the measurement before and after")
    p.add_argument("--learning-rate", type=float, default=5e-4)
    p.add_argument("--report", help="write what happened to this file, as JSON")
    p.add_argument("--small", action="store_true", help="one round at the smallest useful size")
    a = p.parse_args()
    if a.small:
        a.rounds, a.prompts, a.group, a.held_out = 1, 4, 4, 8
    return a


def run(task, a):
    """Train `a.rounds` rounds and print the held-out reward before and after."""
    began = time.monotonic()
    client = Client()
    llm = base = LLM(a.model, client=client)
    held_out = task.held_out(a.held_out)
    before = measure(task, base, held_out)
    print(f"{task.name}: held-out reward of {base.model}: {before:.3f}", flush=True)
    curve, rounds = Curve("reward", title=task.name).show(), []  # grows in a notebook
    for n in range(1, a.rounds + 1):
        llm, line = one_round(task, a, n, llm)
        rounds.append(line)
        if line["reward"] is not None:  # a round that was taken up has no samples here
            curve.add(n, line["reward"])
    after = measure(task, llm, held_out)
    exported = export(client, llm, f"{a.bucket.rstrip('/')}/{task.name}-{a.name}/{llm.model.rsplit('/', 1)[-1]}/")
    if a.report:
        report = {"task": task.name, "before": before, "after": after, "rounds": rounds, "exported": exported, "seconds": round(time.monotonic() - began, 1)}
        Path(a.report).write_text(json.dumps(report, indent=2) + "\n")
    print(f"{task.name}: held-out reward {before:.3f} -> {after:.3f} ({a.rounds} rounds, {time.monotonic() - began:.0f} s); adapter in {exported}")


def one_round(task, a, n, llm):
    output = f"{task.name}-{a.name}-{n}"
    try:
        job, groups = llm.client.steps.get(output), []
        print(f"round {n}: {job.id} exists, {job.state}", flush=True)
    except NotFoundError:
        job, groups = start(task, a, n, llm, output)
    metrics = []
    job = job.wait(poll=0.2, on_metrics=metrics.append)
    Path(a.journal, f"{output}.jsonl").unlink(missing_ok=True)
    line = {
        "model": job.output_model, "samples": sum(len(g.samples) for g in groups), "reward": rollouts.mean_reward(groups) if groups else None, "dataset": job.resource["dataset"],
        "updates": len(metrics), "deadGroups": sum(m["deadGroups"] for m in metrics),
    }
    said = "taken up" if line["reward"] is None else f"reward {line['reward']:.3f}"
    print(f"round {n}: {said}, {line['updates']} updates, {line['deadGroups']} prompts without signal", flush=True)
    return LLM(job.output_model, client=llm.client), line


def start(task, a, n, llm, output):
    """Sample, score, write, and ask for the step."""
    groups = rollouts.sample(
        llm, task.prompts(a.prompts, n), task.reward, samples_per_prompt=a.group, max_tokens=task.max_tokens, seed=n,
        journal=str(Path(a.journal, f"{output}.jsonl")),
    )
    url = f"{a.bucket.rstrip('/')}/{task.name}-{a.name}/round-{n}.jsonl"
    try:
        rollouts.write(groups, url)
    except AlreadyExistsError:
        print(f"round {n}: {url} was written before the run was stopped; its rows are used", flush=True)
    return llm.reinforcement_step(Dataset.from_url(url, id=f"{output}-rows"), output, learning_rate=a.learning_rate, job_id=output), groups


def measure(task, llm, held_out):
    """Mean reward of one sampled answer per held-out prompt, the same luck each time."""
    return rollouts.mean_reward(rollouts.sample(llm, held_out, task.reward, samples_per_prompt=1, max_tokens=task.max_tokens, seed=77, progress=False))


def export(client, llm, destination):
    """The adapter in PEFT's format, signed, in the bucket: `firekeep model verify` checks it without the server."""
    return client.models.export(llm.model, destination).response["url"]
