"""Operations that a compiled loop is made of, as LLVM's own vectors: carriers as bits are masks of additions.

What is added up is added in 16 lanes and then half by half, in one order on every machine: nothing may be reordered.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

LANES = 16
# How far apart the parts of words lie that are exchanged, and the lower ones of these.
_PARTS = (
    (32, 0x00000000FFFFFFFF),
    (16, 0x0000FFFF0000FFFF),
    (8, 0x00FF00FF00FF00FF),
    (4, 0x0F0F0F0F0F0F0F0F),
    (2, 0x3333333333333333),
    (1, 0x5555555555555555),
)
_ALL = 2**64 - 1


def _sum_carriers(n_sites: int) -> Any:
    """An intrinsic: sums of two rows of posteriors over the carriers of `n_sites` sites, in one reading.

    Its arguments are bits (G, 64), sites (N,) of which those from number `at` on are meant, posteriors
    (R, >= padded(K)), two of its rows, K, and (2, >= n_sites) sums, filled with those of the one row and of the other.
    """

    def typing(_: Any, bits: Any, sites: Any, at: Any, posteriors: Any, one: Any, other: Any, k: Any, sums: Any) -> Any:
        return types.void(bits, sites, types.intp, posteriors, types.intp, types.intp, types.intp, sums), generate

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        bits, sites, posteriors, sums = (
            context.make_array(signature.args[i])(context, builder, arguments[i]) for i in (0, 1, 3, 7)
        )
        _, _, at, _, one, other, k, _ = arguments
        vector = ir.VectorType(context.get_value_type(signature.args[3].dtype), LANES)
        width, sixteen = at.type, ir.IntType(LANES)
        masks, per_site = builder.bitcast(bits.data, sixteen.as_pointer()), width(64 // LANES)
        per_row = cgutils.unpack_tuple(builder, posteriors.shape)[1]
        rows = [builder.gep(posteriors.data, [builder.mul(row, per_row)]) for row in (one, other)]
        carriers = []
        for s in range(n_sites):
            site = builder.load(builder.gep(sites.data, [builder.add(at, width(s))]))
            carriers.append(builder.gep(masks, [builder.mul(site, per_site)]))
        zero = ir.Constant(vector, [0.0] * LANES)
        totals = [[cgutils.alloca_once_value(builder, zero) for _ in carriers] for _ in rows]
        steps = builder.udiv(builder.add(k, width(LANES - 1)), width(LANES))
        with cgutils.for_range(builder, steps, intp=width) as loop:
            first = builder.mul(loop.index, width(LANES))
            values = [vector_at(builder, row, first, vector) for row in rows]
            # 64 sites' masks of a group of candidates lie together.
            place = builder.add(
                builder.mul(builder.udiv(loop.index, per_site), width(64 * 64 // LANES)),
                builder.urem(loop.index, per_site),
            )
            for s, carried in enumerate(carriers):
                mask = builder.load(builder.gep(carried, [place]))
                mask = builder.bitcast(mask, ir.VectorType(ir.IntType(1), LANES))
                for value, of_row in zip(values, totals, strict=True):
                    before = builder.load(of_row[s])
                    builder.store(builder.select(mask, builder.fadd(before, value), before), of_row[s])
        columns = cgutils.unpack_tuple(builder, sums.shape)[1]
        for r, of_row in enumerate(totals):
            for s, total in enumerate(of_row):
                place = builder.add(builder.mul(width(r), columns), width(s))
                builder.store(added_up(builder, builder.load(total)), builder.gep(sums.data, [place]))
        return context.get_dummy_value()

    return intrinsic(typing)


def _step(
    _: Any, source: Any, i: Any, target: Any, j: Any, k: Any, states: Any, byte: Any, mask: Any, ref: Any, alt: Any,
    keep: Any, add: Any,
) -> Any:  # fmt: skip
    """target[j] = (source[i] * keep + add) * emission, of (R, >= padded(K)) rows; returns the sum of target[j, :K].

    The emission is `alt` where a byte of states[byte] has a bit of the mask, and `ref` elsewhere.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        loop = CandidateLoop(context, builder, signature, arguments, states=5, k=4)
        before, after = loop.row(0, arguments[1]), loop.row(2, arguments[3])
        keep_all, add_all = loop.splat(arguments[10]), loop.splat(arguments[11])
        total = loop.total()

        def body(first: Any, lanes: Any) -> None:
            value = builder.fadd(builder.fmul(loop.load(before, first), keep_all), add_all)
            value = builder.fmul(value, loop.emission(first, arguments[6:10]))
            loop.store(value, after, first)
            loop.add(total, value, lanes)

        loop.run(body)
        return added_up(builder, builder.load(total))

    real = source.dtype
    arrays = source, types.intp, target, types.intp, types.intp, states, types.intp, types.uint8
    return real(*arrays, real, real, real, real), generate


