"""The official fireworks-ai client on batch inference jobs."""

import json
import urllib.request

import pytest
from conftest import BASE
from test_fireworks_jobs import client, until  # noqa: F401

fireworks = pytest.importorskip("fireworks")


def requests(n: int) -> str:
    row = lambda i: {"custom_id": f"q-{i}", "body": {"messages": [{"role": "user", "content": f"question {i}"}], "temperature": 9 if i == 1 else 1}}
    return "".join(json.dumps(row(i)) + "\n" for i in range(n))


def test_batch(client, server, tmp_path):  # noqa: F811
    jobs = client.batch_inference_jobs
    with pytest.raises(fireworks.NotFoundError):
        jobs.get(batch_inference_job_id="ask")
    path = tmp_path / "requests.jsonl"
    path.write_text(requests(4))
    client.datasets.create(dataset_id="requests", dataset={"user_uploaded": {}})
    client.datasets.upload(dataset_id="requests", file=path)
    until(lambda: client.datasets.get(dataset_id="requests"), "READY")
    made = jobs.create(batch_inference_job_id="ask", input_dataset_id="requests", output_dataset_id="answers", model=BASE, inference_parameters={"max_tokens": 3, "extra_body": json.dumps({"stop": ["zzz"]})})
    assert made.name == "accounts/main/batchInferenceJobs/ask" and made.output_dataset_id == "accounts/main/datasets/answers"
    done = until(lambda: jobs.get(batch_inference_job_id="ask"), "JOB_STATE_COMPLETED")
    assert done.job_progress.total_processed_requests == 4 and done.job_progress.failed_requests == 1
    assert [j.name for j in jobs.list()] == [made.name]
    urls = client.datasets.get_download_endpoint(dataset_id="answers").filename_to_signed_urls
    files = {name: urllib.request.urlopen(url).read().decode() for name, url in urls.items()}
    rows = [json.loads(line) for line in files["results.jsonl"].splitlines()]
    assert [r["custom_id"] for r in rows] == ["q-0", "q-2", "q-3"]
    assert all(r["response"]["choices"][0]["message"]["role"] == "assistant" and r["response"]["usage"]["completion_tokens"] <= 3 for r in rows)
    (bad,) = [json.loads(line) for line in files["errors.jsonl"].splitlines()]
    assert bad["custom_id"] == "q-1" and bad["error"]["param"] == "temperature" and bad["error"]["line"] == 2
    jobs.delete(batch_inference_job_id="ask")
    with pytest.raises(fireworks.NotFoundError):
        jobs.get(batch_inference_job_id="ask")
    assert client.datasets.get(dataset_id="answers").state == "READY"
