"""The oracle of sample: log-probs of whole sequences by transformers and PEFT.

In float64, so that what differs is the sampler's own rounding.

stdin: {"gguf", "adapter", "sequences": [{"adapter", "tokens"}]}; stdout: the log-probs of tokens 1, 2, ... of each sequence.
"""
import json
import os
import sys

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

job = json.load(sys.stdin)
directory, name = os.path.split(job["gguf"])
base = AutoModelForCausalLM.from_pretrained(directory, gguf_file=name, dtype=torch.float32)
model = PeftModel.from_pretrained(base, job["adapter"]).double().eval()


def logprobs(tokens):
    ids = torch.tensor([tokens])
    logits = model(ids).logits[0, :-1]
    return torch.log_softmax(logits, -1).gather(1, ids[0, 1:, None])[:, 0].tolist()


out = []
with torch.no_grad():
    for sequence in job["sequences"]:
        if sequence["adapter"]:
            out.append(logprobs(sequence["tokens"]))
        else:
            with model.disable_adapter():
                out.append(logprobs(sequence["tokens"]))
json.dump(out, sys.stdout)
