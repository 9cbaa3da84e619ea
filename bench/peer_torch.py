"""Peer: one LoRA GRPO step by PyTorch + transformers + PEFT, float32, on this machine's cores.

    peer_torch.py prepare --gguf FILE --model DIR
    peer_torch.py step --model DIR --groups 4 --samples 8 --prompt 256 --completion 128 --micro 8 --threads 2
    echo 1280x576x576 | peer_torch.py gemm --threads 2

Prints one JSON line: seconds of the step (or a line of GFLOPS per shape) and the process's own peak memory.
"""

import argparse
import json
import os
import resource
import sys
import time


def arguments():
    p = argparse.ArgumentParser()
    p.add_argument("what", choices=["prepare", "step", "gemm"])
    p.add_argument("--gguf")
    p.add_argument("--model", help="float32 directory that prepare writes")
    p.add_argument("--groups", type=int, default=4)
    p.add_argument("--samples", type=int, default=8)
    p.add_argument("--prompt", type=int, default=256)
    p.add_argument("--completion", type=int, default=128)
    p.add_argument("--micro", type=int, default=8)
    p.add_argument("--threads", type=int, default=os.cpu_count())
    p.add_argument("--repeat", type=int, default=1)
    return p.parse_args()


def synthetic(groups, samples, prompt, completion, vocab):
    """The same token ids as `enginebench` makes: a small linear congruential generator."""
    state = 12345
    rows = []
    for _ in range(groups):
        ids = []
        for _ in range(prompt):
            state = (state * 1103515245 + 12345) & 0x7FFFFFFF
            ids.append(3 + state % (vocab - 3))
        row = []
        for _ in range(samples):
            tail = []
            for _ in range(completion):
                state = (state * 1103515245 + 12345) & 0x7FFFFFFF
                tail.append(3 + state % (vocab - 3))
            row.append(ids + tail)
        rows.append(row)
    return rows


def step(a):
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(a.threads)
    model = AutoModelForCausalLM.from_pretrained(a.model, dtype=torch.float32)
    model = get_peft_model(model, LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM"))
    model.train()
    params = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(params, lr=1e-5, betas=(0.9, 0.95), weight_decay=0.0)
    rows = synthetic(a.groups, a.samples, a.prompt, a.completion, model.config.vocab_size)
    ids = torch.tensor([s for row in rows for s in row])
    rewards = torch.tensor([[float(i % 2) for i in range(a.samples)]] * a.groups)
    advantage = ((rewards - rewards.mean(1, keepdim=True)) / (rewards.std(1, keepdim=True) + 1e-6)).flatten()

    def once():
        optimiser.zero_grad()
        for lo in range(0, len(ids), a.micro):
            part, adv = ids[lo : lo + a.micro], advantage[lo : lo + a.micro, None]
            logits = model(input_ids=part, logits_to_keep=a.completion + 1, use_cache=False).logits[:, :-1]
            target = part[:, -a.completion :]
            lp = torch.gather(logits, 2, target[..., None]).squeeze(-1) - torch.logsumexp(logits, -1)
            ratio = torch.exp(lp - lp.detach())
            loss = -torch.minimum(ratio * adv, ratio.clamp(0.8, 1.2) * adv)
            (loss.mean(1).sum() / len(ids)).backward()
        torch.nn.utils.clip_grad_norm_(params, 1.0)
        optimiser.step()

    warm = a.groups, ids
    ids = ids[: a.micro]
    once()  # warm-up on one micro-batch
    ids = warm[1]
    seconds = []
    for _ in range(a.repeat):
        begin = time.perf_counter()
        once()
        seconds.append(time.perf_counter() - begin)
    tokens = ids.numel()
    return {"seconds": sorted(seconds)[len(seconds) // 2], "tokens": tokens, "all": seconds}


def gemm(a):
    """Answers each line "MxNxK" of standard input with the GFLOPS of y = x Wᵀ, best of the runs of 0.3 s."""
    import torch

    torch.set_num_threads(a.threads)
    for line in sys.stdin:
        m, n, k = map(int, line.split("x"))
        x, w = torch.randn(m, k), torch.randn(n, k)
        torch.nn.functional.linear(x, w)
        best, spent = 0.0, 0.0
        while spent < 0.3:
            begin = time.perf_counter()
            torch.nn.functional.linear(x, w)
            took = time.perf_counter() - begin
            spent += took
            best = max(best, 2e-9 * m * n * k / took)
        print(best, flush=True)
    return {}


def prepare(a):
    """Dequantises the GGUF once: every measured process then loads plain float32."""
    import torch
    from transformers import AutoModelForCausalLM

    folder, file = os.path.split(a.gguf)
    model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=file, dtype=torch.float32)
    del model.config.quantization_config  # what is saved is plain float32
    plain = AutoModelForCausalLM.from_config(model.config)
    plain.load_state_dict(model.state_dict())
    plain.save_pretrained(a.model)
    return {}


def main():
    a = arguments()
    result = {"prepare": prepare, "step": step, "gemm": gemm}[a.what](a)
    result["peak_bytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps(result))


if __name__ == "__main__":
    main()
