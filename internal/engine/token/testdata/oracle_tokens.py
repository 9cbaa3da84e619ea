"""Token ids of Hugging Face's tokenizers for many texts, as JSON on stdout.

usage: oracle_tokens.py KIND COUNT [PATH]
KIND: gguf (the tokeniser of a GGUF file), file (a tokenizer.json), llama3, qwen, gpt4o, plain (trained here), and
trained here with characters as symbols: llama2 (normaliser of Llama 2 and Mistral), gemma, metaspace (Mistral's later form);
scores (as llama2, with the merges that SentencePiece's scores mean; written to PATH as GGUF)
sentencepiece (Mistral's: PATH MODEL, where MODEL is a file of SentencePiece; written to PATH as GGUF)
"""

import json
import random
import sys

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
QWEN = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
GPT4O = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)

WORDS = (
    "the quick brown fox jumps over lazy dog reward model Paris don't I'll we've they're IT'S can't naïve façade "
    "Straße Ωmega привет мир 你好 世界 こんにちは カタカナ 한국어 مرحبا שלום नमस्ते ไทย 1234567 3.14159 0x7fff ½ Ⅷ ² "
    "def return import print( ){ }; == != <= >= // /* */ #include <stdio.h> \\n \"quoted\" 'single' `tick` --flag "
    "user@example.com https://example.com/a?b=c&d=e HelloWorld snake_case camelCase SCREAMING ﬁ ǆ ſ İ ı e\u0301 a\u0308\u0323"
).split()
ODD = ["\u00a0", "\u2003", "\u200b", "\u200d", "\ufeff", "\u3000", "\u0085", "\x00", "\x7f", "\u0600", "\ufffd", "\ue000",
       "😀", "👩‍👩‍👧‍👦", "🏳️‍🌈", "🇩🇪", "\U0001d518", "\U0010ffff", "é", "e\u0301", "\u1680", "\v", "\f", "\u2028", "ſ", "K"]
SPACE = [" ", " ", " ", "  ", "   ", "\n", "\n\n", "\r\n", "\t", "\t\t", " \n ", "        ", "\n\n\n   \n", " \t "]
CODE = "def f(x):\n    if x > 10:\n\t\treturn x**2  # square\n    return [i for i in range(100)]\n\n\nclass A:\n    pass\n"


def texts(count, specials):
    rng = random.Random(7)
    out = ["", " ", "  ", "\n", "a", CODE, "Hello!", " Hello", "'s", "'S 'LL 'ſ", "x" * 300, "ab" * 200, " " * 500 + "x", "\n" * 100, "1" * 100,
           "Don't 'RE 're", "".join(WORDS), " ".join(WORDS), "".join(ODD)]
    for s in specials:
        out += [s, s + s, "a" + s + "b", " " + s + " ", "x\n" + s + "\ny", s[:-1], s[1:], s.upper(), "_" + s, "  " + s + "  !"]
    while len(out) < count:
        parts = []
        for _ in range(rng.randint(1, 24)):
            r = rng.random()
            if r < 0.45:
                parts.append(rng.choice(WORDS))
            elif r < 0.7:
                parts.append(rng.choice(SPACE))
            elif r < 0.78:
                parts.append(rng.choice(ODD))
            elif r < 0.84 and specials:
                parts.append(rng.choice(specials))
            elif r < 0.9:
                parts.append("".join(chr(rng.choice([rng.randint(32, 126), rng.randint(0xA0, 0x2FF), rng.randint(0x370, 0x1FFF),
                                                     rng.randint(0x2000, 0x2BFF), rng.randint(0x3040, 0xD7FF),
                                                     rng.randint(0x1F300, 0x1F6FF)])) for _ in range(rng.randint(1, 8))))
            elif r < 0.95:
                parts.append(str(rng.randint(0, 10 ** rng.randint(1, 12))))
            else:
                parts.append(CODE[rng.randint(0, 40) : rng.randint(41, len(CODE))])
        out.append("".join(parts))
    return out


