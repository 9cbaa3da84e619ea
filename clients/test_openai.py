"""Chat, completions, streams and models through the official `openai` client."""

import asyncio
import math

import httpx
import openai
import pytest
from conftest import BASE
from openai import AsyncOpenAI, OpenAI

HELLO = [{"role": "user", "content": "hello"}]


@pytest.fixture(scope="module", params=["/v1", "/inference/v1"])
def client(request, server):
    return OpenAI(base_url=server.base_url + request.param, api_key=server.key, max_retries=0)


def extra(**parameters):
    return {"extra_body": parameters}


def test_models(client):
    listed = client.models.list()
    assert BASE in [m.id for m in listed] and listed.object == "list"
    one = client.models.retrieve(BASE)
    assert one.id == BASE and one.object == "model" and one.owned_by == "fireworks" and one.created > 0
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("accounts/fireworks/models/absent")


def test_chat(client):
    r = client.chat.completions.create(model=BASE, messages=HELLO, max_tokens=8, seed=3, temperature=0.7, user="u", metadata={"a": "b"}, service_tier="default")
    assert r.object == "chat.completion" and r.model == BASE and len(r.choices) == 1 and r.id
    choice = r.choices[0]
    assert choice.message.role == "assistant" and isinstance(choice.message.content, str) and choice.finish_reason in ("stop", "length")
    assert r.usage.total_tokens == r.usage.prompt_tokens + r.usage.completion_tokens and 0 < r.usage.completion_tokens <= 8
    assert r.usage.prompt_tokens_details.cached_tokens >= 0


def test_stream_says_what_the_answer_says(client):
    ask = dict(model=BASE, messages=HELLO, max_tokens=24, seed=11, temperature=1, **extra(ignore_eos=True))
    whole = client.chat.completions.create(**ask)
    text, roles, finish, usage = "", [], [], None
    for chunk in client.chat.completions.create(stream=True, stream_options={"include_usage": True}, **ask):
        assert chunk.object == "chat.completion.chunk"
        usage = chunk.usage or usage
        for c in chunk.choices:
            text += c.delta.content or ""
            roles += [c.delta.role] if c.delta.role else []
            finish += [c.finish_reason] if c.finish_reason else []
    assert text == whole.choices[0].message.content and roles == ["assistant"] and finish == ["length"]
    assert usage.completion_tokens == whole.usage.completion_tokens == 24


def test_stream_of_several_choices(client):
    texts = {}
    last = None
    for chunk in client.chat.completions.create(model=BASE, messages=HELLO, n=3, max_tokens=6, seed=1, stream=True):
        last = chunk
        for c in chunk.choices:
            texts[c.index] = texts.get(c.index, "") + (c.delta.content or "")
    assert sorted(texts) == [0, 1, 2] and last.usage.completion_tokens <= 18
    whole = client.chat.completions.create(model=BASE, messages=HELLO, n=3, max_tokens=6, seed=1)
    assert [c.message.content for c in whole.choices] == [texts[i] for i in range(3)]


def test_seed(client):
    def say(seed):
        return client.completions.create(model=BASE, prompt="once", max_tokens=16, seed=seed, **extra(ignore_eos=True)).choices[0].text

    assert say(5) == say(5) and say(5) != say(6)


def test_logprobs_of_chats(client):
    r = client.chat.completions.create(model=BASE, messages=HELLO, max_tokens=4, temperature=0, logprobs=True, top_logprobs=3, **extra(ignore_eos=True))
    content = r.choices[0].logprobs.content
    assert len(content) == 4
    for t in content:
        assert t.logprob <= 0 and len(t.top_logprobs) == 3 and bytes(t.bytes).decode(errors="replace") == t.token
        assert t.top_logprobs[0].logprob == t.logprob, "greedy decoding takes the most probable token"
        assert t.sampling_logprob == 0, "greedy decoding leaves no choice"


def test_logprobs_of_completions_are_of_the_old_shape(client):
    r = client.completions.create(model=BASE, prompt="abc", max_tokens=4, logprobs=2, echo=True, temperature=1, seed=1, **extra(ignore_eos=True))
    l = r.choices[0].logprobs
    assert len(l.tokens) == len(l.token_logprobs) == len(l.top_logprobs) == len(l.text_offset) == 7
    assert "".join(l.tokens[:3]) == "abc" and l.token_logprobs[0] is None and l.text_offset[:3] == [0, 1, 2]
    # bytes that are no text of their own are all the same character
    assert all(token in top and 1 <= len(top) <= 3 for token, top in list(zip(l.tokens, l.top_logprobs))[1:])
    assert r.choices[0].text.startswith("abc")


