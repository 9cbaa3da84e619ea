"""Values of a GGUF file as the gguf package dequantises them.

usage: oracle_gguf.py PATH            SHA-256 of the float32 bytes of every tensor
       oracle_gguf.py --make PATH     writes a file with every supported type
"""

import hashlib
import json
import sys

import gguf
import numpy as np

TYPES = ["F32", "F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q4_K", "Q5_K", "Q6_K"]

if sys.argv[1] == "--make":
    rng = np.random.default_rng(5)
    w = gguf.GGUFWriter(sys.argv[2], "llama")
    for name in TYPES:
        kind = gguf.GGMLQuantizationType[name]
        block, size = gguf.GGML_QUANT_SIZES[kind]
        data = (rng.standard_normal((8, 512)) * rng.choice([1e-6, 1.0, 300.0], (8, 1))).astype(np.float32)
        if name.endswith("_K"):  # random bytes with finite scales: at the end of Q6_K's blocks, d and dmin at the start of the others
            raw = rng.integers(0, 256, (8, 512 // block * size), dtype=np.uint8)
            places = [slice(-2, None)] if name == "Q6_K" else [slice(0, 2), slice(2, 4)]
            for place in places:
                raw.reshape(-1, size)[:, place] = rng.standard_normal((8 * 512 // block, 1)).astype(np.float16).view(np.uint8)
            w.add_tensor(name, raw, raw_dtype=kind)
        elif name in ("F32", "F16"):
            w.add_tensor(name, data.astype(np.float32 if name == "F32" else np.float16))
        else:
            w.add_tensor(name, gguf.quants.quantize(data, kind), raw_dtype=kind)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()

out = {}
for t in gguf.GGUFReader(sys.argv[-1]).tensors:
    values = np.ascontiguousarray(gguf.quants.dequantize(t.data, t.tensor_type), dtype=np.float32)
    out[t.name] = {"type": t.tensor_type.name, "shape": [int(d) for d in reversed(t.shape)], "sha256": hashlib.sha256(values.tobytes()).hexdigest()}
json.dump(out, sys.stdout)
