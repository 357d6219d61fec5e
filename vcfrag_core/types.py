"""Array types, named by element type; shapes stand in the docstrings."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

BoolArray = NDArray[np.bool_]
U8Array = NDArray[np.uint8]
I8Array = NDArray[np.int8]
I16Array = NDArray[np.int16]
I32Array = NDArray[np.int32]
I64Array = NDArray[np.int64]
U64Array = NDArray[np.uint64]
F32Array = NDArray[np.float32]
F64Array = NDArray[np.float64]
IntArray = NDArray[np.integer[Any]]
FloatArray = NDArray[np.floating[Any]]
