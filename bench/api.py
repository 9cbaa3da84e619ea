"""What the API costs around the engine, by the clock of a client on the same host.

    make bench-api
    bench/api.py [--tiny DIR] [--steps N] [--no-load] [--out FILE]

- POST of a step -> its engine begins with the first tokens. What the step reads is one small file here.
- the last update is done -> the new checkpoint answers a chat.
- 64 clients stream answers while a step runs: failed requests, time to the first token.

The base is served before anything is measured, as it is between two rounds of a loop. The beginning and the end
of training are those of the step's own metrics: `time` is behind an update, `seconds` what it took. Results go to
bench/api.json.
"""

import argparse
import ctypes
import datetime
import http.client
import json
import os
import platform
import signal
import socket
import statistics
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
GGUF = str(Path(os.environ.get("FIREKEEP_DEMO_GGUF", ROOT / ".cache/demo/SmolLM2-135M-Instruct.Q4_1.gguf")).resolve())
BINARY = os.environ.get("FIREKEEP_BINARY", str(ROOT / "bin/firekeep"))
BASE = "accounts/fireworks/models/bench"
ACCOUNT = "/v1/accounts/main/"


class Server:
    def __init__(self, work):
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.port = s.getsockname()[1]
        home = work / "home"
        home.mkdir(mode=0o700)
        (home / "config.json").write_text(json.dumps({"fileRoots": [str(work), str(Path(GGUF).parent)]}))
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = open(work / "serve.log", "ab")
        self.process = subprocess.Popen([BINARY, "serve", "--home", home, "--listen", f"127.0.0.1:{self.port}"], stdout=self.log, stderr=self.log,
                                        preexec_fn=lambda: ctypes.CDLL(None).prctl(1, signal.SIGKILL))
        for _ in range(600):
            try:
                urllib.request.urlopen(self.url + "/readyz", timeout=1)
                break
            except OSError:
                time.sleep(0.1)
        self.key = (home / "admin.key").read_text().strip()

    def call(self, method, path, body=None):
        """status and JSON of a request."""
        request = urllib.request.Request(self.url + path, None if body is None else json.dumps(body).encode(),
                                         {"Authorization": "Bearer " + self.key, "Content-Type": "application/json"}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=120) as r:
                return r.status, json.load(r)
        except urllib.error.HTTPError as e:
            return e.code, json.load(e)

    def must(self, *request):
        status, answer = self.call(*request)
        assert status == 200, (request[:2], status, answer)
        return answer

    def cli(self, *words):
        subprocess.run([BINARY, *words], check=True, stdout=subprocess.DEVNULL, env=os.environ | {"FIREKEEP_BASE_URL": self.url, "FIREKEEP_API_KEY": self.key})


def rows(groups, samples, words):
    for g in range(groups):
        yield {"samples": [{"messages": [{"role": "user", "content": f"Say hello to guest {g}. " + "Be kind. " * words},
                                         {"role": "assistant", "content": f"hello guest {g}, " * (1 + (g + i) % 3) + "welcome " * words}],
                            "evals": {"score": float((g + i) % samples)}} for i in range(samples)]}


def dataset(server, work, name, groups, words):
    path = work / f"{name}.jsonl"
    path.write_text("".join(json.dumps(r) + "\n" for r in rows(groups, 4, words)))
    server.cli("dataset", "create", name, "--from", f"file://{path}", "--wait")


def seconds(text):
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def chat(server, model):
    return server.call("POST", "/v1/chat/completions", {"model": model, "messages": [{"role": "user", "content": "hello"}], "max_tokens": 1, "temperature": 0})


def one_step(server, number):
    """(POST -> first token trained, last update -> answering), in ms."""
    model = f"latency-v{number}"
    posted = time.time()
    server.must("POST", ACCOUNT + f"rlorTrainerJobs?rlorTrainerJobId=latency-{number}", {
        "dataset": "small", "trainingConfig": {"baseModel": BASE, "outputModel": model, "epochs": 1, "learningRate": 1e-5}})
    while True:
        status, answer = chat(server, f"accounts/main/models/{model}")
        answered = time.time()
        if status == 200:
            break
        assert status == 404, (status, answer)
        if answered - posted > 2:  # it may have failed
            job = server.must("GET", ACCOUNT + f"rlorTrainerJobs/latency-{number}")
            assert job["state"] not in ("JOB_STATE_FAILED",), job["status"]
        time.sleep(0.004)
    metrics = server.must("GET", ACCOUNT + f"rlorTrainerJobs/latency-{number}/metrics")["metrics"]
    first, last = metrics[0], metrics[-1]
    return 1000 * (seconds(first["time"]) - first["seconds"] - posted), 1000 * (answered - seconds(last["time"]))


