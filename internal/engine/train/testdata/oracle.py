"""The peer of oracle_test.go: PyTorch, transformers and PEFT in float32.

Reads one JSON request per line from stdin, answers with one JSON line each.
Samples are {"ids": [...], "scored": [0 or 1 ...], "reward": x, "logprobs": [...]}
and go through the model one at a time, without padding or packing.
"""

import copy
import json
import os
import shutil
import sys

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

import torch
import transformers
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

torch.set_num_threads(int(os.environ.get("ORACLE_THREADS", "2")))
BASES = {}


def base(path):
    """A directory, or a .gguf file."""
    if path not in BASES:
        if path.endswith(".gguf"):
            directory, name = os.path.split(path)
            model = AutoModelForCausalLM.from_pretrained(directory, gguf_file=name, dtype=torch.float32)
        else:
            model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)
        BASES[path] = model.eval()
    return BASES[path]


def adapted(request):
    model = base(request["model"])
    if not request.get("adapter"):
        return model, lambda: model
    peft = PeftModel.from_pretrained(model, request["adapter"], is_trainable=True)
    return peft, peft.unload


def make_tiny(request):
    """A random Llama with grouped queries, an untied head and Llama 3's rope."""
    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=512, hidden_size=128, intermediate_size=352, num_hidden_layers=3, num_attention_heads=8,
        num_key_value_heads=2, max_position_embeddings=512, tie_word_embeddings=False, rms_norm_eps=1e-5,
        bos_token_id=1, eos_token_id=2,
        rope_parameters={"rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0, "low_freq_factor": 1.0,
                         "high_freq_factor": 4.0, "original_max_position_embeddings": 64},
    )
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        for p in model.parameters():
            if p.dim() == 2:
                p.normal_(0, 1.4 / p.shape[1] ** 0.5)
            else:
                p.copy_(1 + 0.1 * torch.randn_like(p))
    model.save_pretrained(request["out"])
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {"<unk>": 0, "<s>": 1, "</s>": 2} | {c: i + 3 for i, c in enumerate(alphabet)}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.save(os.path.join(request["out"], "tokenizer.json"))
    with open(os.path.join(request["out"], "tokenizer_config.json"), "w") as f:
        json.dump({"bos_token": "<s>", "eos_token": "</s>"}, f)
    return {}


