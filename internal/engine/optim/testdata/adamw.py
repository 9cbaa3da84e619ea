"""The oracle of optim: torch.optim.AdamW in float32 over a history of gradients.

stdin: {"spec", "params", "grads"}; stdout: {"params", "m", "v"} after the last update.
"""
import json
import sys

import torch

history = json.load(sys.stdin)
spec = history["spec"]
params = [torch.nn.Parameter(torch.tensor(p, dtype=torch.float32)) for p in history["params"]]
optimizer = torch.optim.AdamW(params, lr=spec["learningRate"], betas=(spec["beta1"], spec["beta2"]), eps=spec["epsilon"],
                              weight_decay=spec["optimizerWeightDecay"])
for update, grads in enumerate(history["grads"], 1):
    for p, g in zip(params, grads):
        p.grad = torch.tensor(g, dtype=torch.float32)
    torch.nn.utils.clip_grad_norm_(params, spec["maxGradNorm"])
    optimizer.param_groups[0]["lr"] = spec["learningRate"] * min(1.0, update / spec["learningRateWarmupSteps"])
    optimizer.step()
state = [optimizer.state[p] for p in params]
json.dump({
    "params": [p.tolist() for p in params],
    "m": [s["exp_avg"].tolist() for s in state],
    "v": [s["exp_avg_sq"].tolist() for s in state],
}, sys.stdout)
