"""Load test of one model server, alone, over the Open Inference Protocol.

python -m tests.load.model_server --address 127.0.0.1:8011 --model rating --data var/data/generated --rate 50,100,200
"""

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

import grpc
import numpy as np
import typer
from numpy.typing import NDArray
from tritonclient.grpc import service_pb2, service_pb2_grpc

from servers.runtime.tensors import infer_request
from tests.load import options, report
from tests.load.arrivals import Call, Load
from tests.load.options import Timing, loads
from tests.load.traffic import Traffic, User

SERVICE = "/inference.GRPCInferenceService"
PREPARED = 2000  # requests that are made beforehand and then taken in turn
Prepared = list[bytes]


def prepare(traffic: Traffic, model: str, candidates: int, k: int) -> Prepared:
    """Serialized requests, so that making them costs the run nothing; each has another user while there are any."""
    users = itertools.islice(itertools.cycle(traffic.users), min(PREPARED, 10 * len(traffic.users)))
    return [_request(traffic, user, model, candidates, k).SerializeToString() for user in users]


def _request(traffic: Traffic, user: User, model: str, candidates: int, k: int) -> service_pb2.ModelInferRequest:
    if model.endswith("_similar"):
        return infer_request(model, {"item": traffic.candidates(1)[None], "k": np.array([[k]], np.int32)})
    inputs = {
        "user_id": np.array([[user.id.encode()]], object),
        "history_item": user.item[None],
        "history_rating": user.rating[None],
        "history_time": user.time[None],
        "query_time": user.time[-1:, None] + 60,
    }
    if model.endswith("_retrieve"):
        return infer_request(model, inputs | {"k": np.array([[k]], np.int32)})
    return infer_request(model, inputs | {"candidate": traffic.candidates(candidates)[None]})


class Unary:
    """One call for each request."""

    def __init__(self, channel: grpc.aio.Channel, requests: Prepared, timeout: float) -> None:
        self._infer: Any = channel.unary_unary(
            f"{SERVICE}/ModelInfer", response_deserializer=service_pb2.ModelInferResponse.FromString
        )
        self._requests, self._timeout = requests, timeout

    async def call(self, number: int) -> str:
        try:
            await self._infer(self._requests[number % len(self._requests)], timeout=self._timeout)
        except grpc.aio.AioRpcError as error:
            return error.code().name
        return "OK"


class Stream:
    """One ModelStreamInfer stream with any number of requests in flight, distinguished by their ids."""

    def __init__(self, channel: grpc.aio.Channel, requests: Prepared, timeout: float) -> None:
        self._stream: Any = channel.stream_stream(
            f"{SERVICE}/ModelStreamInfer", response_deserializer=service_pb2.ModelStreamInferResponse.FromString
        )()
        self._requests, self._timeout = requests, timeout
        self._ids = itertools.count()  # apart from the numbers, which every run begins anew
        self._waiting: dict[str, asyncio.Future[str]] = {}
        self._writing = asyncio.Lock()  # a stream takes one message at a time
        self._reading = asyncio.create_task(self._read())

    async def call(self, number: int) -> str:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._timeout
        answer: asyncio.Future[str] = loop.create_future()
        name = str(next(self._ids))
        self._waiting[name] = answer
        named = service_pb2.ModelInferRequest(id=name).SerializeToString()
        try:
            async with self._writing:  # not within the deadline: a write that is cancelled ends the stream
                # Serialized messages one after another are one message with the fields of both.
                await self._stream.write(self._requests[number % len(self._requests)] + named)
            async with asyncio.timeout_at(deadline):
                return await answer
        except TimeoutError:
            return "DEADLINE_EXCEEDED"
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            return "STREAM_BROKEN"
        finally:
            del self._waiting[name]

    async def _read(self) -> None:
        try:
            async for response in self._stream:
                self._settle(response.infer_response.id, response.error_message or "OK")
        except grpc.aio.AioRpcError as error:
            for name in self._waiting:
                self._settle(name, error.code().name)

    def _settle(self, name: str, code: str) -> None:
        answer = self._waiting.get(name)
        if answer and not answer.done():
            answer.set_result(code)

    async def close(self) -> None:
        self._stream.cancel()
        await asyncio.wait([self._reading])


@asynccontextmanager
async def callers(channel: grpc.aio.Channel, requests: Prepared, timeout: float, streams: int) -> AsyncIterator[Call]:
    """Makes calls through `streams` streams in turn, or unary calls when that is 0."""
    if not streams:
        yield Unary(channel, requests, timeout).call
        return
    opened = [Stream(channel, requests, timeout) for _ in range(streams)]

    async def call(number: int) -> str:
        return await opened[number % streams].call(number)

    yield call
    for each in opened:
        await each.close()


async def spent(channel: grpc.aio.Channel, model: str) -> NDArray[np.float64]:
    """What ModelStatistics has counted so far: [queue ns, compute ns, calls]; NaN from a server that cannot say."""
    request = service_pb2.ModelStatisticsRequest(name=model)
    try:
        [stats] = (await service_pb2_grpc.GRPCInferenceServiceStub(channel).ModelStatistics(request)).model_stats
    except grpc.aio.AioRpcError:
        return np.full(3, np.nan)
    queue, compute = stats.inference_stats.queue, stats.inference_stats.compute_infer
    return np.array([queue.ns, compute.ns, compute.count], np.float64)


async def measure(
    address: str, requests: Prepared, load: Load, timing: Timing, rng: np.random.Generator, stream: bool = False
) -> report.Row:
    """One run, after a warm-up under the same load."""
    model = service_pb2.ModelInferRequest.FromString(requests[0]).model_name
    streams = max(1, load.callers) if stream else 0
    async with (
        grpc.aio.insecure_channel(address) as channel,
        callers(channel, requests, timing.timeout, streams) as call,
    ):
        await load.drive(call, timing.warm_up, rng)
        before = await spent(channel, model)
        run = await load.drive(call, timing.duration, rng)
        queue, compute, calls = (await spent(channel, model) - before).tolist()
    means = {"queue": queue / calls / 1e6, "compute": compute / calls / 1e6} if calls > 0 else {}
    return report.row(f"{model} {'stream' if stream else 'unary'}", load, run, means)


app = typer.Typer()


@app.command()
def main(
    address: options.Address,
    model: Annotated[str, typer.Option(help="rating, rating_retrieve, rating_similar, sequential ...")],
    data: options.Data,
    repository: options.Repository = Path("var/repository"),
    rate: options.Rate = "",
    concurrency: options.Concurrency = "",
    duration: options.Duration = 20,
    warm_up: options.WarmUp = 2,
    stream: Annotated[bool, typer.Option(help="ModelStreamInfer instead of ModelInfer.")] = False,
    candidates: Annotated[int, typer.Option(help="Items to score in each request.")] = 500,
    k: Annotated[int, typer.Option(help="Items to retrieve, for _retrieve and _similar.")] = 100,
    timeout: options.Timeout = 2,
    seed: options.Seed = 0,
    json: options.Json = False,
) -> None:
    """Load-test one model server with real users' requests."""
    requests = prepare(Traffic(data, repository, seed), model, candidates, k)
    timing = Timing(duration, warm_up, timeout)

    async def runs() -> list[report.Row]:
        rng = np.random.default_rng(seed)
        return [await measure(address, requests, load, timing, rng, stream) for load in loads(rate, concurrency)]

    report.show(asyncio.run(runs()), as_json=json)


if __name__ == "__main__":
    options.run(app)