def _step_back(
    _: Any, rows: Any, i: Any, j: Any, k: Any, states: Any, byte: Any, mask: Any, ref: Any, alt: Any, keep: Any,
    add: Any,
) -> Any:  # fmt: skip
    """b = rows[j] * keep + add; rows[i] *= b and rows[j] = b * emission, as `step` has it; returns the sums of both."""
    real = rows.dtype

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        loop = CandidateLoop(context, builder, signature, arguments, states=4, k=3)
        values, backward = (loop.row(0, row) for row in arguments[1:3])
        keep_all, add_all = loop.splat(arguments[9]), loop.splat(arguments[10])
        totals = loop.total(), loop.total()

        def body(first: Any, lanes: Any) -> None:
            behind = builder.fadd(builder.fmul(loop.load(backward, first), keep_all), add_all)
            both = builder.fmul(loop.load(values, first), behind)
            behind = builder.fmul(behind, loop.emission(first, arguments[5:9]))
            for total, value, row in zip(totals, (both, behind), (values, backward), strict=True):
                loop.store(value, row, first)
                loop.add(total, value, lanes)

        loop.run(body)
        sums = [added_up(builder, builder.load(total)) for total in totals]
        return context.make_tuple(builder, signature.return_type, sums)

    arrays = rows, types.intp, types.intp, types.intp, states, types.intp, types.uint8
    return types.UniTuple(real, 2)(*arrays, real, real, real, real), generate


class CandidateLoop:
    """A loop over K candidates, LANES at a time, as it is written by a builder.

    Args:
        context, builder, signature, arguments: Of an intrinsic, the first of whose arguments are rows of numbers.
        k: Which argument is K.
        states: Which one has the candidates' alleles, for `emission`.
    """

    def __init__(self, context: Any, builder: Any, signature: Any, arguments: Any, *, k: int, states: int = 0) -> None:
        self._builder, self._arguments = builder, arguments
        self._arrays = {
            n: context.make_array(kind)(context, builder, arguments[n])
            for n, kind in enumerate(signature.args)
            if isinstance(kind, types.Array)
        }
        self._vector = ir.VectorType(context.get_value_type(signature.args[0].dtype), LANES)
        self._states, self._k = states, arguments[k]

    def row(self, array: int, number: Any) -> Any:
        """Where a row of an argument begins."""
        found = self._arrays[array]
        width = cgutils.unpack_tuple(self._builder, found.shape)[1]
        return self._builder.gep(found.data, [self._builder.mul(number, width)])

    def splat(self, value: Any) -> Any:
        """A vector of one value."""
        vector = ir.VectorType(value.type, LANES)
        number = ir.IntType(32)
        one = self._builder.insert_element(ir.Constant(vector, ir.Undefined), value, number(0))
        return self._builder.shuffle_vector(one, one, ir.Constant(ir.VectorType(number, LANES), [0] * LANES))

    def total(self) -> Any:
        return cgutils.alloca_once_value(self._builder, ir.Constant(self._vector, [0.0] * LANES))

    def load(self, row: Any, first: Any) -> Any:
        return vector_at(self._builder, row, first, self._vector)

    def store(self, value: Any, row: Any, first: Any) -> None:
        place = self._builder.bitcast(self._builder.gep(row, [first]), self._vector.as_pointer())
        self._builder.store(value, place, align=_size(self._vector))

    def add(self, total: Any, value: Any, lanes: Any) -> None:
        """Adds to a total what lies in the lanes, in all of them if these are None."""
        before = self._builder.load(total)
        after = self._builder.fadd(before, value)
        self._builder.store(after if lanes is None else self._builder.select(lanes, after, before), total)

    def emission(self, first: Any, arguments: Any) -> Any:
        """Of row, mask, ref and alt."""
        builder, (byte, mask, ref, alt) = self._builder, arguments
        kind = ir.VectorType(ir.IntType(8), LANES)
        place = builder.bitcast(builder.gep(self.row(self._states, byte), [first]), kind.as_pointer())
        states = builder.and_(builder.load(place, align=1), self.splat(mask))
        carried = builder.icmp_unsigned("!=", states, ir.Constant(kind, [0] * LANES))
        return builder.select(carried, self.splat(alt), self.splat(ref))

    def run(self, body: Any) -> None:
        """Writes body(first, lanes) for all candidates; the lanes of the last ones that are no candidates' are off."""
        builder, width = self._builder, self._k.type
        full = builder.udiv(self._k, width(LANES))
        with cgutils.for_range(builder, full, intp=width) as loop:
            body(builder.mul(loop.index, width(LANES)), None)
        rest = builder.urem(self._k, width(LANES))
        with builder.if_then(builder.icmp_unsigned("!=", rest, width(0))):
            numbers = ir.Constant(ir.VectorType(width, LANES), list(range(LANES)))
            body(builder.mul(full, width(LANES)), builder.icmp_unsigned("<", numbers, self.splat(rest)))


