"""What users see of errors."""

import json
import os
import sys

import grpc
from fireworks import LLM, Dataset

base = sys.argv[1]
seen = {}


def refused(name, call):
    try:
        call()
    except grpc.RpcError as e:
        seen[name] = [e.code().name, e.details()]
    except Exception as e:
        seen[name] = [type(e).__name__, str(e)]
    else:
        seen[name] = None


llm = LLM(model=base, deployment_type="auto")
good = [{"samples": [{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}], "evals": {"score": 1.0}}]}]
refused("unsynced dataset", lambda: llm.reinforcement_step(dataset=Dataset.from_list(good), output_model="never"))
wrong = Dataset.from_string('{"samples": "' + os.environ["CANARY"] + '"}')
refused("wrong rows", wrong.sync)
refused("wrong rows again", wrong.sync)
seen["wrong rows listed"] = wrong.get() is not None
refused("missing dataset", Dataset.from_id("not-there").read)
refused("lora on a base", lambda: LLM(model=base, deployment_type="on-demand-lora", base_id="x"))
refused("unknown model", lambda: LLM(model="nothing", deployment_type="on-demand", id="dep-nothing").apply())
refused("another's model", lambda: LLM(model="accounts/acme/models/secret", deployment_type="on-demand", id="dep-secret").apply())
refused("rank", lambda: llm.reinforcement_step(dataset=Dataset.from_list(good), output_model="never", lora_rank=1000))
refused("bad key", lambda: LLM(model=base, deployment_type="auto", api_key="fk_wrong"))
print(json.dumps(seen))
