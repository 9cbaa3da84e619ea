"""What transformers' apply_chat_template renders, as JSON on stdout.

usage: oracle_templates.py GGUF VOCABULARIES < {"extra": {name: source}}
Templates: the GGUF's own, those of the vocabularies' packages, those that trl ships, and extra ones.
"""

import datetime
import importlib.util
import json
import pathlib
import sys

import gguf
from transformers.utils import chat_template_utils as utils


class Clock(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return datetime.datetime(2024, 7, 26, 12, 0, 0)


utils.datetime = Clock

TOOLS = [
    {"type": "function", "function": {"name": "get_weather", "description": "The weather \"now\" <in> a city & more.", "parameters": {
        "type": "object", "properties": {"city": {"type": "string", "description": "City, e.g. Zürich"},
                                         "days": {"type": "integer", "enum": [1, 2, 3], "default": 1},
                                         "units": {"type": ["string", "null"], "enum": ["C", "F"]}},
        "required": ["city"]}, "return": {"type": "string", "description": "text"}}},
    {"type": "function", "function": {"name": "now", "description": "Time.", "parameters": {"type": "object", "properties": {}}}},
]
CALL = {"id": "call00001", "type": "function", "function": {"name": "get_weather", "arguments": {"city": "Zürich", "days": 2, "deep": {"a": [1, 2.5, None, True]}}}}
S, U, A, T = ({"role": r} for r in ("system", "user", "assistant", "tool"))


def m(base, content, **more):
    return {**base, "content": content, **more}


CHATS = {
    "one": [m(U, "Hello!")],
    "answered": [m(U, "Hello!"), m(A, "Hi, what's up?")],
    "system": [m(S, "You are  terse.\n"), m(U, " 2 + 2? "), m(A, "4")],
    "turns": [m(U, "a"), m(A, "b"), m(U, "c\n\nd"), m(A, " e "), m(U, "ü 😀 <b>&amp;</b>")],
    "system turns": [m(S, "Be kind."), m(U, "a"), m(A, "b"), m(U, "c"), m(A, "d")],
    "tool": [m(U, "Weather?"), m(A, "", tool_calls=[CALL]), m(T, "sunny", tool_call_id="call00001", name="get_weather"), m(A, "It is sunny.")],
    "tool system": [m(S, "Use tools."), m(U, "Weather?"), m(A, "Let me see.", tool_calls=[CALL]),
                    m(T, '{"sky": "sunny"}', tool_call_id="call00001", name="get_weather"), m(U, "Thanks")],
    "two calls": [m(U, "Both"), m(A, "", tool_calls=[CALL, {**CALL, "id": "call00002", "function": {"name": "now", "arguments": {}}}]),
                  m(T, "sunny", tool_call_id="call00001", name="get_weather"), m(T, "noon", tool_call_id="call00002", name="now"), m(A, "Done.")],
    "string arguments": [m(U, "Weather?"), m(A, "", tool_calls=[{**CALL, "function": {"name": "now", "arguments": "{\"a\": 1}"}}])],
    "thinking": [m(U, "2 + 2?"), m(A, "<think>\nTwo and two.\n</think>\n\n4"), m(U, "And 3?"), m(A, "<think>easy</think>5")],
    "reasoning": [m(U, "2 + 2?"), m(A, "4", reasoning_content="Two and two."), m(U, "More"), m(A, "5", thinking="hm")],
    "parts": [{"role": "user", "content": [{"type": "text", "text": "Hello "}, {"type": "text", "text": "there"}]},
              {"role": "assistant", "content": [{"type": "text", "text": "Hi"}]}],
    "image": [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What is it?"}]}],
    "developer": [{"role": "developer", "content": "Rules."}, m(U, "Hi")],
    "two users": [m(U, "a"), m(U, "b")],
    "odd role": [{"role": "critic", "content": "no"}, m(U, "b")],
    "empty content": [m(U, ""), m(A, "")],
    "none content": [m(U, "x"), m(A, None, tool_calls=[CALL])],
    "code": [m(U, "```python\nprint('hi')\n```\n"), m(A, "```\n{{ not.a(template) }} {% if %}\n```")],
    "long": [m(U if i % 2 == 0 else A, f"message {i} " * (i % 5)) for i in range(31)],
    "nothing": [],
}


def templates():
    fields = gguf.GGUFReader(sys.argv[1]).fields
    yield "gguf", fields["tokenizer.chat_template"].contents()
    for path in sorted(pathlib.Path(sys.argv[2]).glob("*/tokenizer_config.json")):
        source = json.loads(path.read_text()).get("chat_template")
        if isinstance(source, str):
            yield "package-" + path.parent.name, source
    folder = pathlib.Path(importlib.util.find_spec("trl").submodule_search_locations[0]) / "chat_templates"
    for path in sorted(folder.glob("*.jinja")):
        yield path.stem, path.read_text()
    yield from json.load(sys.stdin)["extra"].items()


SPECIAL = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}
out = {"tools": json.dumps(TOOLS), "chats": {k: json.dumps(v) for k, v in CHATS.items()}, "templates": {}}
for name, source in templates():
    cases = []
    for chat, messages in CHATS.items():
        for tools in (None, TOOLS):
            for prompt in (False, True):
                try:
                    rendered, _ = utils.render_jinja_template([messages], tools=tools, chat_template=source, add_generation_prompt=prompt, **SPECIAL)
                    case = {"text": rendered[0]}
                except Exception as e:  # the template or Jinja refuses
                    case = {"error": f"{type(e).__name__}: {e}"}
                cases.append({"chat": chat, "tools": tools is not None, "prompt": prompt, **case})
    out["templates"][name] = {"source": source, "cases": cases}
json.dump(out, sys.stdout)
