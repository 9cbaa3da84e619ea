// Chat, completions, streams and models through the official `openai` client for
// Node; test_openai_node.py runs it: node openai.mjs MODULES BASE_URL KEY MODEL
import assert from "node:assert/strict";
import { createRequire } from "node:module";

const [, , modules, baseURL, apiKey, model] = process.argv;
const { OpenAI } = createRequire(modules + "/")("openai");
const client = new OpenAI({ baseURL, apiKey, maxRetries: 0 });
const messages = [{ role: "user", content: "hello" }];

const ids = [];
for await (const m of client.models.list()) ids.push(m.id);
assert.ok(ids.includes(model));
assert.equal((await client.models.retrieve(model)).object, "model");

const ask = { model, messages, max_tokens: 20, seed: 7, temperature: 1, ignore_eos: true };
const whole = await client.chat.completions.create(ask);
assert.equal(whole.choices[0].message.role, "assistant");
assert.equal(whole.usage.completion_tokens, 20);

let text = "", usage, finish;
for await (const chunk of await client.chat.completions.create({ ...ask, stream: true, stream_options: { include_usage: true } })) {
  text += chunk.choices[0]?.delta?.content ?? "";
  finish = chunk.choices[0]?.finish_reason ?? finish;
  usage = chunk.usage ?? usage;
}
assert.equal(text, whole.choices[0].message.content);
assert.equal(finish, "length");
assert.equal(usage.completion_tokens, 20);

const helper = await client.chat.completions.stream(ask).finalChatCompletion();
assert.equal(helper.choices[0].message.content, text);

const scored = await client.chat.completions.create({ ...ask, logprobs: true, top_logprobs: 2 });
assert.equal(scored.choices[0].logprobs.content.length, 20);

const completion = await client.completions.create({ model, prompt: ["ab", "cd"], max_tokens: 3, echo: true, logprobs: 1 });
assert.deepEqual(completion.choices.map((c) => c.index), [0, 1]);
assert.ok(completion.choices[1].text.startsWith("cd"));
assert.equal(completion.choices[0].logprobs.token_logprobs[0], null);

await assert.rejects(client.chat.completions.create({ ...ask, model: "absent" }), (e) => e instanceof OpenAI.NotFoundError && e.code === "NOT_FOUND");
await assert.rejects(client.chat.completions.create({ ...ask, temperature: 9 }), (e) => e instanceof OpenAI.BadRequestError && e.param === "temperature");
await assert.rejects(new OpenAI({ baseURL, apiKey: "fk_wrong", maxRetries: 0 }).models.list(), (e) => e instanceof OpenAI.AuthenticationError);

const abort = new AbortController();
const endless = await client.chat.completions.create({ ...ask, max_tokens: 1500, stream: true }, { signal: abort.signal });
for await (const _ of endless) { abort.abort(); break; }
assert.ok((await client.chat.completions.create({ ...ask, max_tokens: 1 })).choices.length === 1, "the server goes on behind a client that left");
console.log("ok");