def test_echo_last(client):
    r = client.completions.create(model=BASE, prompt="abcdef", max_tokens=0, logprobs=0, **extra(echo_last=2))
    l = r.choices[0].logprobs
    assert r.choices[0].text == "ef" and l.tokens == ["e", "f"] and None not in l.token_logprobs
    whole = client.completions.create(model=BASE, prompt="abcdef", max_tokens=0, logprobs=0, echo=True).choices[0].logprobs
    assert whole.token_logprobs[4:] == l.token_logprobs and r.usage.completion_tokens == 0


def test_prompts_in_every_form(client):
    ids = client.completions.create(model=BASE, prompt="ab", max_tokens=1, **extra(return_token_ids=True)).choices[0].prompt_token_ids
    assert len(ids) == 2
    ask = dict(model=BASE, max_tokens=5, seed=2, temperature=1)
    text = client.completions.create(prompt="ab", **ask).choices[0].text
    assert client.completions.create(prompt=ids, **ask).choices[0].text == text
    both = client.completions.create(prompt=[ids, ids[:1]], n=2, **ask)
    assert [c.index for c in both.choices] == [0, 1, 2, 3] and both.choices[0].text == text
    texts = client.completions.create(prompt=["ab", "a"], n=2, **ask)
    assert [c.text for c in texts.choices] == [c.text for c in both.choices] and texts.usage.prompt_tokens == 3


def test_long_echo_is_the_prompt(client):
    prompt = "x" * 700
    r = client.completions.create(model=BASE, prompt=prompt, max_tokens=3, echo=True, logprobs=0, **extra(return_token_ids=True, ignore_eos=True))
    assert r.usage.prompt_tokens == 700 and r.usage.completion_tokens == 3 and len(r.choices[0].token_ids) == 703
    assert r.choices[0].text.startswith(prompt) and r.choices[0].logprobs.token_logprobs.count(None) == 1


def greedy(client, tokens=30, **parameters):
    body = {"ignore_eos": True, "return_token_ids": True, **parameters}
    return client.completions.create(model=BASE, prompt="the", max_tokens=tokens, temperature=0, extra_body=body).choices[0]


def test_logit_bias_and_penalties(client):
    plain = greedy(client).token_ids
    assert set(greedy(client, logit_bias={"70": 100}).token_ids) == {70}
    assert plain[0] not in greedy(client, logit_bias={str(plain[0]): -100}).token_ids
    repeats = lambda ids: len(ids) - len(set(ids))
    for name, value in {"frequency_penalty": 2, "presence_penalty": 2, "repetition_penalty": 2}.items():
        changed = greedy(client, **{name: value}).token_ids
        assert repeats(changed) < repeats(plain), name


def test_cuts_of_the_distribution(client):
    plain = greedy(client).token_ids
    hot = lambda **p: client.completions.create(model=BASE, prompt="the", max_tokens=30, temperature=2, seed=4,
                                                extra_body={"ignore_eos": True, "return_token_ids": True, **p}).choices[0].token_ids
    assert hot() != plain
    assert hot(top_k=1) == hot(min_p=1) == hot(top_p=0) == plain
    assert hot(min_p=0.5) != hot() and hot(typical_p=0.05) != hot() and hot(top_p=0.1) != hot()


def test_sampling_logprob_is_of_what_was_drawn_from(client):
    r = client.completions.create(model=BASE, prompt="the", max_tokens=20, temperature=1, seed=9, logprobs=5,
                                  extra_body={"top_k": 2, "ignore_eos": True, "logprobs": True, "top_logprobs": 2})
    for t in r.choices[0].logprobs.content:
        a, b = (math.exp(x["logprob"]) for x in t["top_logprobs"])
        assert math.isclose(math.exp(t["sampling_logprob"]), math.exp(t["logprob"]) / (a + b), rel_tol=1e-4)


def test_stop(client):
    text = greedy(client).text
    cut = client.completions.create(model=BASE, prompt="the", max_tokens=30, temperature=0, stop=[text[7]], extra_body={"ignore_eos": True}).choices[0]
    assert cut.finish_reason == "stop" and cut.text == text[: text.index(text[7])]


def test_context_length(client):
    long = "x" * 2040
    r = client.completions.create(model=BASE, prompt=long, max_tokens=100, extra_body={"ignore_eos": True})
    assert r.choices[0].finish_reason == "length" and r.usage.total_tokens == 2048
    with pytest.raises(openai.BadRequestError) as e:
        client.completions.create(model=BASE, prompt=long, max_tokens=100, extra_body={"context_length_exceeded_behavior": "error"})
    assert e.value.type == "invalid_request_error" and e.value.param == "prompt" and "2048" in e.value.message
    with pytest.raises(openai.BadRequestError):
        client.completions.create(model=BASE, prompt="x" * 3000, max_tokens=1)


