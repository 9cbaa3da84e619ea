"""`firekeep.aio` is the same surface, and nothing in it blocks the event loop."""

import asyncio
import inspect
import time
import uuid

import pytest
from conftest import BASE, scored_rows

import firekeep
from firekeep import Client, JobFailedError, NotFoundError, aio, resources, rollouts

HELLO = [{"role": "user", "content": "Say hello"}]


def unique(prefix="m"):
    return f"{prefix}-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def only_async(server, client, monkeypatch):
    """Whatever would block the event loop raises."""

    def blocks(*args, **kwargs):
        raise AssertionError("this blocks the event loop")

    monkeypatch.setattr(Client, "_connection", blocks)
    monkeypatch.setattr(time, "sleep", blocks)
    return client


def test_a_round_without_blocking(only_async):
    async def round():
        async with only_async as client:
            llm = aio.LLM(BASE, client=client)
            groups = await rollouts.asample(llm, [HELLO, HELLO], lambda s, e: len(s.text), samples_per_prompt=4, max_tokens=8, seed=1, progress=False)
            dataset = await aio.Dataset.from_list([g.row() for g in groups], id=unique("d")).sync(client)
            job = await llm.reinforcement_step(dataset, unique(), batch_size_samples=4)
            seen = []
            job = await job.wait(poll=0.05, on_metrics=seen.append)
            assert job.is_completed and [m["update"] for m in seen] == [m["update"] async for m in job.metrics()] == [1, 2]
            assert (await job.get()).state == "JOB_STATE_COMPLETED"
            assert "JOB_STATE_COMPLETED" in [e.state async for e in job.events()]
            assert job.output_model in [c.model async for c in job.checkpoints()]
            assert "update" in await job.logs()
            assert len((await job.plot()).points) == 2
            new = aio.LLM(job.output_model, client=client)
            assert await new.is_lora() and (await new.model()) == job.output_model
            answer = await new.chat.completions.create(HELLO, max_tokens=4)
            assert answer.usage.completion_tokens >= 1
            assert (await new.completions.create("Say", max_tokens=4)).choices[0].text is not None
            assert job.output_model in [m.name async for m in client.aio.models.list()]
            await client.aio.datasets.delete(dataset.id)
            with pytest.raises(NotFoundError):
                await client.aio.datasets.get(dataset.id)

    asyncio.run(round())


def test_streams(only_async):
    async def main():
        async with only_async as client:
            llm = aio.LLM(BASE, client=client)
            whole = await llm.chat.completions.create(HELLO, max_tokens=12, temperature=0)
            stream = await llm.chat.completions.create(HELLO, max_tokens=12, temperature=0, stream=True)
            chunks = [c async for c in stream]
            assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == whole.choices[0].message.content

    asyncio.run(main())


def test_a_cancelled_stream_closes_its_connection(only_async):
    async def main():
        async with only_async as client:
            llm, started = aio.LLM(BASE, client=client), asyncio.Event()

            async def read():
                async with await llm.chat.completions.create(HELLO, max_tokens=400, ignore_eos=True, stream=True) as stream:
                    async for _ in stream:
                        started.set()
                        await asyncio.sleep(0)

            task = asyncio.ensure_future(read())
            await started.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            pool = client._aclient()._transport._pool
            assert not [c for c in pool.connections if not c.is_idle()]  # none is still reading
            assert (await llm.chat.completions.create(HELLO, max_tokens=2)).usage.completion_tokens >= 1

    asyncio.run(main())


def test_cancelling_a_wait_leaves_the_job(only_async):
    async def main():
        async with only_async as client:
            dataset = aio.Dataset.from_list(scored_rows(400), id=unique("d"))
            job = await aio.LLM(BASE, client=client).reinforcement_step(dataset, unique(), epochs=50, batch_size_samples=8)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(job.wait(poll=0.05), 0.3)
            assert (await job.get()).state in ("JOB_STATE_PENDING", "JOB_STATE_CREATING", "JOB_STATE_VALIDATING", "JOB_STATE_RUNNING")
            await job.cancel()
            with pytest.raises(JobFailedError, match="CANCELLED"):
                await job.wait(poll=0.05)

    asyncio.run(main())


def test_acreate_is_the_same(server, client):
    async def main():
        llm = firekeep.LLM(BASE, client=client)
        answer = await llm.chat.completions.acreate(HELLO, max_tokens=4, temperature=0)
        chunks = [c async for c in await llm.chat.completions.acreate(HELLO, max_tokens=4, temperature=0, stream=True)]
        await client.aclose()
        return answer.choices[0].message.content, "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)

    whole, streamed = asyncio.run(main())
    assert whole == streamed


def test_one_client_for_many_loops(server, client):
    for _ in range(3):  # without aclose: connections of a loop that is gone are never used again
        asyncio.run(client.arequest("GET", "/v1/models"))


def test_rollouts_inside_a_running_loop(server, client):
    async def cell():  # as in a notebook
        return rollouts.sample(firekeep.LLM(BASE), [HELLO], lambda s, e: 1.0, samples_per_prompt=2, max_tokens=4, progress=False)

    assert len(asyncio.run(cell())[0].samples) == 2


def public(thing):
    return {name for name in dir(thing) if not name.startswith("_")}


@pytest.mark.parametrize("name", ["LLM", "Dataset", "ReinforcementStep", "SupervisedFineTuningJob", "DPOJob", "BatchJob", "MergeJob"])
def test_same_names_and_parameters(name):
    sync, other = getattr(firekeep, name), getattr(aio, name)
    # Names of properties cannot be awaited twice: what asks the server is a method in aio.
    assert public(sync) - public(other) <= {"name", "model_id"} and public(other) <= public(sync)
    same_parameters(sync, other)


@pytest.mark.parametrize("name", ["Models", "Datasets", "Deployments", "Secrets", "Connections", "Steps", "SupervisedJobs", "DPOJobs", "BatchJobs", "MergeJobs"])
def test_same_resources(name):
    assert public(getattr(resources, name)) == public(getattr(aio, name))
    same_parameters(getattr(resources, name), getattr(aio, name))


def same_parameters(sync, other):
    for method in public(sync) & public(other):
        a, b = inspect.getattr_static(sync, method), inspect.getattr_static(other, method)
        if inspect.isfunction(a):
            assert list(inspect.signature(a).parameters) == list(inspect.signature(b).parameters), method
