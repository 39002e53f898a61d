import time
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from tritonclient.grpc import service_pb2

from servers.runtime import tensors
from servers.runtime.datatypes import DATATYPES, DTYPES, Array
from servers.runtime.errors import InvalidArgument

Input = service_pb2.ModelInferRequest.InferInputTensor
SHAPES = hnp.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=5)
NUMERIC = st.sampled_from([dtype for dtype in DTYPES.values() if dtype != np.dtype("O")])


@st.composite
def bytes_arrays(draw: st.DrawFn) -> Array:
    shape = draw(SHAPES)
    size = int(np.prod(shape))
    flat = np.empty(size, object)
    flat[:] = draw(st.lists(st.binary(max_size=40), min_size=size, max_size=size))
    return flat.reshape(shape)


ARRAYS = st.dictionaries(
    st.text(min_size=1), NUMERIC.flatmap(lambda d: hnp.arrays(d, SHAPES)) | bytes_arrays(), max_size=4
)


def same(left: dict[str, Array], right: dict[str, Array]) -> bool:
    return list(left) == list(right) and all(
        left[name].dtype == right[name].dtype
        and np.array_equal(left[name], right[name], equal_nan=left[name].dtype.kind == "f")
        for name in left
    )


@given(arrays=ARRAYS)
def test_raw_contents_survive_the_round_trip(arrays: dict[str, Array]) -> None:
    wire = tensors.infer_request("model", arrays).SerializeToString()
    request = service_pb2.ModelInferRequest.FromString(wire)
    assert same(tensors.decode(request.inputs, request.raw_input_contents), arrays)


@given(arrays=ARRAYS)
def test_responses_survive_the_round_trip(arrays: dict[str, Array]) -> None:
    wire = tensors.infer_response("model", "3", "id", arrays).SerializeToString()
    response = service_pb2.ModelInferResponse.FromString(wire)
    assert (response.model_name, response.model_version, response.id) == ("model", "3", "id")
    assert same(tensors.decode(response.outputs, response.raw_output_contents), arrays)


@given(arrays=ARRAYS)
def test_typed_contents_say_the_same_as_raw_ones(arrays: dict[str, Array]) -> None:
    inputs = []
    for name, array in arrays.items():
        tensor = Input(name=name, datatype=DATATYPES[array.dtype], shape=array.shape)
        getattr(tensor.contents, tensors.TYPED_FIELDS[tensor.datatype]).extend(array.ravel().tolist())
        inputs.append(tensor)
    assert same(tensors.decode(inputs, []), arrays)


SIZES = st.integers(0, 4) | st.integers(-(2**63), 2**63 - 1)


@given(
    raw=st.binary(max_size=60),
    shape=st.lists(SIZES, max_size=3) | st.lists(SIZES, min_size=60, max_size=80),
)
def test_any_contents_and_shape_are_an_array_or_refused(raw: bytes, shape: list[int]) -> None:
    for datatype in DTYPES:
        for raws in ([raw], []):
            with suppress(InvalidArgument):
                array = tensors.decode([Input(name="x", datatype=datatype, shape=shape)], raws)["x"]
                assert list(array.shape) == shape


@pytest.mark.parametrize(
    "tensor",
    [
        {"shape": [1] * 1_500_000},
        {"shape": [2**62] * 100_000},
        {"name": "x" * 2**23},
    ],
)
def test_what_is_refused_costs_nothing(tensor: Any) -> None:
    inputs = [Input(datatype="INT64", **tensor)]
    started = time.perf_counter()
    with pytest.raises(InvalidArgument) as caught:
        tensors.decode(inputs, [b"1234"])
    assert len(str(caught.value)) < 500
    assert time.perf_counter() - started < 1


def test_raw_numbers_are_not_copied() -> None:
    raw = np.arange(6).tobytes()
    array = tensors.decode([Input(name="x", datatype="INT64", shape=[2, 3])], [raw])["x"]
    assert array.base is not None
    assert not array.flags.writeable


def typed(name: str, datatype: str, shape: list[int], **contents: Any) -> Any:
    return Input(name=name, datatype=datatype, shape=shape, contents=contents)


@pytest.mark.parametrize(
    ("inputs", "raw", "message"),
    [
        ([Input(name="x", datatype="FP16", shape=[1])], [b"ab"], "'x' has datatype 'FP16'; known: BOOL"),
        ([Input(name="x", datatype="INT64", shape=[-1])], [b""], r"'x' has shape \[-1\]; no size may be negative"),
        (
            [Input(name="x", datatype="INT64", shape=[2])],
            [b"12345678"],
            r"'x' of shape \[2\] needs 16 raw bytes, not 8",
        ),
        ([Input(name="x", datatype="INT64", shape=[1])] * 2, [b"12345678"] * 2, "'x' is given twice"),
        ([Input(name="x", datatype="INT64", shape=[1])], [b"12345678"] * 3, "hold 2 tensors more"),
        ([typed("x", "INT64", [0]), typed("y", "BOOL", [0])], [b""], "'y' has no raw contents"),
        ([typed("x", "INT64", [3], int64_contents=[1, 2])], [], r"'x' of shape \[3\] cannot hold 2 elements"),
        ([typed("x", "INT64", [1], fp32_contents=[1.5])], [], r"'x' of shape \[1\] cannot hold 0 elements"),
        ([Input(name="x", datatype="INT64", shape=[2**40, 2**40])], [b"12345678"], "'x'"),
        (
            [typed("x", "INT64", [0, 2**62])],
            [],
            r"'x' has shape \[0, 4611686018427387904\]; the limit is 2147483647 el",
        ),
        ([typed("x", "INT64", [1] * 70, int64_contents=[5])], [], "'x' has 70 axes; the limit is 8"),
        ([Input(name="x", datatype="INT64", shape=[2**62] * 300)], [b"12345678"], "'x' has 300 axes; the limit is 8"),
        ([Input(name="x" * 200, datatype="I" * 200)], [b""], r"'x{100}'\.\.\. has datatype 'I{100}'\.\.\.; known"),
        ([Input(name=str(number)) for number in range(33)], [], "the message has 33 tensors; the limit is 32"),
        ([typed("x", "BYTES", [2**16 + 1])], [], "has 65537 elements of BYTES; the limit is 65536"),
        ([typed("x", "INT64", [2**20 + 1])], [], "typed contents have 1048577 elements; the limit is 1048576"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(inputs: list[Any], raw: list[bytes], message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        tensors.decode(inputs, raw)