SMALL = dict(
    vocab_size=512, hidden_size=96, intermediate_size=200, num_hidden_layers=4, num_attention_heads=6, num_key_value_heads=2,
    max_position_embeddings=512, rms_norm_eps=1e-5, bos_token_id=1, eos_token_id=2, pad_token_id=0,
)
# Small configurations of the real classes: what each family adds to Llama's block is switched on.
FAMILIES = {
    "llama2": ("LlamaConfig", dict(num_key_value_heads=6, tie_word_embeddings=False)),
    "smollm2": ("LlamaConfig", dict(tie_word_embeddings=True, rope_parameters={"rope_type": "default", "rope_theta": 100000.0})),
    "mistral": ("MistralConfig", dict(head_dim=24, sliding_window=21)),
    "mistral-full": ("MistralConfig", dict(sliding_window=None)),
    "qwen2": ("Qwen2Config", dict(rope_parameters={"rope_type": "default", "rope_theta": 1000000.0})),
    "qwen2-window": ("Qwen2Config", dict(use_sliding_window=True, sliding_window=13, max_window_layers=2)),
    "qwen3": ("Qwen3Config", dict(head_dim=128, tie_word_embeddings=True, rope_parameters={"rope_type": "default", "rope_theta": 1000000.0})),
    "smollm3": ("SmolLM3Config", dict(rope_parameters={"rope_type": "default", "rope_theta": 2000000.0})),
    "smollm3-window": ("SmolLM3Config", dict(use_sliding_window=True, sliding_window=17, no_rope_layers=[1, 0, 1, 0])),
    "gemma3": ("Gemma3TextConfig", dict(
        num_hidden_layers=7, head_dim=32, sliding_window=19, query_pre_attn_scalar=50,
        rope_parameters={"full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1000000.0},
                         "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0}})),
}


def make_family(request):
    """A random model of a family, saved by transformers."""
    torch.manual_seed(3)
    name, own = FAMILIES[request["family"]]
    config = getattr(transformers, name)(**{**SMALL, **own})
    model = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for path, p in model.named_parameters():
            if p.dim() == 2:
                p.normal_(0, 1.4 / p.shape[1] ** 0.5)
            elif path.endswith("bias"):
                p.normal_(0, 0.5)
            else:  # Gemma's norms apply 1 + w
                p.copy_((0.0 if "Gemma" in name else 1.0) + 0.2 * torch.randn_like(p))
        if "Gemma" in name:
            model.get_input_embeddings().weight.mul_(0.3)
    model.save_pretrained(request["out"])
    save_tokenizer(request["out"])
    return {"class": type(model).__name__}


def make_gguf(request):
    """A model's directory as a GGUF file of float32, named and laid out as llama.cpp's converter does."""
    import gguf

    arch, model = request["arch"], base(request["model"])
    c = model.config
    w = gguf.GGUFWriter(request["out"], arch)
    w.add_name("small")
    w.add_context_length(c.max_position_embeddings), w.add_embedding_length(c.hidden_size), w.add_block_count(c.num_hidden_layers)
    w.add_feed_forward_length(c.intermediate_size), w.add_head_count(c.num_attention_heads), w.add_head_count_kv(c.num_key_value_heads)
    w.add_layer_norm_rms_eps(c.rms_norm_eps), w.add_vocab_size(c.vocab_size)
    width = getattr(c, "head_dim", None) or c.hidden_size // c.num_attention_heads
    w.add_key_length(width), w.add_value_length(width), w.add_rope_dimension_count(width)
    rope = c.rope_parameters.get("full_attention", c.rope_parameters)
    w.add_rope_freq_base(rope["rope_theta"])
    if rope["rope_type"] == "linear":
        w.add_rope_scaling_type(gguf.RopeScalingType.LINEAR), w.add_rope_scaling_factor(rope["factor"])
    if arch == "gemma3":
        w.add_sliding_window(c.sliding_window)
    tokens = json.load(open(os.path.join(request["model"], "tokenizer.json")))["model"]["vocab"]
    w.add_tokenizer_model("gpt2"), w.add_tokenizer_pre("gpt-2")
    w.add_token_list(sorted(tokens, key=tokens.get)), w.add_token_merges(["a b"]), w.add_token_types([1] * len(tokens))
    w.add_bos_token_id(1), w.add_eos_token_id(2)
    names = gguf.get_tensor_name_map({v: k for k, v in gguf.MODEL_ARCH_NAMES.items()}[arch], c.num_hidden_layers)
    for name, p in model.state_dict().items():
        if name == "lm_head.weight" and c.tie_word_embeddings:
            continue
        p = p.float()
        heads = {"q_proj": c.num_attention_heads, "k_proj": c.num_key_value_heads}.get(name.split(".")[-2])
        if heads and arch in ("llama", "smollm3"):
            p = p.reshape(heads, 2, width // 2, *p.shape[1:]).swapaxes(1, 2).reshape(p.shape)
        if arch == "gemma3" and name.endswith("norm.weight"):
            p = p + 1
        w.add_tensor(names.get_name(name, try_suffixes=(".weight", ".bias")), p.contiguous().numpy())
    w.write_header_to_file(), w.write_kv_data_to_file(), w.write_tensors_to_file(), w.close()
    return {}


def save_tokenizer(out):
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {"<unk>": 0, "<s>": 1, "</s>": 2} | {c: i + 3 for i, c in enumerate(alphabet)}
    vocab |= {"ab": len(vocab)}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=[("a", "b")]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.save(os.path.join(out, "tokenizer.json"))
    with open(os.path.join(out, "tokenizer_config.json"), "w") as f:
        json.dump({"bos_token": "<s>", "eos_token": "</s>"}, f)


def make_adapter(request):
    """An adapter with random non-zero A and B, written by PEFT."""
    torch.manual_seed(request.get("seed", 2))
    config = LoraConfig(r=request["rank"], lora_alpha=request["alpha"], target_modules="all-linear", task_type="CAUSAL_LM")
    peft = get_peft_model(base(request["model"]), config)
    with torch.no_grad():
        for name, p in peft.named_parameters():
            if "lora_B" in name:
                p.normal_(0, request["spread"])
    peft.save_pretrained(request["out"])
    peft.unload()
    return {}


def merge(request):
    """The base with the adapter merged into it by PEFT, saved by transformers."""
    peft = PeftModel.from_pretrained(copy.deepcopy(base(request["model"])), request["adapter"])
    peft.merge_and_unload().save_pretrained(request["out"])
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(os.path.join(request["model"], name), request["out"])
    return {}


def logits(request):
    model, unload = adapted(request)
    with torch.no_grad():
        out = model(torch.tensor([request["ids"]])).logits[0].float().contiguous()
    unload()
    save_file({"logits": out}, request["out"])
    return {}


def log_probs(model, sample):
    """lp and entropy of the scored tokens."""
    ids = torch.tensor([sample["ids"]])
    scored = [i for i, m in enumerate(sample["scored"]) if m]
    rows = model(ids, use_cache=False).logits[0, [i - 1 for i in scored]]
    log_softmax = torch.log_softmax(rows, -1)
    return log_softmax.gather(1, ids[0, scored][:, None])[:, 0]


def lora_parameters(model):
    return [(n.replace(".default", ""), p) for n, p in model.named_parameters() if "lora_" in n]


def gradients(request):
    """Of sum over samples and scored tokens of sin(1 + 7*sample + i) * lp."""
    model, unload = adapted(request)
    for number, sample in enumerate(request["samples"]):
        lp = log_probs(model, sample)
        weights = torch.sin(1.0 + 7 * number + torch.arange(len(lp)))
        (weights * lp).sum().backward()
    save_file({n: p.grad.contiguous() for n, p in lora_parameters(model)}, request["out"])
    unload()
    return {}


def group_advantages(group):
    rewards = torch.tensor([s["reward"] for s in group], dtype=torch.float64)
    return (rewards - rewards.mean()) / (rewards.std() + 1e-6)


def train(request):
    """GRPO: clipped ratio 0.8..1.2, dual clip 3, importance weights capped at 2,
    k3 against the base, mean over tokens and then over samples; AdamW."""
    model, unload = adapted(request)
    named = lora_parameters(model)
    optimizer = torch.optim.AdamW([p for _, p in named], lr=request["lr"], betas=(0.9, 0.95), eps=1e-8, weight_decay=0.0)
    samples = {}
    for g, group in enumerate(request["groups"]):
        for s, (sample, advantage) in enumerate(zip(group, group_advantages(group))):
            with torch.no_grad():
                old = log_probs(model, sample)
                with model.disable_adapter():
                    ref = log_probs(model, sample)
            samples[g, s] = (sample, advantage.item(), old, ref)
    losses, norms, ratios, clipped = [], [], [], []
    for batch in request["batches"]:
        members = [samples[g, s] for g in batch for s in range(len(request["groups"][g]))]
        total, spread, cut, tokens = 0.0, 0.0, 0, 0
        for sample, advantage, old, ref in members:
            lp = log_probs(model, sample)
            r = torch.exp(torch.clamp(lp - old, -20, 20))
            policy = -torch.minimum(r * advantage, torch.clamp(r, 0.8, 1.2) * advantage)
            if advantage < 0:
                policy = torch.minimum(policy, torch.full_like(policy, -3 * advantage))
            if sample.get("logprobs"):
                policy = policy * torch.exp(old - torch.tensor(sample["logprobs"])).clamp(max=2)
            d = ref - lp
            loss = (policy + request["kl"] * (torch.exp(d) - d - 1)).mean() / len(members)
            loss.backward()
            total += loss.item()
            spread = max(spread, (r - 1).abs().max().item())
            cut += int(((r > 1.2) & (torch.tensor(advantage) > 0) | (r < 0.8) & (torch.tensor(advantage) < 0)).sum())
            tokens += len(lp)
        norms.append(torch.nn.utils.clip_grad_norm_([p for _, p in named], 1.0).item())
        optimizer.step()
        optimizer.zero_grad()
        losses.append(total)
        ratios.append(spread)
        clipped.append(cut / tokens)
    save_file({n: p.detach().contiguous().clone() for n, p in named}, request["out"])
    unload()
    return {"losses": losses, "norms": norms, "spread": ratios, "clipped": clipped}


def pairs(request):
    """DPO and ORPO on groups [chosen, rejected], one pair at a time; AdamW as in train."""
    model, unload = adapted(request)
    named = lora_parameters(model)
    optimizer = torch.optim.AdamW([p for _, p in named], lr=request["lr"], betas=(0.9, 0.95), eps=1e-8, weight_decay=0.0)
    reference = []
    with torch.no_grad(), model.disable_adapter():
        for group in request["groups"]:
            reference.append([log_probs(model, s).sum() for s in group])
    losses, norms, margins, first = [], [], [], {}
    for batch in request["batches"]:
        total, margin = 0.0, 0.0
        for g in batch:
            chosen, rejected = (log_probs(model, s) for s in request["groups"][g])
            if request["method"] == "DPO":
                inner = request["weight"] * ((chosen.sum() - reference[g][0]) - (rejected.sum() - reference[g][1]))
                loss = -torch.nn.functional.logsigmoid(inner)
            else:
                odds = [x - torch.log(-torch.expm1(x)) for x in (chosen.mean(), rejected.mean())]
                inner = odds[0] - odds[1]
                loss = -chosen.mean() - request["weight"] * torch.nn.functional.logsigmoid(inner)
            (loss / len(batch)).backward()
            total += loss.item() / len(batch)
            margin += inner.item() / len(batch)
        if not first:
            first = {n: p.grad.contiguous().clone() for n, p in named}
        norms.append(torch.nn.utils.clip_grad_norm_([p for _, p in named], 1.0).item())
        optimizer.step()
        optimizer.zero_grad()
        losses.append(total)
        margins.append(margin)
    save_file(first, request["gradients"])
    save_file({n: p.detach().contiguous().clone() for n, p in named}, request["out"])
    unload()
    return {"losses": losses, "norms": norms, "margins": margins}


COMMANDS = {f.__name__: f for f in (make_tiny, make_family, make_gguf, make_adapter, merge, logits, gradients, train, pairs)}

for line in sys.stdin:
    request = json.loads(line)
    try:
        answer = COMMANDS[request["command"]](request)
    except Exception as e:  # the test shows it
        answer = {"error": f"{type(e).__name__}: {e}"}
    sys.__stdout__.write(json.dumps(answer) + "\n")
    sys.__stdout__.flush()
