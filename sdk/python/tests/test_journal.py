"""A run of rollouts that is killed goes on where it was; requests are tried again."""

import http.server
import json
import os
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request

import pytest
from conftest import BASE, ROOT

from firekeep import LLM, Client, FirekeepError, RateLimitError, rollouts
from firekeep._journal import Journal

PROMPTS = [{"messages": [{"role": "user", "content": f"Say {i}"}], "n": i} for i in range(6)]
OPTIONS = {"samples_per_prompt": 3, "max_tokens": 8, "seed": 5, "progress": False}
KILLED = """
import os, signal, sys
from test_journal import BASE, OPTIONS, PROMPTS
from firekeep import LLM, rollouts

def reward(sample, example):
    if example["n"] == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return len(sample.text)

rollouts.sample(LLM(BASE), PROMPTS, reward, concurrency=1, journal=sys.argv[1], **OPTIONS)
"""


def length(sample, example):
    return len(sample.text)


@pytest.fixture
def asked(client, monkeypatch):
    """The prompts that were sent to be sampled."""
    sent, really = [], Client.arequest

    async def arequest(self, method, path, **options):
        if "completions" in path:
            sent.append(options["body"]["messages"][0]["content"])
        return await really(self, method, path, **options)

    monkeypatch.setattr(Client, "arequest", arequest)
    return sent


def test_killed_in_the_middle_and_run_again(server, client, asked, tmp_path):
    path = tmp_path / "run.jsonl"
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT / "sdk/python"), str(ROOT / "sdk/python/tests")])}
    killed = subprocess.run([sys.executable, "-c", KILLED, str(path)], env=env, capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    whole = path.read_bytes()
    finished = [json.loads(line)["key"].split("-")[0] for line in whole.splitlines()[1:]]
    assert 1 <= len(finished) < len(PROMPTS)
    path.write_bytes(whole + whole.splitlines()[-1][:40])  # and the last line is torn
    groups = rollouts.sample(LLM(BASE), PROMPTS, length, journal=path, **OPTIONS)
    assert sorted(asked) == sorted(f"Say {i}" for i in range(len(PROMPTS)) if str(i) not in finished)
    assert [g.example["n"] for g in groups] == list(range(len(PROMPTS)))
    asked.clear()
    again = rollouts.sample(LLM(BASE), PROMPTS, length, journal=path, **OPTIONS)
    assert asked == []
    fresh = rollouts.sample(LLM(BASE), PROMPTS, length, **OPTIONS)
    assert [g.row() for g in groups] == [g.row() for g in again] == [g.row() for g in fresh]


def test_a_journal_is_of_one_run(server, client, tmp_path):
    path = tmp_path / "run.jsonl"
    rollouts.sample(LLM(BASE), PROMPTS[:1], length, journal=path, **OPTIONS)
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(FirekeepError, match="max_tokens is 8 there and 9 here"):
        rollouts.sample(LLM(BASE), PROMPTS[:1], length, journal=path, **OPTIONS | {"max_tokens": 9})
    with pytest.raises(FirekeepError, match="samples_per_prompt"):
        rollouts.sample(LLM(BASE), PROMPTS[:1], length, journal=path, **OPTIONS | {"samples_per_prompt": 2})
    with pytest.raises(TypeError, match="example 0 is not JSON"):
        rollouts.sample(LLM(BASE), [PROMPTS[0] | {"n": object()}], length, journal=path, **OPTIONS)
    before = path.read_bytes()
    rollouts.sample(LLM(BASE), [PROMPTS[0] | {"n": 7}], length, journal=path, **OPTIONS)  # another example is sampled
    assert len(path.read_bytes().splitlines()) == len(before.splitlines()) + 1


def test_a_journal_has_one_holder(tmp_path):
    path = tmp_path / "run.jsonl"
    with Journal(path, {"model": "m"}):
        with pytest.raises(FirekeepError, match="in use"):
            Journal(path, {"model": "m"})
    with Journal(path, {"model": "m"}) as journal:
        journal.add("a", {"samples": []})
        journal.add("b", {"samples": []})
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + b"{broken\n" + lines[2])
    with pytest.raises(FirekeepError, match="line 2"):
        Journal(path, {"model": "m"})
    path.write_bytes(lines[0] + lines[1] + lines[2][:-4])  # killed while it wrote
    with Journal(path, {"model": "m"}) as journal:
        assert list(journal.groups) == ["a"]
    assert path.read_bytes() == lines[0] + lines[1]
    path.write_bytes(lines[0][:5])  # killed while it was made
    with Journal(path, {"model": "m"}) as journal:
        assert journal.groups == {}
    assert path.read_bytes() == lines[0]


