"""The oracle of drawing: what transformers' logits processors make of logits.

stdin: a list of {"logits", "prompt", "tokens", "repetition", "frequency", "presence", "bias", "temperature", "topK", "topP", "minP", "typicalP"};
stdout: for each the log-probs of all tokens, null where a token is excluded.

transformers has no frequency and presence penalties; their formula is OpenAI's.
"""
import json
import sys

import torch
from transformers import (
    LogitsProcessor,
    LogitsProcessorList,
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    SequenceBiasLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
    TypicalLogitsWarper,
)


class Counted(LogitsProcessor):
    def __init__(self, tokens, frequency, presence):
        self.tokens, self.frequency, self.presence = tokens, frequency, presence

    def __call__(self, input_ids, scores):
        counts = torch.bincount(torch.tensor(self.tokens, dtype=torch.long), minlength=scores.shape[-1]).to(scores.dtype)
        return scores - counts * self.frequency - (counts > 0).to(scores.dtype) * self.presence


def processed(job):
    ids = torch.tensor([job["prompt"] + job["tokens"]], dtype=torch.long)
    steps = LogitsProcessorList()
    if job["repetition"] != 1:
        steps.append(RepetitionPenaltyLogitsProcessor(job["repetition"]))
    steps.append(Counted(job["tokens"], job["frequency"], job["presence"]))
    if job["bias"]:
        steps.append(SequenceBiasLogitsProcessor([[[int(k)], float(v)] for k, v in job["bias"].items()]))
    if job["temperature"] != 1:
        steps.append(TemperatureLogitsWarper(job["temperature"]))
    if job["topK"]:
        steps.append(TopKLogitsWarper(job["topK"]))
    if job["topP"] < 1:
        steps.append(TopPLogitsWarper(job["topP"]))
    if job["minP"]:
        steps.append(MinPLogitsWarper(job["minP"]))
    if 0 < job["typicalP"] < 1:
        steps.append(TypicalLogitsWarper(job["typicalP"]))
    scores = steps(ids, torch.tensor([job["logits"]], dtype=torch.float64))[0]
    return [x if x > float("-inf") else None for x in torch.log_softmax(scores, -1).tolist()]


json.dump([processed(job) for job in json.load(sys.stdin)], sys.stdout)