def stream(server, seed):
    """Seconds to the first token and to the end of one streamed answer."""
    began = time.monotonic()
    c = http.client.HTTPConnection("127.0.0.1", server.port, timeout=300)
    c.request("POST", "/v1/chat/completions", json.dumps({"model": BASE, "messages": [{"role": "user", "content": f"Tell me about number {seed}."}],
              "max_tokens": 16, "seed": seed, "stream": True, "ignore_eos": True}), {"Authorization": "Bearer " + server.key})
    r = c.getresponse()
    if r.status != 200:
        return r.status, r.read()[:200]
    first, text = None, b""
    while line := r.readline():
        if first is None and line.startswith(b"data: {"):
            first = time.monotonic() - began
        text = line if line.strip() else text
    c.close()
    if text.strip() != b"data: [DONE]":
        return 0, text[:200]
    return 200, (first, time.monotonic() - began)


def under_load(server, clients, rounds):
    """Clients that stream while a step runs, each one answer after another."""
    server.must("POST", ACCOUNT + "rlorTrainerJobs?rlorTrainerJobId=load", {
        "dataset": "large", "trainingConfig": {"baseModel": BASE, "outputModel": "load-v1", "epochs": 50, "learningRate": 1e-5}})
    state = lambda: server.must("GET", ACCOUNT + "rlorTrainerJobs/load")["state"]
    while state() not in ("JOB_STATE_RUNNING", "JOB_STATE_FAILED"):
        time.sleep(0.05)
    results, lock = [], threading.Lock()

    def client(i):
        for k in range(rounds):
            r = stream(server, 1000 * i + k)
            with lock:
                results.append(r)

    began = time.monotonic()
    threads = [threading.Thread(target=client, args=(i,)) for i in range(clients)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    took, running = time.monotonic() - began, state() == "JOB_STATE_RUNNING"
    updates = len(server.must("GET", ACCOUNT + "rlorTrainerJobs/load/metrics")["metrics"])
    server.call("POST", ACCOUNT + "rlorTrainerJobs/load:cancel", {})
    first = sorted(r[1][0] for r in results if r[0] == 200)
    failed = [r for r in results if r[0] != 200]
    return {"clients": clients, "requests": len(results), "failed": len(failed), "failures": [str(f) for f in failed[:3]], "stepRanThroughout": running,
            "updatesMeanwhile": updates, "seconds": round(took, 2), "answersPerSecond": round(len(first) / took, 2),
            "firstTokenP50Ms": round(1000 * first[len(first) // 2], 1), "firstTokenP99Ms": round(1000 * first[min(len(first) - 1, int(len(first) * 0.99))], 1)}


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--tiny", metavar="DIR", help="measure with the tests' tiny model instead of the demo model")
    p.add_argument("--steps", type=int, default=7)
    p.add_argument("--clients", type=int, default=64)
    p.add_argument("--rounds", type=int, default=3, help="answers per client under load")
    p.add_argument("--no-load", action="store_true", help="leave out the clients during a step")
    p.add_argument("--out", default=str(ROOT / "bench/api.json"))
    a = p.parse_args()
    with tempfile.TemporaryDirectory(prefix="firekeep-api-") as work:
        server = Server(Path(work))
        try:
            source = GGUF
            if a.tiny:
                source = f"{work}/tiny"
                subprocess.run([a.tiny, source], check=True)
            server.cli("model", "import", BASE, source, "--wait")
            dataset(server, Path(work), "small", 2, 0)
            dataset(server, Path(work), "large", 8, 8)
            assert chat(server, BASE)[0] == 200
            one_step(server, 0)  # warms the files
            pairs = [one_step(server, i + 1) for i in range(a.steps)]
            result = {"host": platform.platform(), "cores": os.cpu_count(), "model": "tiny" if a.tiny else Path(GGUF).name, "steps": a.steps,
                      "postToFirstTokenMs": [round(x, 1) for x, _ in pairs], "lastUpdateToAnswerMs": [round(y, 1) for _, y in pairs],
                      "postToFirstTokenMedianMs": round(statistics.median(x for x, _ in pairs), 1),
                      "lastUpdateToAnswerMedianMs": round(statistics.median(y for _, y in pairs), 1)}
            if not a.no_load:
                result["load"] = under_load(server, a.clients, a.rounds)
        finally:
            server.process.terminate()
            server.process.wait(60)
    Path(a.out).write_text(json.dumps(result, indent=1) + "\n")
    for name, value, target in (("POST -> first trained token", result["postToFirstTokenMedianMs"], 150),
                                ("last update -> answering chat", result["lastUpdateToAnswerMedianMs"], 300)):
        print(f"{name:<32} {value:8.1f} ms   target {target} ms   {'met' if value <= target else 'MISSED'}")
    load = result.get("load")
    if load is None:
        return
    print(f"{load['clients']} clients during a step: {load['requests']} answers, {load['failed']} failed, first token p50 {load['firstTokenP50Ms']} ms, p99 {load['firstTokenP99Ms']} ms,"
          f" {load['updatesMeanwhile']} updates meanwhile")
    if load["failed"]:
        raise SystemExit(f"failed requests: {load['failures']}")


main()
