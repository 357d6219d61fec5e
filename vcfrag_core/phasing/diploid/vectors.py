"""Rows of a K by K matrix of pairs of candidates, as LLVM's own vectors that write and add up in one reading.

A row is as wide as `padded(K)` says; what lies beyond K is read and written, and never added.
"""

from __future__ import annotations

from typing import Any

from numba import types
from numba.extending import intrinsic

from vcfrag_core.copying.vectors import CandidateLoop, added_up


def _step_row(
    _: Any, source: Any, target: Any, i: Any, k: Any, column: Any, emission: Any, u: Any, keep: Any, add: Any
) -> Any:
    """target[i] = (source[i] * keep + (column[0] + add)) * emission[u]; returns the sum of target[i, :K]."""
    real = source.dtype

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        loop = CandidateLoop(context, builder, signature, arguments, k=3)
        i, first = arguments[2], arguments[2].type(0)
        before, after, term, factor = loop.row(0, i), loop.row(1, i), loop.row(4, first), loop.row(5, arguments[6])
        keep_all, add_all = loop.splat(arguments[7]), loop.splat(arguments[8])
        total = loop.total()

        def body(first: Any, lanes: Any) -> None:
            arriving = builder.fadd(loop.load(term, first), add_all)
            value = builder.fadd(builder.fmul(loop.load(before, first), keep_all), arriving)
            value = builder.fmul(value, loop.load(factor, first))
            loop.store(value, after, first)
            loop.add(total, value, lanes)

        loop.run(body)
        return added_up(builder, builder.load(total))

    return real(source, target, types.intp, types.intp, column, emission, types.intp, real, real), generate


def _enter_row(
    _: Any, source: Any, target: Any, i: Any, k: Any, stays: Any, column: Any, keep: Any, add: Any
) -> Any:  # fmt: skip
    """target[i] = (source[i] * keep + column[0]) * stays[0] + add; returns the sum of target[i, :K]."""
    real = source.dtype

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        loop = CandidateLoop(context, builder, signature, arguments, k=3)
        i, first = arguments[2], arguments[2].type(0)
        before, after, factor, term = loop.row(0, i), loop.row(1, i), loop.row(4, first), loop.row(5, first)
        keep_all, add_all, total = loop.splat(arguments[6]), loop.splat(arguments[7]), loop.total()

        def body(first: Any, lanes: Any) -> None:
            value = builder.fadd(builder.fmul(loop.load(before, first), keep_all), loop.load(term, first))
            value = builder.fadd(builder.fmul(value, loop.load(factor, first)), add_all)
            loop.store(value, after, first)
            loop.add(total, value, lanes)

        loop.run(body)
        return added_up(builder, builder.load(total))

    return real(source, target, types.intp, types.intp, stays, column, real, real), generate


def _dot_row(_: Any, values: Any, i: Any, k: Any, weights: Any) -> Any:
    """The sum of values[i, :K] * weights[0, :K]."""
    real = values.dtype

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        loop = CandidateLoop(context, builder, signature, arguments, k=2)
        row, factor, total = loop.row(0, arguments[1]), loop.row(3, arguments[1].type(0)), loop.total()
        loop.run(
            lambda first, lanes: loop.add(total, builder.fmul(loop.load(row, first), loop.load(factor, first)), lanes)
        )
        return added_up(builder, builder.load(total))

    return real(values, types.intp, types.intp, weights), generate


def _add_row(_: Any, target: Any, values: Any, i: Any, k: Any, factor: Any) -> Any:
    """target[0] += values[i] * factor."""
    real = target.dtype

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        loop = CandidateLoop(context, builder, signature, arguments, k=3)
        sums, row = loop.row(0, arguments[2].type(0)), loop.row(1, arguments[2])
        factor_all = loop.splat(arguments[4])

        def body(first: Any, _: Any) -> None:
            more = builder.fmul(loop.load(row, first), factor_all)
            loop.store(builder.fadd(loop.load(sums, first), more), sums, first)

        loop.run(body)
        return context.get_dummy_value()

    return types.void(target, values, types.intp, types.intp, real), generate


step_row: Any = intrinsic(_step_row)
enter_row: Any = intrinsic(_enter_row)
dot_row: Any = intrinsic(_dot_row)
add_row: Any = intrinsic(_add_row)
