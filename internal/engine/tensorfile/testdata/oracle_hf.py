"""Saves tiny Llamas as Hugging Face directories and prints their tensors.

usage: oracle_hf.py DIR SPEC ...      SPEC: dtype,tied,sharded,rope, saved as DIR/SPEC; rope: none, linear, llama3
"""

import json
import sys

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast


def save(folder, dtype, tied, sharded, rope):
    torch.manual_seed(3)
    scaling = {"none": {"rope_type": "default"}, "linear": {"rope_type": "linear", "factor": 2.0},
               "llama3": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                          "original_max_position_embeddings": 64}}[rope]
    config = LlamaConfig(vocab_size=70, hidden_size=48, intermediate_size=80, num_hidden_layers=3, num_attention_heads=6, num_key_value_heads=2,
                         max_position_embeddings=512, rms_norm_eps=1e-5, tie_word_embeddings=tied, bos_token_id=1, eos_token_id=[2, 3],
                         rope_parameters={"rope_theta": 20000.0, **scaling})
    model = LlamaForCausalLM(config).to(dtype)
    for p in model.parameters():
        p.data.normal_()
    model.save_pretrained(folder, max_shard_size="20KB" if sharded else "5GB")
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())[:60]
    t = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(alphabet)}, merges=[]))
    t.pre_tokenizer, t.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(tokenizer_object=t, bos_token="<s>", eos_token="</s>")
    fast.chat_template = "{{ messages[0].content }}"
    fast.save_pretrained(folder)
    return {name: v.float().flatten().tolist() for name, v in model.state_dict().items()}


out = {}
for spec in sys.argv[2:]:
    dtype, tied, sharded, rope = spec.split(",")
    out[spec] = save(f"{sys.argv[1]}/{spec}", getattr(torch, dtype), tied == "1", sharded == "1", rope)
json.dump(out, sys.stdout)
