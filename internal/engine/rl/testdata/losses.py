"""Golden vectors for the losses of docs/reinforcement.md.  python losses.py [SEED [FILE]]   (needs torch only; default 1 losses.json)

Everything is float64; inputs have 6 decimals, outputs 10 significant digits: compare with rtol 1e-9, atol 1e-12.
Ragged lists: sample i = 4 * group + index in group; `grad` is d loss / d lp of the same shape as lp.
"""
import json
import random
import sys

import torch
import torch.nn.functional as F

FORMULAS = {
    "advantage": "dead group (max R - min R <= 1e-6): 0; group: (R - mean) / (std1 + 1e-6); none: R - mean",
    "ratio": "ex(d) = exp(clamp(d, -20, 20)); r = ex(lp - lp_old); clip(r) = clamp(r, lo, hi)",
    "clipped": "-min(r A, clip(r) A); with dual clip c and A < 0: -max(min(r A, clip(r) A), c A)",
    "GRPO": "clipped; sum over samples of mean over tokens, / S", "DR_GRPO": "clipped; sum over tokens / (S maxContextLength)",
    "DAPO": "clipped, dead groups removed; sum over tokens / N of the live tokens", "PPO": "clipped; sum over tokens / N",
    "GSPO_TOKEN": "clipped with r = exp(lp - sg(lp) + sg(log s)), log s = clamp(mean_t (lp - lp_old), -20, 20); reduction of GRPO",
    "CISPO": "-sg(min(r, cap)) A lp; sum over tokens / N", "IMPORTANCE_SAMPLING": "-ex(lp - lp_mu) A; sum over tokens / N",
    "corrections": "token loss = keep * w * policy loss + klBeta * k3; w = min(ex(lp_old - lp_mu), tisCap), 1 without lp_mu; "
                   "keep = 0 if A < 0 and mean_t (lp_b - lp) > offPolicy, lp_b = lp_mu or else lp_old; no gradient through w, keep",
    "k3": "d = clamp(lp_ref - lp, -20, 20); exp(d) - d - 1",
    "pair": "of each live group: c = first sample with the highest R, r = first with the lowest; skipped if either has no token",
    "DPO": "-logsigmoid(beta ((c - ref_c) - (r - ref_r))), sums over tokens; mean over pairs",
    "ORPO": "-mean_c - lambda logsigmoid(o_c - o_r), o = x - log(1 - exp x), x = min(mean over tokens, -1e-6); mean over pairs",
    "SFT": "-sum over tokens of lp / N",
}

