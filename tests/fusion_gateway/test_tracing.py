"""Spans of real processes, as a collector gets them."""

import asyncio
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from tritonclient.grpc import service_pb2_grpc

from protos.marquee.v1 import recommender_pb2 as pb
from protos.marquee.v1.recommender_pb2_grpc import RecommenderStub
from servers.runtime.tensors import infer_request
from tests.fusion_gateway.real_system import RealSystem, real_system
from tests.servers import tiny_artifact
from tests.servers.running import command, run

TRACE, CALLER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENT = f"00-{TRACE}-{CALLER}-01"
NOT_SAMPLED = f"00-{TRACE}-{CALLER}-00"
STAGES = {"history", "retrieve", "filter", "score", "fuse"}


@dataclass
class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    spans: list[tuple[str, Any]] = field(default_factory=list)
    """Name of the program, and its span."""

    def Export(self, request: Any, context: Any) -> Any:
        for each in request.resource_spans:
            [name] = [a.value.string_value for a in each.resource.attributes if a.key == "service.name"]
            self.spans += [(name, span) for scope in each.scope_spans for span in scope.spans]
        return trace_service_pb2.ExportTraceServiceResponse()


def attributes(span: Any) -> dict[str, Any]:
    return {a.key: getattr(a.value, a.value.WhichOneof("value")) for a in span.attributes}


@pytest.fixture
async def traced(tmp_path: Path) -> AsyncIterator[tuple[RealSystem, Collector]]:
    collector = Collector()
    server = grpc.server(ThreadPoolExecutor(1))
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(collector, server)  # type: ignore[no-untyped-call]
    endpoint = f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    with real_system(tmp_path, f"--trace-endpoint={endpoint}", "--log-level=debug") as system:
        yield system, collector
    server.stop(None).wait()


async def stopped(system: RealSystem) -> None:
    """Spans are sent at the latest when a process stops."""
    for running in (system.gateway, system.rating):
        running.process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(running.process.wait, 20) == 0


async def test_a_callers_trace_goes_on_through_the_gateway_and_the_model_server(
    traced: tuple[RealSystem, Collector],
) -> None:
    system, collector = traced
    async with grpc.aio.insecure_channel(system.gateway.grpc_address) as channel:
        stub: Any = RecommenderStub(channel)
        request = pb.RecommendRequest(history=[pb.Event(item_id="1")], weights={"rating": 1})
        await stub.Recommend(request, metadata=(("traceparent", PARENT),))
        await stub.Recommend(request, metadata=(("traceparent", NOT_SAMPLED),))
        with pytest.raises(grpc.aio.AioRpcError):
            await stub.Recommend(pb.RecommendRequest(k=501), metadata=(("traceparent", PARENT),))
    await stopped(system)
    assert {span.trace_id.hex() for _, span in collector.spans} == {TRACE}
    by_id = {span.span_id.hex(): (program, span) for program, span in collector.spans}

    def path(span: Any) -> list[str]:
        """Names from the caller down to the span."""
        parent = span.parent_span_id.hex()
        return [*([] if parent == CALLER else path(by_id[parent][1])), span.name.rpartition("/")[2]]

    found = Counter((program, *path(span)) for program, span in collector.spans)
    for stage in STAGES:
        assert found.pop(("fusion_gateway", "Recommend", stage)) == 1
    assert found == {
        ("fusion_gateway", "Recommend"): 2,
        ("fusion_gateway", "Recommend", "ModelInfer"): 1,
        ("servers rating", "Recommend", "ModelInfer", "ModelInfer"): 1,
    }
    served = [span for program, span in collector.spans if program == "servers rating"]
    assert {span.name for span in served} == {"inference.GRPCInferenceService/ModelInfer"}
    recorded = [attributes(span) for span in served]
    assert {each["marquee.model"] for each in recorded} == {"rating"}
    for each in recorded:
        assert (each["rpc.system"], each["rpc.grpc.status_code"], each["marquee.version"]) == ("grpc", 0, "1")
    codes = [attributes(span)["rpc.grpc.status_code"] for _, span in collector.spans if span.name.endswith("Recommend")]
    assert sorted(codes) == [0, grpc.StatusCode.INVALID_ARGUMENT.value[0]]
    for program in ("gateway", "rating"):
        calls = [line for line in system.lines(program) if line["event"] == "call"]
        assert {
            line["trace_id"] for line in calls if "ModelInfer" in line["method"] or "Recommend" in line["method"]
        } == {TRACE}


async def test_each_request_of_a_stream_has_a_span_in_its_own_trace(traced: tuple[RealSystem, Collector]) -> None:
    system, collector = traced
    traces = [f"{n:032x}" for n in range(1, 6)]
    async with grpc.aio.insecure_channel(system.rating.grpc_address) as channel:
        stream = service_pb2_grpc.GRPCInferenceServiceStub(channel).ModelStreamInfer()
        for trace in traces:
            request = infer_request("rating" if trace != traces[2] else "junk", {"candidate": np.array([[3]])})
            request.parameters["traceparent"].string_param = f"00-{trace}-{CALLER}-01"
            await stream.write(request)
        await stream.done_writing()
        assert len([answer async for answer in stream]) == 5
    await stopped(system)
    assert [span.trace_id.hex() for _, span in collector.spans] == traces
    assert [span.status.message for _, span in collector.spans if span.status.message] == [
        "no model 'junk' here; there are rating, rating_retrieve, rating_similar"
    ]
    assert {span.parent_span_id.hex() for _, span in collector.spans} == {CALLER}


def test_a_collector_that_is_away_delays_no_stop(tmp_path: Path) -> None:
    with real_system(tmp_path, "--trace-endpoint=http://127.0.0.1:1") as system:
        with grpc.insecure_channel(system.gateway.grpc_address) as channel:
            stub: Any = RecommenderStub(channel)
            assert stub.Recommend(pb.RecommendRequest()).items
        system.gateway.process.send_signal(signal.SIGTERM)
        assert system.gateway.process.wait(15) == 0


WITHOUT = """
import runpy, sys
sys.modules["opentelemetry"] = None
runpy.run_module("servers", run_name="__main__", alter_sys=True)
"""


def test_without_the_library_the_program_says_what_to_install(tmp_path: Path) -> None:
    tiny_artifact.publish(tmp_path)
    arguments = command("rating", tmp_path, "--trace-endpoint=http://127.0.0.1:1")
    ended = run(sys.executable, "-c", WITHOUT, *arguments[3:])
    assert ended.returncode == 1
    assert ended.stderr == "error: --trace-endpoint needs OpenTelemetry: pip install 'marquee[tracing]'\n"