def test_prompt_truncate_len(client):
    turns = [{"role": r, "content": "word " * 10} for r in ("user", "assistant")] * 5 + [{"role": "user", "content": "last"}]
    ask = lambda limit: client.chat.completions.create(model=BASE, messages=turns, max_tokens=1, extra_body={"prompt_truncate_len": limit}).usage.prompt_tokens
    assert ask(10_000) > 600 and 100 < ask(300) <= 300
    with pytest.raises(openai.BadRequestError) as e:
        ask(5)
    assert e.value.param == "prompt_truncate_len"


def test_raw_output_and_token_ids(client):
    r = client.chat.completions.create(model=BASE, messages=HELLO, max_tokens=3, logprobs=True,
                                       extra_body={"raw_output": True, "return_token_ids": True, "perf_metrics_in_response": True, "ignore_eos": True})
    raw, choice = r.choices[0].raw_output, r.choices[0]
    assert raw["prompt_token_ids"] == r.prompt_token_ids and len(r.prompt_token_ids) == r.usage.prompt_tokens
    assert raw["completion_token_ids"] == choice.token_ids and len(choice.token_ids) == 3
    assert [t["token_id"] for t in raw["completion_logprobs"]["content"]] == choice.token_ids
    assert int(r.perf_metrics["prompt-tokens"]) == r.usage.prompt_tokens


@pytest.mark.parametrize("parameters", [
    {"tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}], "tool_choice": "required"},
    {"tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}], "tool_choice": {"type": "function", "function": {"name": "f"}}},
    {"response_format": {"type": "json_object"}},
    {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {}}}},
    {"functions": [{"name": "f", "parameters": {}}]},
    {"mirostat_target": 5.0}, {"temperature": 3}, {"n": 0}, {"logprobs": True, "top_logprobs": 20}, {"logit_bias": {"999999": 1}},
])
def test_refusals_name_the_parameter(client, parameters):
    with pytest.raises(openai.BadRequestError) as e:
        client.chat.completions.create(model=BASE, messages=HELLO, max_tokens=1, extra_body=parameters)
    assert e.value.param in parameters and e.value.type == "invalid_request_error" and e.value.code == "bad_request" and e.value.body["object"] == "error"


def test_errors_of_the_api(client, server):
    with pytest.raises(openai.NotFoundError) as e:
        client.chat.completions.create(model="accounts/main/models/absent", messages=HELLO)
    assert e.value.code == "NOT_FOUND" and e.value.param == "model" and "not deployed" in e.value.message
    with pytest.raises(openai.AuthenticationError) as e:
        OpenAI(base_url=client.base_url, api_key="fk_wrong", max_retries=0).models.list()
    assert e.value.code == "UNAUTHORIZED"
    for call in (client.responses.create, ):
        with pytest.raises(openai.APIStatusError) as e:
            call(model=BASE, input="hello")
        assert e.value.status_code == 501 and e.value.response.headers["x-should-retry"] == "false"
    with pytest.raises(openai.APIStatusError) as e:
        client.embeddings.create(model=BASE, input="hello")
    assert e.value.status_code == 501


def test_forms_of_the_model_string(client, server):
    deployments, key = server.base_url + "/v1/accounts/main/deployments", {"Authorization": "Bearer " + server.key}
    httpx.post(deployments, params={"deploymentId": "forms"}, json={"baseModel": BASE}, headers=key).raise_for_status()
    try:
        for model in ("tiny", "fireworks/tiny", BASE, BASE + "#accounts/main/deployments/forms", "fireworks/tiny#main/forms", "accounts/main/deployments/forms"):
            r = client.completions.create(model=model, prompt="a", max_tokens=1)
            assert r.model == model
        for model in (BASE + "#accounts/main/deployments/absent", "accounts/main/deployments/absent", "main/tiny", "#", "accounts/other/deployments/forms"):
            with pytest.raises(openai.NotFoundError):
                client.completions.create(model=model, prompt="a", max_tokens=1)
    finally:
        httpx.delete(deployments + "/forms", params={"hard": "true"}, headers=key).raise_for_status()


def test_many_at_once(server):
    async def run():
        async with AsyncOpenAI(base_url=server.base_url + "/v1", api_key=server.key, max_retries=0) as client:
            async def one(i):
                stream = await client.chat.completions.create(model=BASE, messages=HELLO, max_tokens=8, seed=i % 4, stream=True)
                return "".join([c.choices[0].delta.content or "" async for c in stream if c.choices])

            return await asyncio.gather(*[one(i) for i in range(24)])

    texts = asyncio.run(run())
    assert len(set(texts)) <= 4 and all(texts[i] == texts[i % 4] for i in range(24)), "an answer depends on its company"
