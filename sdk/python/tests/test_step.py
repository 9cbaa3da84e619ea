"""Jobs that do not end well say so, and datasets that are wrong say where."""

import json
import re
import uuid
import warnings

import pytest
from conftest import BASE, ROOT, scored_rows

from firekeep import LLM, Dataset, FirekeepError, InvalidArgumentError, JobFailedError, NoSignalWarning, NotFoundError
from firekeep.llm import _OWN_FIELDS


def unique(prefix="m"):
    return f"{prefix}-{uuid.uuid4().hex[:8]}"


def test_failed_job_raises_with_its_message(server, client):
    path = server.bucket / f"{unique()}.jsonl"
    path.write_text("".join(json.dumps(r) + "\n" for r in scored_rows(4)))
    dataset = Dataset.from_url(f"file://{path}").sync(client)
    path.write_text("".join(json.dumps(r) + "\n" for r in scored_rows(4, text="other")))  # not what was registered
    job = LLM(model=BASE).reinforcement_step(dataset=dataset, output_model=unique())
    with pytest.raises(JobFailedError, match=path.name) as e:
        job.wait(timeout=60)
    assert e.value.state == "JOB_STATE_FAILED" and "changed" in str(e.value)
    with pytest.raises(JobFailedError, match="changed"):
        job.get().raise_if_bad_state()


def test_a_reward_that_rows_lack_is_refused_at_once(server, client):
    with pytest.raises(InvalidArgumentError, match="rewardWeights.*quality"):
        LLM(model=BASE).reinforcement_step(dataset=Dataset.from_list(scored_rows(2)), output_model=unique(), reward_weights=["quality=1"])


def test_cancelled_job_raises(server, client):
    dataset = Dataset.from_list(scored_rows(400), id=unique("d"))
    job = LLM(model=BASE).reinforcement_step(dataset=dataset, output_model=unique(), epochs=50, batch_size_samples=8)
    job.cancel()
    with pytest.raises(JobFailedError, match="CANCELLED"):
        job.wait(timeout=60)
    with pytest.raises(NotFoundError):
        client.request("GET", "/v1/" + job.output_model)


def test_metrics_lie_in_the_bucket(server, client):
    name = unique()
    job = LLM(model=BASE).reinforcement_step(
        Dataset.from_list(scored_rows(4), id=unique("d")), name, batch_size_samples=8, metrics_url=f"file://{server.bucket}/runs/"
    ).wait()
    lines = [json.loads(line) for line in (server.bucket / "runs" / name / "metrics.jsonl").read_text().splitlines()]
    assert len(lines) > 1 and lines == client.request("GET", f"/v1/{job.name}/metrics")["metrics"]


def test_deleted_job_is_none(server, client):
    job = LLM(model=BASE).reinforcement_step(dataset=Dataset.from_list(scored_rows(2), id=unique("d")), output_model=unique()).wait()
    job.delete()
    assert job.get() is None


def test_no_signal_cannot_be_overlooked(server, client):
    rows = list(scored_rows(3))
    for row in rows:
        for s in row["samples"]:
            s["evals"]["score"] = 0.5
    job = LLM(model=BASE).reinforcement_step(dataset=Dataset.from_list(rows, id=unique("d")), output_model=unique())
    with pytest.warns(NoSignalWarning):
        job.wait(timeout=60)
    with pytest.raises(JobFailedError):
        again = LLM(model=BASE).reinforcement_step(dataset=Dataset.from_list(rows, id=unique("d")), output_model=unique(), on_no_signal="fail")
        again.wait(timeout=60)


def test_metrics_come_once_and_in_order(server, client):
    seen = []
    with warnings.catch_warnings():
        warnings.simplefilter("error", NoSignalWarning)
        llm = LLM(model=BASE)
        job = llm.reinforcement_step(dataset=Dataset.from_list(scored_rows(8), id=unique("d")), output_model=unique(), batch_size_samples=8, epochs=2)
        job.wait(on_metrics=seen.append)
    assert [m["update"] for m in seen] == list(range(1, 9))
    for m in seen:
        assert m["samples"] == 8 and m["rewardMean"] == pytest.approx(1.5) and m["gradNorm"] > 0 and m["tokensPerSecond"] > 0


@pytest.mark.parametrize(
    "row, where",
    [
        ({"samples": []}, "line 2"),
        ({"samples": [{"messages": [{"role": "user", "content": "x"}], "evals": {"score": 1}}] * 4}, "line 2"),
        ({"samples": [{"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}], "evals": {"score": True}}] * 4}, "score"),
        ({"samples": [{"messages": [{"role": "alien", "content": "x"}, {"role": "assistant", "content": "y"}], "evals": {"score": 1}}] * 4}, "role"),
    ],
)
def test_bad_row_is_named(server, client, row, where):
    rows = [next(scored_rows(1)), row]
    with pytest.raises(FirekeepError, match=where) as e:
        Dataset.from_list(rows, id=unique("d")).sync(client)
    assert "line 2" in str(e.value)


def test_unknown_names_are_refused(server, client):
    with pytest.raises(NotFoundError, match="not found"):
        Dataset.from_id("no-such-dataset").sync(client)
    with pytest.raises(NotFoundError, match="not found"):
        _ = LLM(model="no-such-model").model
    with pytest.raises(InvalidArgumentError, match="epochs"):
        LLM(model=BASE).reinforcement_step(dataset=Dataset.from_list(scored_rows(2)), output_model=unique(), epochs=-1)


def test_what_would_be_ignored_is_refused(server, client):
    llm, dataset = LLM(model=BASE), Dataset.from_list(scored_rows(2), id=unique("d"))
    with pytest.raises(TypeError, match="learing_rate"):
        llm.reinforcement_step(dataset=dataset, output_model=unique(), learing_rate=1e-5)
    with pytest.raises(ValueError, match="epochs"):
        llm.reinforcement_step(dataset=dataset, output_model=unique(), epochs=0)
    with pytest.raises(NotFoundError):
        Dataset.from_id(dataset.id).sync(client)  # refused before anything was sent


def test_fields_are_those_of_the_api():
    extension = (ROOT / "api/step.go").read_text().split("type StepExtension struct")[1].split("// Output only")[0]
    assert _OWN_FIELDS | {"loraAlpha", "loraTargetModules", "lossMethod"} == set(re.findall(r'json:"(\w+)', extension))