def trained(kind):
    t = Tokenizer(models.BPE(ignore_merges=kind == "llama3"))
    pattern = {"llama3": LLAMA3, "qwen": QWEN, "gpt4o": GPT4O}.get(kind)
    if pattern:
        t.pre_tokenizer = pre_tokenizers.Sequence([
            pre_tokenizers.Split(Regex(pattern), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    else:
        t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    if kind == "qwen":
        t.normalizer = normalizers.NFC()
    t.decoder = decoders.ByteLevel()
    specials = ["<|begin_of_text|>", "<|eot_id|>", "<|im_start|>", "<|im_end|>"]
    trainer = trainers.BpeTrainer(vocab_size=1500, special_tokens=specials, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
    t.train_from_iterator(texts(600, []), trainer)
    extra = [AddedToken("<tool>", special=False, normalized=False), AddedToken("[MASK]", lstrip=True, special=True),
             AddedToken("<pad>", rstrip=True, special=True), AddedToken("word", single_word=True, special=False, normalized=True),
             AddedToken("<|im", special=False, normalized=False), AddedToken("é", special=False, normalized=True)]
    t.add_special_tokens([e for e in extra if e.special])
    t.add_tokens([e for e in extra if not e.special])
    if kind == "llama3":
        t.post_processor = processors.Sequence([
            processors.ByteLevel(trim_offsets=True),
            processors.TemplateProcessing(single="<|begin_of_text|> $A", special_tokens=[("<|begin_of_text|>", t.token_to_id("<|begin_of_text|>"))])])
    return t, specials + [e.content for e in extra]


PIECES = {
    "llama2": dict(normalizer=normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]), strip=True),
    "gemma": dict(normalizer=normalizers.Replace(" ", "▁"), pre=pre_tokenizers.Split(" ", behavior="merged_with_previous")),
    "metaspace": dict(pre=pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="first", split=False), strip=True),
    "words": dict(pre=pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always", split=True), strip=True),
}


def pieces(kind, whole=True):
    """A tokeniser over characters with byte fallback; whole: every byte has a token."""
    spec = PIECES["llama2" if kind == "scores" else kind]
    t = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True))
    trainer = trainers.BpeTrainer(vocab_size=1200, special_tokens=["<unk>", "<s>", "</s>"], limit_alphabet=150, show_progress=False)
    # Words keep training short; the normaliser is the family's afterwards.
    t.normalizer, t.pre_tokenizer = normalizers.Replace(" ", "▁"), pre_tokenizers.Split("▁", behavior="merged_with_next")
    t.train_from_iterator(texts(600, []), trainer)
    state = json.loads(t.to_str())
    vocab, merges = state["model"]["vocab"], [tuple(m) for m in state["model"]["merges"]]
    for run in range(2, 9):  # runs of spaces, as the real vocabularies have
        vocab["▁" * run] = len(vocab)
        merges.append(("▁" * (run - 1), "▁"))
    for byte in range(256) if whole else []:
        vocab[f"<0x{byte:02X}>"] = len(vocab)
    scores = None
    if kind == "scores":
        from transformers.convert_slow_tokenizer import generate_merges

        made = {}
        for rank, (left, right) in enumerate(merges):
            made.setdefault(left + right, -float(rank))
        skip = {s for s in vocab if s in ("<unk>", "<s>", "</s>") or s.startswith("<0x")}
        scores = {s: made.get(s, 0.0 if s in skip else -1e4 - i) for i, s in enumerate(vocab)}
        merges = [tuple(m) for m in generate_merges(vocab, scores, skip)]
    t = Tokenizer(models.BPE(vocab=vocab, merges=merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    t.normalizer = spec.get("normalizer")
    if "pre" in spec:
        t.pre_tokenizer = spec["pre"]
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    t.decoder = decoders.Sequence(steps + ([decoders.Strip(" ", 1, 0)] if spec.get("strip") else []))
    t.add_special_tokens([AddedToken(s, special=True, normalized=False) for s in ("<unk>", "<s>", "</s>")])
    specials = ["<unk>", "<s>", "</s>"]
    if kind != "scores":
        t.add_tokens([AddedToken("<start_of_turn>", normalized=False), AddedToken("[INST]", normalized=True), AddedToken("\n\n", normalized=False)])
        specials += ["<start_of_turn>", "[INST]"]
    t.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", t.token_to_id("<s>"))])
    return t, specials, scores


def model_pieces(path):
    """(piece, score, type) of a SentencePiece model: field 1 of its protocol buffer."""
    import struct

    def fields(b):
        i = 0
        while i < len(b):
            tag, i = varint(b, i)
            if tag & 7 == 0:
                value, i = varint(b, i)
            elif tag & 7 == 5:
                value, i = struct.unpack_from("<f", b, i)[0], i + 4
            elif tag & 7 == 1:
                value, i = b[i : i + 8], i + 8
            else:
                n, i = varint(b, i)
                value, i = b[i : i + n], i + n
            yield tag >> 3, value

    def varint(b, i):
        n = shift = 0
        while True:
            n |= (b[i] & 127) << shift
            shift, i = shift + 7, i + 1
            if b[i - 1] < 128:
                return n, i

    with open(path, "rb") as f:
        pieces = [dict(fields(p)) for field, p in fields(f.read()) if field == 1]
    return [(p[1].decode(), p.get(2, 0.0), p.get(3, 1)) for p in pieces]


def sentencepiece(path, model):
    """What the converters of transformers make of a SentencePiece model of Mistral."""
    from transformers.convert_slow_tokenizer import generate_merges

    pieces = model_pieces(model)
    vocab, scores = {s: i for i, (s, _, _) in enumerate(pieces)}, {s: score for s, score, _ in pieces}
    skip = {s for s, _, kind in pieces if kind in (2, 3, 6)}
    t = Tokenizer(models.BPE(vocab=vocab, merges=generate_merges(vocab, scores, skip), unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    t.normalizer = PIECES["llama2"]["normalizer"]
    t.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    specials = ["<unk>", "<s>", "</s>"]
    t.add_special_tokens([AddedToken(s, special=True, normalized=False) for s in specials])
    t.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", vocab["<s>"])])
    write_gguf(path, t, scores)
    return t, specials


def write_gguf(path, t, scores):
    import gguf
    import numpy as np

    w = gguf.GGUFWriter(path, "llama")
    for name, value in dict(block_count=1, context_length=64, embedding_length=8, feed_forward_length=8, head_count=1).items():
        getattr(w, "add_" + name)(value)
    w.add_layer_norm_rms_eps(1e-5)
    w.add_tokenizer_model("llama")
    tokens = sorted(scores, key=t.token_to_id)
    kinds = [2 if s == "<unk>" else 3 if s in ("<s>", "</s>") else 6 if s.startswith("<0x") else 1 for s in tokens]
    w.add_token_list(tokens)
    w.add_token_scores([scores[s] for s in tokens])
    w.add_token_types(kinds)
    w.add_bos_token_id(1), w.add_eos_token_id(2), w.add_unk_token_id(0)
    names = ["attn_norm", "ffn_norm", "attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"]
    w.add_tensor("token_embd.weight", np.zeros((len(tokens), 8), np.float32))
    w.add_tensor("output_norm.weight", np.ones(8, np.float32))
    for name in names:
        w.add_tensor(f"blk.0.{name}.weight", np.ones(8, np.float32) if "norm" in name else np.zeros((8, 8), np.float32))
    w.write_header_to_file(), w.write_kv_data_to_file(), w.write_tensors_to_file(), w.close()


def from_file(path):
    t = Tokenizer.from_file(path)
    return t, [a["content"] for a in json.loads(t.to_str())["added_tokens"] if len(a["content"]) > 2][:40]


def from_gguf(path):
    import gguf

    fields = gguf.GGUFReader(path).fields
    tokens, types = fields["tokenizer.ggml.tokens"].contents(), fields["tokenizer.ggml.token_type"].contents()
    merges = [tuple(m.split(" ")) for m in fields["tokenizer.ggml.merges"].contents()]
    assert fields["tokenizer.ggml.pre"].contents() == "smollm"
    t = Tokenizer(models.BPE(vocab={s: i for i, s in enumerate(tokens)}, merges=merges))
    t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)])
    t.decoder = decoders.ByteLevel()
    specials = [s for s, k in zip(tokens, types) if k == 3]
    t.add_special_tokens([AddedToken(s, special=True, normalized=False) for s in specials])
    return t, specials


kind, count = sys.argv[1], int(sys.argv[2])
if kind == "gguf":
    tok, specials = from_gguf(sys.argv[3])
elif kind == "file":
    tok, specials = from_file(sys.argv[3])
elif kind == "sentencepiece":
    tok, specials = sentencepiece(sys.argv[3], sys.argv[4])
elif kind in PIECES or kind == "scores":
    tok, specials, scores = pieces(kind)
    if scores:
        write_gguf(sys.argv[3], tok, scores)
else:
    tok, specials = trained(kind)
cases = []
for text in texts(count, specials):
    ids = tok.encode(text, add_special_tokens=False).ids
    cases.append({"text": text, "ids": ids, "special": tok.encode(text).ids, "decoded": tok.decode(ids, skip_special_tokens=False),
                  "skipped": tok.decode(ids[1:], skip_special_tokens=True)})
json.dump({"tokenizer": "" if kind in ("file", "sentencepiece") else tok.to_str(), "cases": cases}, sys.stdout)
