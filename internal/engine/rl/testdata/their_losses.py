"""What TRL's own loss methods give for the golden inputs: losses.json -> stdout.

Only the trainers' loss functions run, on given log-probs: a stand-in `self` carries the settings that docs/reinforcement.md
names as ours where TRL's defaults differ. Answers {"case name": {"loss": x, "grad": [[...], ...]}} for every case with trl_checked.
"""
import json
import os
import sys
from types import SimpleNamespace
from unittest.mock import MagicMock

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

import torch
from trl.experimental.orpo.orpo_trainer import ORPOTrainer
from trl.trainer.dpo_trainer import DPOTrainer
from trl.trainer.grpo_trainer import GRPOTrainer

TYPES = {"GRPO": "grpo", "GSPO_TOKEN": "grpo", "DAPO": "dapo", "PPO": "dapo", "DR_GRPO": "dr_grpo", "CISPO": "cispo", "IMPORTANCE_SAMPLING": "dapo"}




def pad(rows, like):
    rows = [b if a is None else a for a, b in zip(rows, like)]
    width = max(len(r) for r in rows)
    return torch.tensor([r + [0.0] * (width - len(r)) for r in rows], dtype=torch.float64)


def stand_in():
    self = MagicMock()
    self.accelerator.gather = self.accelerator.gather_for_metrics = lambda x: x
    self.accelerator.num_processes, self.accelerator.device = 1, "cpu"
    return self


def policy(case, data):
    method, p = case["method"], case["params"]
    keep = range(len(data["lp"]))
    if method == "DAPO":  # dead groups are removed before batching
        keep = [i for i in keep if any(case["advantages"][j] for j in range(i // 4 * 4, i // 4 * 4 + 4))]
    t = {k: pad([data[k][i] for i in keep], [data["lp_old"][i] for i in keep]) for k in ("lp", "lp_old", "lp_mu", "lp_ref")}
    lp = t["lp"].requires_grad_()
    mask = torch.tensor([[float(j < len(data["lp"][i])) for j in range(lp.shape[1])] for i in keep], dtype=torch.float64)
    old = t["lp_mu"] if method == "IMPORTANCE_SAMPLING" else t["lp_old"]
    self = stand_in()
    self._get_per_token_logps_and_entropies = lambda *a, **k: (lp, torch.zeros_like(lp), None)
    self.top_entropy_quantile, self.aux_loss_enabled, self._entropy_bonus_enabled = 1.0, False, False
    self.importance_sampling_level = "sequence" if method == "GSPO_TOKEN" else "token"
    self.loss_type, self.beta, self.max_completion_length = TYPES[method], p.get("klBeta", 0.0), p.get("maxContextLength", 0)
    # Without clips the ratio is bounded by nothing; TRL's bounds are distances from 1.
    self.epsilon_low = 1 - p["lo"] if "lo" in p else 1.0
    self.epsilon_high = p["cap"] if "cap" in p else p["hi"] - 1 if "hi" in p else 1e300
    self.off_policy_mask_threshold = p.get("offPolicy")
    self.get_off_policy_mask = GRPOTrainer.get_off_policy_mask
    self.args = SimpleNamespace(delta=p.get("dual"), use_bias_correction_kl=False, steps_per_generation=1)
    self.use_vllm = self.vllm_importance_sampling_correction = "tisCap" in p
    self.current_gradient_accumulation_steps = 1
    self.model.training = True
    inputs = {
        "prompt_ids": torch.zeros(len(t["lp"]), 1), "prompt_mask": torch.ones(len(t["lp"]), 1), "completion_ids": torch.zeros_like(lp),
        "completion_mask": mask, "advantages": torch.tensor([case["advantages"][i] for i in keep], dtype=torch.float64),
        "old_per_token_logps": old, "sampling_per_token_logps": t["lp_mu"], "ref_per_token_logps": t["lp_ref"],
        "num_items_in_batch": mask.sum(), "importance_sampling_ratio": (t["lp_old"] - t["lp_mu"]).exp().clamp(max=p.get("tisCap", 1.0)),
    }
    loss = GRPOTrainer._compute_loss(self, None, inputs)
    grad = [[] for _ in data["lp"]]
    (g,) = torch.autograd.grad(loss, lp)
    for row, i in zip(g.tolist(), keep):
        grad[i] = row[: len(data["lp"][i])]
    return loss.item(), [x if i in keep else [0.0] * len(data["lp"][i]) for i, x in enumerate(grad)]


def pair(case, data):
    lp = pad(data["lp"], data["lp_old"]).requires_grad_()
    ref = pad(data["lp_ref"], data["lp_old"])
    n = torch.tensor([len(r) for r in data["lp"]], dtype=torch.float64)
    order = [c for c, _ in case["pairs"]] + [r for _, r in case["pairs"]]
    if case["method"] == "DPO":
        self = stand_in()
        self.loss_types, self.loss_weights, self.beta, self.f_divergence_type = ["sigmoid"], [1.0], case["params"]["beta"], "reverse_kl"
        self.ld_alpha, self.precompute_ref_logps, self.use_weighting, self.aux_loss_enabled = None, True, False, False
        half = len(order) // 2
        refs = ref.sum(1)[order]
        width = lp.shape[1] + 1
        ones, none = torch.ones(len(order), width), torch.zeros(len(order), width - 1)
        inputs = {"input_ids": torch.zeros(len(order), width, dtype=torch.long), "completion_mask": ones, "attention_mask": ones,
                  "ref_chosen_logps": refs[:half], "ref_rejected_logps": refs[half:]}
        self._total_train_tokens, self._tp_size = 0, 1
        model = lambda **k: SimpleNamespace(log_probs=lp[order], entropy=none, mean_logits=none, is_top1=none.bool())
        loss = DPOTrainer._compute_loss(self, model, inputs, False)
    else:
        mean = lp.sum(1) / n.clamp(min=1)
        chosen, rejected = mean[[c for c, _ in case["pairs"]]], mean[[r for _, r in case["pairs"]]]
        self = SimpleNamespace(beta=case["params"]["lambda"], accelerator=SimpleNamespace(device="cpu"))
        loss = (-chosen - ORPOTrainer.odds_ratio_loss(self, chosen, rejected)[0]).mean()
    (g,) = torch.autograd.grad(loss, lp)
    return loss.item(), [row[: len(r)] for row, r in zip(g.tolist(), data["lp"])]


def main():
    with open(sys.argv[1]) as f:
        doc = json.load(f)
    out = {}
    for case in doc["cases"]:
        if not case["trl_checked"]:
            continue
        loss, grad = (pair if case["reduction"] == "pair" else policy)(case, doc["inputs"][case["inputs"]])
        out[case["name"]] = {"loss": loss, "grad": grad}
    json.dump(out, sys.stdout)


main()