def _size(vector: Any) -> int:
    """Bytes of an element."""
    return 4 if isinstance(vector.element, ir.FloatType) else 8


def vector_at(builder: Any, row: Any, first: Any, vector: Any) -> Any:
    """The values of a row from number `first` on."""
    place = builder.bitcast(builder.gep(row, [first]), vector.as_pointer())
    return builder.load(place, align=_size(vector))


def added_up(builder: Any, total: Any) -> Any:
    """The sum of a vector's lanes: its halves, the halves of these, and so on."""
    lanes = LANES
    while lanes > 1:
        lanes //= 2
        halves = (
            builder.shuffle_vector(total, total, ir.Constant(ir.VectorType(ir.IntType(32), lanes), list(half)))
            for half in (range(lanes), range(lanes, 2 * lanes))
        )
        total = builder.fadd(*halves)
    return builder.extract_element(total, ir.IntType(32)(0))


def _transpose(_: Any, bits: Any, group: Any) -> Any:
    """Turns (G, 64) bits of one group: bit j of word s is afterwards bit s of word j. Returns which words are not 0.

    Distances of 32, 16 and 8 words exchange parts of whole vectors, those of 4, 2 and 1 lanes of each.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        word = ir.IntType(64)
        vector = ir.VectorType(word, 8)
        first = builder.gep(array.data, [builder.mul(arguments[1], arguments[1].type(64))])
        places = [builder.bitcast(builder.gep(first, [word(8 * v)]), vector.as_pointer()) for v in range(8)]
        rows = [builder.load(place, align=8) for place in places]

        def all_lanes(value: int) -> Any:
            return ir.Constant(vector, [value] * 8)

        for distance, low in _PARTS[:3]:
            by = all_lanes(distance)
            for v in range(8):
                if not v & (distance // 8):
                    other = v + distance // 8
                    change = builder.and_(builder.xor(builder.lshr(rows[v], by), rows[other]), all_lanes(low))
                    rows[v] = builder.xor(rows[v], builder.shl(change, by))
                    rows[other] = builder.xor(rows[other], change)
        for distance, low in _PARTS[3:]:
            by = all_lanes(distance)
            upper = ir.Constant(ir.VectorType(ir.IntType(1), 8), [int(bool(lane & distance)) for lane in range(8)])
            kept = ir.Constant(vector, [low ^ (-bool(lane & distance) & _ALL) for lane in range(8)])
            across = ir.Constant(ir.VectorType(ir.IntType(32), 8), [lane ^ distance for lane in range(8)])
            for v, row in enumerate(rows):
                partner = builder.shuffle_vector(row, row, across)
                moved = builder.select(upper, builder.lshr(partner, by), builder.shl(partner, by))
                rows[v] = builder.or_(builder.and_(row, kept), builder.and_(moved, builder.not_(kept)))
        some = word(0)
        for v, row in enumerate(rows):
            builder.store(row, places[v], align=8)
            used = builder.bitcast(builder.icmp_unsigned("!=", row, all_lanes(0)), ir.IntType(8))
            some = builder.or_(some, builder.shl(builder.zext(used, word), word(8 * v)))
        return some

    return types.uint64(bits, types.intp), generate


def _prefetch(_: Any, words: Any, row: Any, word: Any) -> Any:
    """Has the memory of a word of (H, W) at hand soon; any place may be named, also one outside."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        n_words = cgutils.unpack_tuple(builder, array.shape)[1]
        place = builder.gep(array.data, [builder.add(builder.mul(arguments[1], n_words), arguments[2])])
        number, byte = ir.IntType(32), ir.IntType(8).as_pointer()
        kind = ir.FunctionType(ir.VoidType(), [byte, number, number, number])
        fetch = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0i8")
        # To read, into the second-level cache, data.
        builder.call(fetch, [builder.bitcast(place, byte), number(0), number(2), number(1)])
        return context.get_dummy_value()

    return types.void(words, types.intp, types.intp), generate


def _lowest(_: Any, word: Any) -> Any:
    """The number of the lowest bit that is set, of 64 that are not all 0."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.IntType(1)(1))

    return types.int64(types.uint64), generate if word == types.uint64 else None


lowest: Any = intrinsic(_lowest)
prefetch: Any = intrinsic(_prefetch)
step: Any = intrinsic(_step)
step_back: Any = intrinsic(_step_back)
transpose: Any = intrinsic(_transpose)
sum_four: Any = _sum_carriers(4)
sum_two: Any = _sum_carriers(2)
sum_one: Any = _sum_carriers(1)