CLIP = {"lo": 0.8, "hi": 1.2, "dual": 3.0}
ALL = {"klBeta": 0.05, "tisCap": 2.0, "offPolicy": 0.15}
CASES = [  # name, inputs, method, scaleRewards, reduction, parameters
    ("grpo", "live", "GRPO", "group", "sample", CLIP), ("grpo-dead", "dead", "GRPO", "group", "sample", CLIP),
    ("grpo-kl", "dead", "GRPO", "group", "sample", CLIP | {"klBeta": 0.05}),
    ("grpo-tis", "live", "GRPO", "group", "sample", CLIP | {"tisCap": 2.0}),
    ("grpo-all", "dead", "GRPO", "group", "sample", CLIP | ALL),
    ("grpo-none", "live", "GRPO", "none", "sample", CLIP),
    ("grpo-empty", "empty", "GRPO", "group", "sample", CLIP), ("grpo-extreme", "extreme", "GRPO", "group", "sample", CLIP | {"klBeta": 0.05}),
    ("dapo", "live", "DAPO", "group", "token", CLIP | {"hi": 1.28}), ("dapo-dead", "dead", "DAPO", "group", "token", CLIP | {"hi": 1.28}),
    ("dapo-all-dead", "alldead", "DAPO", "group", "token", CLIP | {"hi": 1.28}),
    ("gspo", "live", "GSPO_TOKEN", "group", "sample", {"lo": 1 - 3e-4, "hi": 1 + 4e-4}),
    ("gspo-empty", "empty", "GSPO_TOKEN", "group", "sample", {"lo": 1 - 3e-4, "hi": 1 + 4e-4}),
    ("gspo-kl", "dead", "GSPO_TOKEN", "group", "sample", {"lo": 1 - 3e-4, "hi": 1 + 4e-4, "klBeta": 0.05, "offPolicy": 0.15}),
    ("gspo-tis", "live", "GSPO_TOKEN", "group", "sample", {"lo": 1 - 3e-4, "hi": 1 + 4e-4, "tisCap": 2.0}),
    ("dr-grpo", "live", "DR_GRPO", "none", "constant", CLIP | {"maxContextLength": 16}),
    ("ppo", "live", "PPO", "none", "token", {"lo": 0.8, "hi": 1.2}),
    ("cispo", "live", "CISPO", "group", "token", {"cap": 5.0}), ("cispo-all", "dead", "CISPO", "group", "token", {"cap": 5.0} | ALL),
    ("importance-sampling", "live", "IMPORTANCE_SAMPLING", "group", "token", {}),
    ("importance-sampling-extreme", "extreme", "IMPORTANCE_SAMPLING", "group", "token", {}),
    ("dpo", "live", "DPO", None, "pair", {"beta": 0.1}), ("dpo-dead", "dead", "DPO", None, "pair", {"beta": 0.1}),
    ("dpo-empty", "empty", "DPO", None, "pair", {"beta": 0.1}),
    ("orpo", "live", "ORPO", None, "pair", {"lambda": 1.0}), ("orpo-empty", "empty", "ORPO", None, "pair", {"lambda": 1.0}),
    ("sft", "live", "SFT", None, "token", {}),
]
# Largest |difference| of loss and gradient to TRL 1.16.0's own loss methods, given these advantages, over the seeds tried. Absent = not
# compared: TRL does not clamp log-ratios (extreme), and its sequence-level form spreads w over the sample (gspo-tis: same loss, other gradient).
EXACT = "grpo grpo-dead grpo-kl grpo-tis grpo-all grpo-none grpo-empty dapo dr-grpo ppo cispo importance-sampling dpo dpo-dead"
TRL = dict.fromkeys(EXACT.split(), 0.0) | {
    "dapo-dead": 4e-17, "gspo": 1e-17, "gspo-empty": 1e-17, "gspo-kl": 7e-18, "cispo-all": 7e-18, "dpo-empty": 1e-16,
    "orpo": 3e-8, "orpo-empty": 2e-8,  # TRL casts to float32 here
}


def inputs(rng):
    """The input sets: rewards by group and ragged log-probs, with planted ratios that make every clip bite."""
    shuffled = lambda rs: rng.sample(rs, len(rs))
    spread = [round(rng.uniform(-1, 1), 3) for _ in range(4)]
    same = round(rng.uniform(0.1, 0.9), 3)
    dead = [same, same, same + 1e-7, same]
    rewards = {
        "live": [shuffled([1, 0.5, 0, 0]), shuffled([0.25, 1, 1, 0])], "dead": [spread, dead], "alldead": [dead, dead],
        "empty": [shuffled([1, 0, 0, 1]), shuffled([1, 0.5, 0, 0])], "extreme": [shuffled([1, 0.5, 0, 0]), spread],
    }
    return {name: one_set(rng, name, groups) for name, groups in rewards.items()}


