"""Resources that exist, one or more of each kind, for a test that asks every operation about them."""

import itertools
import json
import re
import time
import urllib.error
import urllib.request

from conftest import BASE, scored_rows

LORA = {"baseModel": BASE, "loraRank": 4, "learningRate": 1e-3, "maxContextLength": 256, "epochs": 1}


class Garden:
    """Plants resources in the account main of a server, by plain calls."""

    def __init__(self, server):
        self.server = server

    def call(self, method: str, path: str, body: object = None):
        request = urllib.request.Request(self.server.base_url + path, None if body is None else json.dumps(body).encode(), method=method,
                                         headers={"Authorization": f"Bearer {self.server.key}", "Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request) as answer:
                return json.loads(answer.read() or b"{}")
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{method} {path}: {error.code} {error.read().decode()}") from error

    def has(self, path: str, ids: dict[str, list[str]]) -> bool:
        """Whether a path of the document answers with what was planted under some of ids."""
        names = re.findall(r"{(\w+)}", path)
        for choice in itertools.product(*(ids.get(name, [""]) for name in names)):
            try:
                self.call("GET", path.format(**dict(zip(names, choice))))
                return True
            except json.JSONDecodeError:
                return True  # rows, not JSON
            except AssertionError:
                continue
        return False

    def of(self, method: str, path: str, body: object = None):
        return self.call(method, "/v1/accounts/main/" + path, body)

    def until(self, path: str, state: str):
        for _ in range(1200):
            last = self.of("GET", path)
            if last["state"] == state:
                return last
            assert last["state"] not in ("JOB_STATE_FAILED", "JOB_STATE_CANCELLED"), last
            time.sleep(0.1)
        raise AssertionError(last)

    def rows(self, name: str, rows: list[object] | str) -> None:
        path = self.server.bucket / f"{name}.jsonl"
        path.write_text(rows if isinstance(rows, str) else "".join(json.dumps(r) + "\n" for r in rows))
        self.of("POST", "datasets", {"datasetId": name, "dataset": {"externalUrl": f"file://{path}"}})
        self.until(f"datasets/{name}", "READY")

    def datasets(self) -> None:
        ask = lambda i: [{"role": "user", "content": f"Q {i}"}]
        answer = lambda text: [{"role": "assistant", "content": text}]
        self.rows("planted-rows", scored_rows(4))
        self.rows("planted-chats", [{"messages": ask(i) + answer("A")} for i in range(4)])
        self.rows("planted-pairs", [{"input": {"messages": ask(i)}, "preferred_output": answer("yes"), "non_preferred_output": answer(f"no {i}")} for i in range(4)])
        self.rows("planted-requests", [{"custom_id": f"q-{i}", "body": {"messages": ask(i), "max_tokens": 3}} for i in range(4)])
        self.of("POST", "datasets", {"datasetId": "planted-empty", "dataset": {"userUploaded": {}}})

    def jobs(self) -> None:
        config = lambda out: LORA | {"outputModel": out}
        self.of("POST", "rlorTrainerJobs?rlorTrainerJobId=planted-step", {"dataset": "planted-rows", "evaluationDataset": "planted-rows", "trainingConfig": config("planted-lora")})
        self.of("POST", "rlorTrainerJobs?rlorTrainerJobId=planted-loop", {"keepAlive": True, "trainingConfig": LORA})
        self.of("POST", "supervisedFineTuningJobs?supervisedFineTuningJobId=planted-sft", LORA | {"dataset": "planted-chats", "outputModel": "planted-sft-lora"})
        self.of("POST", "dpoJobs?dpoJobId=planted-dpo", {"dataset": "planted-pairs", "trainingConfig": config("planted-dpo-lora")})
        self.of("POST", "batchInferenceJobs?batchInferenceJobId=planted-batch", {"inputDatasetId": "planted-requests", "outputDatasetId": "planted-answers", "model": BASE})
        for path in ("rlorTrainerJobs/planted-step", "supervisedFineTuningJobs/planted-sft", "dpoJobs/planted-dpo", "batchInferenceJobs/planted-batch"):
            self.until(path, "JOB_STATE_COMPLETED")

    def checkpoint(self, job: str) -> str:
        (made,) = [c for c in self.of("GET", job + "/checkpoints")["checkpoints"] if c["promotable"]]
        return made["name"].rsplit("/", 1)[1]

    def models(self) -> str:
        """Returns the operation that imports one."""
        self.of("POST", "models", {"modelId": "planted-waiting", "model": {"kind": "HF_BASE_MODEL"}})
        self.of("POST", "models", {"modelId": "planted-nothing", "model": {"kind": "HF_BASE_MODEL"}})
        return self.of("POST", "models/planted-nothing:import", {"awsS3Source": {"s3Bucket": "planted", "s3Path": "none"}})["name"].rsplit("/", 1)[1]

    def access(self) -> None:
        self.of("POST", "connections", {"connectionId": "planted", "connection": {"url": "s3://planted/p/", "secret": {"access_key_id": "AK", "secret_access_key": "SK"}}})
        self.of("POST", "secrets", {"name": "planted", "keyName": "KEY", "value": "value"})
        self.of("POST", "roles", {"roleId": "planted", "role": {"policy": "permit (principal, action, resource);"}})
        self.of("POST", "users?userId=planted", {"role": "inference-user"})
        self.of("POST", "identityProviders", {"identityProviderId": "planted", "identityProvider": {"kind": "login", "oidcConfig": {"issuerUrl": "https://login.example", "clientId": "planted"}, "trust": {"defaultRole": "inference-user"}}})

    def asked_for(self) -> str:
        """A request to export that waits for another's approval."""
        policy = self.of("GET", "modelPolicy")
        self.of("PUT", "modelPolicy", {"requireApproval": True})
        request = self.of("POST", "models/planted-lora:export", {"destination": "s3://planted/p/out/"})
        self.of("PUT", "modelPolicy", policy)
        return request["name"].rsplit("/", 1)[1]

    def grow(self) -> dict[str, list[str]]:
        """Plants all, and returns the ids by what the paths of the document call them."""
        self.access()
        self.datasets()
        self.jobs()
        operation = self.models()
        self.of("POST", "PeftMergeJobs", {"peftModel": "planted-lora", "mergedModel": "planted-whole"})
        merge = self.of("GET", "PeftMergeJobs")["peftMergeJobs"][0]["name"].rsplit("/", 1)[1]
        self.until(f"PeftMergeJobs/{merge}", "JOB_STATE_COMPLETED")
        self.of("POST", "deployments?deploymentId=planted", {"baseModel": BASE})
        deployed = self.of("POST", "deployedModels", {"model": "planted-lora", "deployment": "planted"})["name"].rsplit("/", 1)[1]
        file = lambda path, body=None: self.of("GET" if body is None else "POST", path, body)
        rows = next(iter(file("datasets/planted-answers:getDownloadEndpoint")["filenameToSignedUrls"].values()))
        metrics = file("dpoJobs/planted-dpo:getMetricsFileEndpoint")["signedUrl"]
        return {
            "account": ["main"], "dataset": ["planted-rows", "planted-answers", "planted-empty"], "model": ["planted-lora", "planted-whole", "planted-waiting"],
            "step": ["planted-step", "planted-loop"], "sft": ["planted-sft"], "dpo": ["planted-dpo"], "batch": ["planted-batch"], "merge": [merge],
            "checkpoint": [self.checkpoint("rlorTrainerJobs/planted-step"), self.checkpoint("supervisedFineTuningJobs/planted-sft"), self.checkpoint("dpoJobs/planted-dpo")],
            "connection": ["planted"], "secret": ["planted"], "role": ["planted"], "user": ["planted"], "provider": ["planted"],
            "deployment": ["planted"], "deployed": [deployed], "operation": [operation], "request": [self.asked_for()],
            "quota": ["requests-per-second", "queued-jobs", "concurrent-steps", "storage-bytes"],
            "ticket": [rows.rsplit("/", 1)[1], metrics.rsplit("/", 1)[1]],
        }
