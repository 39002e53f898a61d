"""The datatypes of the Open Inference Protocol that Marquee knows, and what they are in numpy.

Apart from tensors.py because it loads no message classes: a host with a copy of that proto of its own can use scorers.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

DTYPES: dict[str, np.dtype[Any]] = {
    "BOOL": np.dtype("?"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
    "BYTES": np.dtype("O"),
}
DATATYPES = {dtype: name for name, dtype in DTYPES.items()}
