"""Peer: decoding by llama.cpp (llama-cpp-python's low-level API), several sequences per batch.

    peer_llama.py --gguf FILE --sequences 8 --context 256 --tokens 64 --threads 2
    peer_llama.py --gguf FILE --prefill --context 512 --threads 2

Prints one JSON line: decoded tokens per second, prefill excluded (with --prefill: prompt tokens per second), and the process's own peak memory.
"""

import argparse
import ctypes
import json
import os
import resource
import time


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--gguf", required=True)
    p.add_argument("--sequences", type=int, default=1)
    p.add_argument("--context", type=int, default=256)
    p.add_argument("--tokens", type=int, default=64)
    p.add_argument("--threads", type=int, default=os.cpu_count())
    p.add_argument("--prefill", action="store_true")
    a = p.parse_args()
    if a.prefill:
        a.sequences = 4  # the first warms up
    import llama_cpp as L

    @L.llama_log_callback
    def quiet(level, text, data):
        pass

    L.llama_log_set(quiet, ctypes.c_void_p(0))
    L.llama_backend_init()
    mp = L.llama_model_default_params()
    model = L.llama_model_load_from_file(a.gguf.encode(), mp)
    cp = L.llama_context_default_params()
    cp.n_ctx = (a.context + a.tokens + 8) * a.sequences
    cp.n_batch = max(512, a.context)
    cp.n_seq_max = a.sequences
    cp.n_threads = cp.n_threads_batch = a.threads
    ctx = L.llama_init_from_model(model, cp)
    batch = L.llama_batch_init(max(512, a.context, a.sequences), 0, 1)

    def put(i, token, pos, seq, logits):
        batch.token[i], batch.pos[i], batch.n_seq_id[i], batch.seq_id[i][0], batch.logits[i] = token, pos, 1, seq, logits

    prefill = []
    for s in range(a.sequences):
        for i in range(a.context):
            put(i, 10 + (i * 7 + s) % 1000, i, s, i == a.context - 1)
        batch.n_tokens = a.context
        begin = time.perf_counter()
        assert L.llama_decode(ctx, batch) == 0
        L.llama_get_logits_ith(ctx, -1)  # waits for the result
        prefill.append(a.context / (time.perf_counter() - begin))
    if a.prefill:
        report(sorted(prefill[1:])[1])
    begin = time.perf_counter()
    for t in range(a.tokens):
        for s in range(a.sequences):
            put(s, 10 + (t * 13 + s) % 1000, a.context + t, s, True)
        batch.n_tokens = a.sequences
        assert L.llama_decode(ctx, batch) == 0
    took = time.perf_counter() - begin
    report(a.sequences * a.tokens / took)


def report(rate):
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"tokens_per_second": rate, "peak_bytes": peak}), flush=True)
    os._exit(0)


if __name__ == "__main__":
    main()
