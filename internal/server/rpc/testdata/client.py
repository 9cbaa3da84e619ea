"""Calls the gRPC service with grpcio, as the Build SDK does: plaintext HTTP/2,
the key in x-api-key, messages of the wire contract."""

import importlib
import os
import pathlib
import sys
import tempfile

import grpc
import grpc_tools
from grpc_tools import protoc

definitions, address, dataset = pathlib.Path(sys.argv[1]), sys.argv[2], sys.argv[3]
out = tempfile.mkdtemp()
well_known = pathlib.Path(grpc_tools.__file__).parent / "_proto"
assert protoc.main(["", f"-I{definitions.parent}", f"-I{well_known}", f"--python_out={out}", f"--grpc_python_out={out}", str(definitions)]) == 0
sys.path.insert(0, out)
pb = importlib.import_module("gateway_pb2")
stubs = importlib.import_module("gateway_pb2_grpc")

key = (("x-api-key", os.environ["FIREKEEP_TEST_KEY"]),)
channel = grpc.insecure_channel(address)
gateway = stubs.GatewayStub(channel)

model = gateway.GetModel(pb.GetModelRequest(name="accounts/main/models/base"), metadata=key)
assert model.name == "accounts/main/models/base" and model.kind == pb.Model.HF_BASE_MODEL and model.state == pb.Model.READY, model

job = pb.RlorTrainerJob(dataset=f"accounts/main/datasets/{dataset}")
config = job.training_config
config.output_model = "accounts/main/models/out"
config.base_model = "accounts/main/models/base"
config.lora_rank, config.learning_rate, config.epochs = 8, 1e-4, 1
config.max_context_length, config.batch_size = 8192, 32768
config.accelerator_type, config.accelerator_count = pb.NVIDIA_H200_141GB, 1
made = gateway.CreateRlorTrainerJob(pb.CreateRlorTrainerJobRequest(parent="accounts/main", rlor_trainer_job=job), metadata=key + key)
assert made.name.startswith("accounts/main/rlorTrainerJobs/"), made
assert made.training_config.output_model == "accounts/main/models/out", made
assert made.training_config.accelerator_type == pb.NVIDIA_H200_141GB, made
assert made.training_config.max_context_length == 64, made  # what the base has
assert made.state == pb.JOB_STATE_PENDING, made

read = gateway.GetRlorTrainerJob(pb.GetRlorTrainerJobRequest(name=made.name), metadata=key)
assert read.name == made.name and read.training_config.lora_rank == 8 and read.create_time.seconds > 0, read


def refused(call, code):
    try:
        call()
    except grpc.RpcError as e:
        assert e.code() == code, (e.code(), e.details())
        return
    raise AssertionError(f"not refused: want {code}")


refused(lambda: gateway.GetModel(pb.GetModelRequest(name="accounts/main/models/base")), grpc.StatusCode.UNAUTHENTICATED)
refused(lambda: gateway.GetModel(pb.GetModelRequest(name="accounts/main/models/out"), metadata=key), grpc.StatusCode.NOT_FOUND)
refused(lambda: gateway.CreateRlorTrainerJob(pb.CreateRlorTrainerJobRequest(parent="accounts/main", rlor_trainer_job=job), metadata=key), grpc.StatusCode.ALREADY_EXISTS)
listing = channel.unary_unary("/gateway.Gateway/ListClusters")
refused(lambda: listing(b"", metadata=key), grpc.StatusCode.UNIMPLEMENTED)
print("3 calls, 4 refusals")
