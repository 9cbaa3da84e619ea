"""Write a GGUF file again with all matrices in another type: convert_gguf.py IN OUT f32|f16|q8_0

llama.cpp is measured at its best format, so the peer gets each of them with the same values.
"""

import sys

import numpy as np
from gguf import GGMLQuantizationType as Q
from gguf import GGUFReader, GGUFValueType, GGUFWriter
from gguf.quants import dequantize, quantize

src, out, kind = sys.argv[1:]
reader = GGUFReader(src)
want = {"f32": Q.F32, "f16": Q.F16, "q8_0": Q.Q8_0}[kind]
writer = GGUFWriter(out, reader.fields["general.architecture"].contents())
for name, field in reader.fields.items():
    if name.startswith("GGUF.") or name in ("general.architecture", "general.file_type", "general.quantization_version"):
        continue
    value, kinds = field.contents(), field.types
    sub = kinds[-1] if kinds[0] == GGUFValueType.ARRAY else None
    writer.add_key_value(name, value, kinds[0], sub)
writer.add_file_type({"f32": 0, "f16": 1, "q8_0": 7}[kind])
for t in reader.tensors:
    values = dequantize(t.data, t.tensor_type).astype(np.float32)
    if values.ndim == 1 or want == Q.F32:
        writer.add_tensor(t.name, values)
    else:
        writer.add_tensor(t.name, quantize(values, want), raw_dtype=want)
writer.write_header_to_file()
writer.write_kv_data_to_file()
writer.write_tensors_to_file()
writer.close()
