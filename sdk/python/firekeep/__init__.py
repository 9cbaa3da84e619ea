"""Firekeep: reinforcement fine-tuning inside your own walls.

    from firekeep import LLM, Dataset, rollouts

    llm = LLM(model="accounts/fireworks/models/smollm2-135m", id="rollouts")
    dataset = Dataset.from_url("s3://my-bucket/rounds/round-1.jsonl")
    job = llm.reinforcement_step(dataset=dataset, output_model="my-model-v1")

The client finds its server by FIREKEEP_BASE_URL (http://127.0.0.1:8080) and its
key by FIREKEEP_API_KEY; arguments win over the environment.

`firekeep.aio` has the same names for asyncio; `Client().models` and its neighbours
are the other resources of the account; `firekeep.plot` draws curves in notebooks, `track` logs
metrics into a run of Weights & Biases or another tracker of yours.
"""

from . import aio, plot, rollouts
from ._client import Client
from .dataset import Dataset
from .errors import (
    AlreadyExistsError,
    APIError,
    AuthenticationError,
    FirekeepError,
    InvalidArgumentError,
    JobFailedError,
    NoSignalWarning,
    NotFoundError,
    PermissionDeniedError,
    RateLimitError,
    UnavailableError,
)
from .llm import LLM
from .plot import Curve
from .step import BatchJob, DPOJob, MergeJob, ReinforcementStep, SupervisedFineTuningJob
from .tracking import track

__all__ = [
    "LLM", "Dataset", "ReinforcementStep", "SupervisedFineTuningJob", "DPOJob", "BatchJob", "MergeJob", "Client", "Curve", "aio", "plot", "rollouts", "track", "FirekeepError", "APIError", "InvalidArgumentError",
    "NotFoundError", "AlreadyExistsError", "AuthenticationError", "PermissionDeniedError", "RateLimitError",
    "UnavailableError", "JobFailedError", "NoSignalWarning",
]
__version__ = "0.1.0"