class Busy(http.server.ThreadingHTTPServer):
    """In front of the real server: it refuses the first requests for completions."""

    daemon_threads = True

    def __init__(self, server, refuse):
        self.behind, self.refuse, self.refused, self.lock = server.base_url, refuse, 0, threading.Lock()
        super().__init__(("127.0.0.1", 0), Forward)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def take(self):
        with self.lock:
            return self.refuse.pop(0) if self.refuse else None


class Forward(http.server.BaseHTTPRequestHandler):
    def log_message(self, *args):
        pass

    def do_GET(self):
        self.forward(None)

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        status = self.server.take() if "completions" in self.path else None
        if status is None:
            return self.forward(body)
        self.server.refused += 1
        self.answer(status, b'{"error":{"message":"busy"}}', {"Retry-After": "0.01"})

    def forward(self, body):
        names = ("Authorization", "Content-Type")
        request = urllib.request.Request(self.server.behind + self.path, body, {k: self.headers[k] for k in names if self.headers[k]}, method=self.command)
        try:
            with urllib.request.urlopen(request) as r:
                self.answer(r.status, r.read(), {k: v for k, v in r.headers.items() if k.lower().startswith("x-")})
        except urllib.error.HTTPError as e:
            self.answer(e.code, e.read(), {})

    def answer(self, status, body, headers):
        self.send_response(status)
        for name, value in ({"Content-Type": "application/json", "Content-Length": str(len(body))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


def test_a_busy_server_is_asked_again(server, client):
    with Busy(server, [429, 503, 429, 503]) as busy:
        llm = LLM(BASE, client=Client(base_url=f"http://127.0.0.1:{busy.server_port}", api_key=server.key))
        groups = rollouts.sample(llm, PROMPTS[:2], length, retries=4, concurrency=1, **OPTIONS)
        assert busy.refused == 4
        busy.shutdown()
    assert [g.row() for g in groups] == [g.row() for g in rollouts.sample(LLM(BASE), PROMPTS[:2], length, **OPTIONS)]


def test_retries_have_an_end(server, client):
    with Busy(server, [429] * 9) as busy:
        llm = LLM(BASE, client=Client(base_url=f"http://127.0.0.1:{busy.server_port}", api_key=server.key))
        with pytest.raises(RateLimitError, match="busy"):
            rollouts.sample(llm, PROMPTS[:1], length, retries=2, **OPTIONS)
        assert busy.refused == 3
        busy.shutdown()


def test_at_most_so_many_requests_at_once(server, client, monkeypatch):
    under_way, most, really = 0, 0, Client.arequest

    async def arequest(self, *args, **options):
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        try:
            return await really(self, *args, **options)
        finally:
            under_way -= 1

    monkeypatch.setattr(Client, "arequest", arequest)
    rollouts.sample(LLM(BASE), PROMPTS, length, concurrency=2, **OPTIONS)
    assert most == 2


def test_the_line_of_progress(server, client, capsys):
    rollouts.sample(LLM(BASE), PROMPTS[:2], lambda s, e: 0.25, **OPTIONS | {"progress": True})
    said = capsys.readouterr().err  # no terminal: the last line only
    assert said.count("rollouts") == 1 and "2/2" in said and "reward 0.250" in said and said.endswith("\n")
