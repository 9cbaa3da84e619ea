"""Metrics of jobs in an experiment tracker of the user's."""

import json
import struct
import time
import uuid

import pytest
from conftest import BASE, scored_rows

from firekeep import LLM, Dataset, track

wandb = pytest.importorskip("wandb")


def records(path):
    """The records of a file of an offline run: LevelDB's log format behind a header of seven bytes."""
    data, at, record = path.read_bytes(), 7, b""
    while at + 7 <= len(data):
        left = 32768 - at % 32768
        if left < 7:  # no place for a header: padding
            at += left
            continue
        _, size, kind = struct.unpack_from("<IHB", data, at)
        if at + 7 + size > len(data):  # not written yet
            return
        record += data[at + 7 : at + 7 + size]
        at += 7 + size
        if kind in (1, 4):  # whole, or the last part
            yield record
            record = b""


def logged(path) -> list[dict]:
    """What was logged into an offline run, by the message types of the package itself."""
    from wandb.proto import wandb_internal_pb2

    found = []
    for raw in records(path):
        record = wandb_internal_pb2.Record.FromString(raw)
        if record.WhichOneof("record_type") == "history":
            found.append({"/".join(i.nested_key) or i.key: json.loads(i.value_json) for i in record.history.item})
    return found


def test_steps_of_two_jobs_in_one_run_of_wandb(server, client, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    done = []
    with wandb.init(project="rft", dir=tmp_path) as run:
        log = track(run, prefix="train/")
        for _ in range(2):
            rows = Dataset.from_list(scored_rows(4), id=f"d-{uuid.uuid4().hex[:8]}")
            done.append(LLM(BASE).reinforcement_step(rows, f"m-{uuid.uuid4().hex[:8]}", batch_size_samples=8).wait(on_metrics=log))
    want = [m for job in done for m in job.metrics()]
    assert len(want) > 3 and log.step == len(want)
    (path,) = tmp_path.glob("wandb/offline-run-*/run-*.wandb")
    have, until = [], time.monotonic() + 60
    while len(have) < len(want) and time.monotonic() < until:  # the file is written by a process of its own
        time.sleep(0.2)
        have = [h for h in logged(path) if "train/loss" in h]
    assert [h["_step"] for h in have] == list(range(1, len(want) + 1))
    for h, m in zip(have, want, strict=True):
        assert h["train/loss"] == pytest.approx(m["loss"]) and h["train/rewardMean"] == pytest.approx(m["rewardMean"]) and h["train/update"] == m["update"]


def test_what_is_no_number_stays_out():
    class Kept(list):
        def log(self, data, *, step):
            self.append((step, data))

    run = Kept()
    log = track(run, step=10)
    log({"loss": 0.5, "nan": float("nan"), "flag": True, "text": "row", "evals": {"score": 1}, "none": None})
    assert run == [(11, {"loss": 0.5, "evals/score": 1})] and log.step == 11
