"""Operations on 16 numbers at once, as LLVM's own vectors: sums of rows, and squares that are turned."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

LANES = 16
_NUMBER = ir.IntType(32)
_ROW = ir.VectorType(_NUMBER, LANES)


def _add_rows(_: Any, rows: Any, target: Any, one: Any, other: Any) -> Any:
    """rows[target] = rows[one] + rows[other], of (N, LANES) 32-bit numbers."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        rows = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        places = [_place(builder, rows, builder.mul(row, row.type(LANES))) for row in arguments[1:]]
        values = [builder.load(place, align=4) for place in places[1:]]
        builder.store(builder.add(*values), places[0], align=4)
        return context.get_dummy_value()

    return types.void(rows, types.intp, types.intp, types.intp), generate


def _turn_square(_: Any, rows: Any, first: Any, target: Any, line: Any, column: Any) -> Any:
    """target[line + q, column + i] = rows[first + i, q] for LANES i and q, of (N, LANES) and (Q, N') numbers."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        source, into = (context.make_array(signature.args[i])(context, builder, arguments[i]) for i in (0, 2))
        _, first, _, line, column = arguments
        start = builder.mul(first, first.type(LANES))
        square = [
            builder.load(_place(builder, source.data, builder.add(start, first.type(LANES * i))), align=4)
            for i in range(LANES)
        ]
        distance = LANES // 2
        while distance:
            # The lanes at this distance of each two rows at this distance are exchanged.
            lower = [i if not i & distance else i - distance + LANES for i in range(LANES)]
            upper = [i + distance if not i & distance else i + LANES for i in range(LANES)]
            for i in range(LANES):
                if not i & distance:
                    pair = square[i], square[i + distance]
                    square[i], square[i + distance] = (
                        builder.shuffle_vector(*pair, ir.Constant(ir.VectorType(_NUMBER, LANES), lanes))
                        for lanes in (lower, upper)
                    )
            distance //= 2
        width = cgutils.unpack_tuple(builder, into.shape)[1]
        for q, row in enumerate(square):
            at = builder.add(builder.mul(builder.add(line, line.type(q)), width), column)
            builder.store(row, _place(builder, into.data, at), align=4)
        return context.get_dummy_value()

    return types.void(rows, types.intp, target, types.intp, types.intp), generate


def _place(builder: Any, data: Any, at: Any) -> Any:
    return builder.bitcast(builder.gep(data, [at]), _ROW.as_pointer())


add_rows: Any = intrinsic(_add_rows)
turn_square: Any = intrinsic(_turn_square)
