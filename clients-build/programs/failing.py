"""The published loop over a job that fails: it must end, and say why."""

import json
import sys
import time

import grpc
from fireworks import LLM, Dataset

base, dataset_id, output = sys.argv[1:4]
llm = LLM(model=base, deployment_type="auto")
job = llm.reinforcement_step(dataset=Dataset.from_id(dataset_id), output_model=output)
try:
    while not job.is_completed:
        job.raise_if_bad_state()
        time.sleep(1)
        job = job.get()
        if job is None:
            raise RuntimeError("Job was deleted while waiting for completion")
except grpc.RpcError as e:
    print(json.dumps({"code": e.code().name, "details": e.details()}))
else:
    print(json.dumps({"code": "completed"}))
