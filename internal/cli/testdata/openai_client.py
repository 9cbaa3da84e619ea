"""The official OpenAI client against a Firekeep server; run by cli_test.go."""

import os

import openai

key, base = os.environ["KEY"], os.environ["BASE_URL"]
MODEL = "accounts/main/models/tiny"
ask = [{"role": "user", "content": "zq-prompt-zq"}]

for prefix in ("/v1", "/inference/v1"):
    client = openai.OpenAI(api_key=key, base_url=base + prefix, max_retries=0)

    assert MODEL in [m.id for m in client.models.list()]
    assert client.models.retrieve(MODEL).id == MODEL

    whole = client.chat.completions.create(model=MODEL, messages=ask, max_tokens=8, n=3, seed=5, logprobs=True, top_logprobs=2)
    assert whole.object == "chat.completion" and len(whole.choices) == 3
    for i, c in enumerate(whole.choices):
        assert c.index == i and c.message.role == "assistant" and c.finish_reason in ("stop", "length")
        assert all(t.logprob <= 0 and len(t.top_logprobs) == 2 for t in c.logprobs.content)
    tokens = sum(len(c.logprobs.content) for c in whole.choices)
    assert whole.usage.completion_tokens == tokens and whole.usage.prompt_tokens > 0
    assert whole.usage.total_tokens == whole.usage.prompt_tokens + tokens

    text, finish, roles, usage = ["", "", ""], [None] * 3, set(), None
    stream = client.chat.completions.create(
        model=MODEL, messages=ask, max_tokens=8, n=3, seed=5, stream=True, stream_options={"include_usage": True}
    )
    for chunk in stream:
        assert chunk.object == "chat.completion.chunk"
        usage = chunk.usage or usage
        for c in chunk.choices:
            text[c.index] += c.delta.content or ""
            finish[c.index] = c.finish_reason or finish[c.index]
            roles.add(c.delta.role)
    assert text == [c.message.content for c in whole.choices], "a seed gives the same text streamed and whole"
    assert finish == [c.finish_reason for c in whole.choices]
    assert usage.completion_tokens == tokens and "assistant" in roles

    done = client.completions.create(model=MODEL, prompt=["ab", "cd"], max_tokens=4, echo=True, logprobs=1, temperature=0)
    assert [c.text[:2] for c in done.choices] == ["ab", "cd"]
    first = done.choices[0].logprobs
    assert first.token_logprobs[0] is None and all(x <= 0 for x in first.token_logprobs[1:])
    assert len(first.tokens) == len(first.token_logprobs) == len(first.text_offset) == 2 + 4

    ids = client.completions.create(model=MODEL, prompt=[70, 71, 72], max_tokens=2, extra_body={"return_token_ids": True})
    assert ids.choices[0].prompt_token_ids == [70, 71, 72] and len(ids.choices[0].token_ids) <= 2

    greedy = [client.chat.completions.create(model=MODEL, messages=ask, max_tokens=6, temperature=0).choices[0].message.content for _ in range(2)]
    assert greedy[0] == greedy[1]

    def refused(kind, word, **kw):
        try:
            client.chat.completions.create(**({"model": MODEL, "messages": ask, "max_tokens": 2} | kw))
        except kind as e:
            assert word in str(e), (word, str(e))
        else:
            raise AssertionError(f"{kw} was accepted")

    refused(openai.NotFoundError, "Model not found", model="accounts/main/models/none")
    refused(openai.BadRequestError, "temperature", temperature=9)
    refused(openai.BadRequestError, "response_format", response_format={"type": "json_object"})
    refused(openai.BadRequestError, "at least one message", messages=[])
    refused(openai.BadRequestError, "context", max_tokens=10**6, extra_body={"context_length_exceeded_behavior": "error"})
    stranger = openai.OpenAI(api_key="fk_wrong", base_url=base + prefix, max_retries=0)
    try:
        stranger.chat.completions.create(model=MODEL, messages=ask)
    except openai.AuthenticationError as e:
        assert "fk_wrong" not in str(e)
    else:
        raise AssertionError("a wrong key was accepted")

    # A client that leaves in the middle frees the engine.
    stream = client.chat.completions.create(model=MODEL, messages=ask, max_tokens=1000, stream=True, extra_body={"ignore_eos": True})
    next(iter(stream))
    stream.close()
    assert client.chat.completions.create(model=MODEL, messages=ask, max_tokens=2).choices
print("ok")
