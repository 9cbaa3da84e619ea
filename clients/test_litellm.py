"""Chat through litellm, as programs that speak to many providers do."""

import os

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # it would ask the network at import

import litellm
import pytest
from conftest import BASE

litellm.telemetry = False
HELLO = [{"role": "user", "content": "hello"}]


def options(server):
    return dict(model="openai/" + BASE, api_base=server.base_url + "/inference/v1", api_key=server.key, max_tokens=12, seed=3, num_retries=0)


def test_chat_and_stream(server):
    r = litellm.completion(messages=HELLO, **options(server))
    assert r.choices[0].message.role == "assistant" and 0 < r.usage.completion_tokens <= 12
    text = "".join(c.choices[0].delta.content or "" for c in litellm.completion(messages=HELLO, stream=True, **options(server)) if c.choices)
    assert text == r.choices[0].message.content


def test_text_completion(server):
    r = litellm.text_completion(prompt="once", **(options(server) | {"model": "text-completion-openai/" + BASE}))
    assert isinstance(r.choices[0].text, str) and r.usage.prompt_tokens == 4


def test_errors(server):
    with pytest.raises(litellm.NotFoundError):
        litellm.completion(messages=HELLO, **(options(server) | {"model": "openai/absent"}))
    with pytest.raises(litellm.AuthenticationError):
        litellm.completion(messages=HELLO, **(options(server) | {"api_key": "fk_wrong"}))
    with pytest.raises(litellm.BadRequestError):
        litellm.completion(messages=HELLO, temperature=5, **options(server))