def one_set(rng, name, groups):
    out = {"rewards": groups, "lp": [], "lp_old": [], "lp_mu": [], "lp_ref": []}
    best = 4 + groups[1].index(max(groups[1]))
    for i in range(8):
        group = groups[i // 4]
        up = group[i % 4] > sum(group) / 4
        n = 0 if name == "empty" and i == best else rng.randint(3, 7)
        d = [rng.gauss(0, 0.12) for _ in range(n)]
        d[:3] = ([0.5, -0.6, 0.22] if up else [1.7, -0.5, 0.4])[:n]
        drift = name == "dead" and i < 4 and group[i] == min(group)
        if drift:  # the off-policy mask drops this one
            d = [-0.6 - abs(x) for x in d]
        if name == "extreme" and i % 4 < 2:
            d[0] = 25.0 if i % 4 else -25.0
        far = 40.0 if name == "extreme" else 2.0 if drift else 0.8
        lp = [-(far + rng.expovariate(1.2)) for _ in range(n)]
        old = [x - y for x, y in zip(lp, d)]
        mu = [min(x + rng.gauss(0, 0.4), -0.01) for x in old]
        ref = [min(x + rng.gauss(0, 0.5), -0.01) for x in lp]
        if n and not drift:
            mu[-1] = old[-1] - 1.2  # the importance weight meets its cap
        if name == "extreme":
            ref[1], mu[2] = lp[1] + (25.0 if i % 2 else -25.0), lp[2] - 25.0
        for key, row in (("lp", lp), ("lp_old", old), ("lp_mu", mu), ("lp_ref", ref)):
            out[key].append([round(x, 6) for x in row])
        if name == "dead" and i % 3 == 2 and not drift:
            out["lp_mu"][i] = None  # a sample whose row carried no log-probs
    return out


def pad(rows, like):
    rows = [b if a is None else a for a, b in zip(rows, like)]
    return torch.tensor([r + [0.0] * (7 - len(r)) for r in rows], dtype=torch.float64)


def advantages(groups, scale):
    R = torch.tensor(groups, dtype=torch.float64)
    A = R - R.mean(1, keepdim=True)
    if scale == "group" and R.shape[1] > 1:
        A = A / (R.std(1, keepdim=True) + 1e-6)
    live = R.amax(1, keepdim=True) - R.amin(1, keepdim=True) > 1e-6
    return torch.where(live, A, 0.0).flatten()[:, None], live.expand_as(R).flatten()[:, None]


def ratio(d):
    return d.clamp(-20, 20).exp()


def masked_mean(x, m):
    return (x * m).sum(1, keepdim=True) / m.sum(1, keepdim=True).clamp(min=1)


def token_loss(method, t, m, A, p):
    lp, old = t["lp"], t["lp_old"]
    if method == "SFT":
        return -lp
    if method == "IMPORTANCE_SAMPLING":
        policy = -ratio(lp - t["lp_mu"]) * A
    elif method == "CISPO":
        policy = -ratio(lp - old).clamp(0, p["cap"]).detach() * A * lp
    else:
        r = ratio(lp - old)
        if method == "GSPO_TOKEN":
            r = (lp - lp.detach() + masked_mean(lp - old, m).clamp(-20, 20).detach()).exp()
        policy = -torch.minimum(r * A, r.clamp(p["lo"], p["hi"]) * A)
        if "dual" in p:
            policy = torch.where(A < 0, torch.minimum(policy, -p["dual"] * A), policy)
    if "offPolicy" in p:
        drop = (A < 0) & (masked_mean(t["lp_mu"] - lp, m).detach() > p["offPolicy"])
        policy = torch.where(drop, 0.0, policy)
    if "tisCap" in p:
        policy = policy * ratio(old - t["lp_mu"]).clamp(max=p["tisCap"])
    if "klBeta" in p:
        d = (t["lp_ref"] - lp).clamp(-20, 20)
        policy = policy + p["klBeta"] * (d.exp() - d - 1)
    return policy


def reduce(loss, m, reduction, p):
    if reduction == "sample":
        return masked_mean(loss, m).sum() / len(m)
    if reduction == "constant":
        return (loss * m).sum() / (len(m) * p["maxContextLength"])
    return (loss * m).sum() / m.sum().clamp(min=1)


def pairs(groups, n):
    for g, R in enumerate(groups):
        c, r = 4 * g + R.index(max(R)), 4 * g + R.index(min(R))
        if max(R) - min(R) > 1e-6 and n[c] and n[r]:
            yield c, r


def pair_loss(method, t, m, c, r, p):
    if method == "DPO":
        s = ((t["lp"] - t["lp_ref"]) * m).sum(1)
        return -F.logsigmoid(p["beta"] * (s[c] - s[r]))
    x = masked_mean(t["lp"], m).flatten().clamp(max=-1e-6)
    odds = x - torch.log(-torch.expm1(x))
    return -masked_mean(t["lp"], m)[c, 0] - p["lambda"] * F.logsigmoid(odds[c] - odds[r])


def tensors(data):
    n = [len(x) for x in data["lp"]]
    t = {k: pad(data[k], data["lp_old"]) for k in ("lp", "lp_old", "lp_mu", "lp_ref")}
    t["lp"].requires_grad_()
    return n, t, torch.tensor([[float(j < k) for j in range(7)] for k in n], dtype=torch.float64)


def run(case, sets):
    name, key, method, scale, reduction, p = case
    n, t, m = tensors(sets[key])
    out = {"name": name, "inputs": key, "method": method, "reduction": reduction, "params": p}
    if reduction == "pair":
        chosen = list(pairs(sets[key]["rewards"], n))
        per = torch.stack([pair_loss(method, t, m, c, r, p) for c, r in chosen])
        loss = per.mean()
        out |= {"pairs": chosen, "pair_loss": per.tolist()}
    else:
        A, live = advantages(sets[key]["rewards"], scale or "none")
        per = token_loss(method, t, m, A, p)
        loss = reduce(per, m * live if method == "DAPO" else m, reduction, p)
        out |= {"scaleRewards": scale, "advantages": A.flatten().tolist()} if scale else {}
        out["token_loss"] = [row[:k] for row, k in zip(per.tolist(), n)]
    (grad,) = torch.autograd.grad(loss, t["lp"])
    out |= {"loss": loss.item(), "grad": [row[:k] for row, k in zip(grad.tolist(), n)]}
    return out | {"trl_checked": name in TRL, "trl_max_abs_diff": TRL.get(name)}


def adamw(rng):
    """Three updates by hand: clip by global norm, linear warm-up counted from 1, decoupled decay, bias correction."""
    h = {"learningRate": 1e-2, "beta1": 0.9, "beta2": 0.95, "eps": 1e-8, "weightDecay": 0.01, "maxGradNorm": 1.0, "warmupSteps": 2}
    draw = lambda s: torch.tensor([round(rng.gauss(0, s), 6) for _ in range(5)], dtype=torch.float64)
    w, g = draw(1.0), [draw(s) for s in (3.0, 0.1, 1.0)]
    out = {"params": h, "w": w.tolist(), "grads": [x.tolist() for x in g], "steps": []}
    m, v = torch.zeros(5, dtype=torch.float64), torch.zeros(5, dtype=torch.float64)
    for k, x in enumerate(g, 1):
        norm = x.norm()
        x = x * (h["maxGradNorm"] / (norm + 1e-6)).clamp(max=1)
        lr = h["learningRate"] * min(1.0, k / h["warmupSteps"])
        m = h["beta1"] * m + (1 - h["beta1"]) * x
        v = h["beta2"] * v + (1 - h["beta2"]) * x * x
        step = m / (1 - h["beta1"] ** k) / ((v / (1 - h["beta2"] ** k)).sqrt() + h["eps"])
        w = w * (1 - lr * h["weightDecay"]) - lr * step
        out["steps"].append({"gradNorm": norm.item(), "learningRate": lr, "w": w.tolist(), "m": m.tolist(), "v": v.tolist()})
    return out


def rounded(x):
    if isinstance(x, float):
        return float(f"{x:.10g}") + 0.0
    if isinstance(x, dict):
        return {k: rounded(v) for k, v in x.items()}
    return [rounded(v) for v in x] if isinstance(x, (list, tuple)) else x


def main(seed=1, path="losses.json"):
    rng = random.Random(int(seed))
    sets = inputs(rng)
    golden = [[1, 0, 0, 1], [1, 0.5, 0, 0], [0.1, 0.1, 0.1], [0.7], [3, 3 + 5e-7, 3], [3, 3 + 2e-6, 3]]
    table = [{"rewards": R} | {s: advantages([R], s)[0].flatten().tolist() for s in ("group", "none")} for R in golden]
    doc = {"seed": int(seed), "formulas": FORMULAS, "advantages": table, "inputs": sets, "adamw": adamw(rng)}
    cases = [run(c, sets) for c in CASES]
    with open(path, "w") as f:
        f.write("{\n" + "".join(f"{json.dumps(k)}: {json.dumps(rounded(v))},\n" for k, v in doc.items()))
        f.write('"cases": [\n' + ",\n".join(json.dumps(rounded(c)) for c in cases) + "\n]}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
