"""What `one_layer` does between its products of matrices: compiled, with sites along the vector.

Each operation and the order of every sum are NumPy's, row after row. Exponentials are left to NumPy, which takes many
at a time; what comes before and after one is a kernel each. Shape suffixes as in `one_layer`.
"""

# Scalars are of the arrays' own type, which Python's annotations cannot say.
# mypy: disable-error-code="arg-type,assignment"

from __future__ import annotations

import numpy as np

from vcfrag_core.evidence.inputs import ALLELE_INPUT
from vcfrag_core.kernel import kernel
from vcfrag_core.leaf import dividing_leaf, leaf
from vcfrag_core.types import F32Array

_EPS = np.float32(1e-5)
_ONE, _HALF, _ROOT_HALF = np.float32(1), np.float32(0.5), np.float32(0.5**0.5)
# Abramowitz & Stegun, 7.1.26: erfc(z) = (a1 t + ... + a5 t^5) exp(-z²), t = 1 / (1 + p z), to 1.5e-7.
_P = np.float32(0.3275911)
_A1, _A2, _A3, _A4, _A5 = (np.float32(a) for a in (0.254829592, -0.284496736, 1.421413741, -1.453152027, 1.061405429))


@kernel
def normalise(x_DN: F32Array, bias_D1: F32Array, before_DN: F32Array, out_DN: F32Array) -> None:
    """x += bias, and what was before where it has rows; LayerNorm of that without its gain and shift into `out`."""
    d, n = x_DN.shape
    for j in range(d):
        _add_one(x_DN[j], bias_D1[j, 0])
        if len(before_DN):
            _add(x_DN[j], before_DN[j])
    total, square = np.zeros(n, dtype=np.float32), np.zeros(n, dtype=np.float32)
    for j in range(d):
        _add(total, x_DN[j])
    _divide_by(total, np.float32(d))
    for j in range(d):
        _centre(x_DN[j], total, out_DN[j], square)
    _inverse_root(square, np.float32(d))
    for j in range(d):
        _multiply(out_DN[j], square)


@kernel
def score(
    candidates_FTN: F32Array, upper_RF: F32Array, within_RT: F32Array, beside_T: F32Array, asked_HJN: F32Array,
    query_HEN: F32Array, own_key_HEN: F32Array, inverse_TN: F32Array, out_HKN: F32Array,
) -> None:  # fmt: skip
    """Scores of the candidates and of the site's own token, last, less the highest; 1 / s_t into `inverse`.

    Of a candidate, what a head asks of its inputs and of its rank, over s_t; minus infinity where there is none.
    """
    f, t, n = candidates_FTN.shape
    along = np.empty(n, dtype=np.float32)
    d = np.float32(query_HEN.shape[0] * query_HEN.shape[1])
    for k in range(t):
        inverse_TN[k] = beside_T[k]
        for row in range(len(upper_RF)):
            along[:] = within_RT[row, k]
            j = row
            while j + 4 <= f:
                _add_four(along, candidates_FTN, upper_RF[row], j, k)
                j += 4
            while j < f:
                _add_times(along, candidates_FTN[j, k], upper_RF[row, j])
                j += 1
            _add_product(inverse_TN[k], along, along)
        _inverse_root(inverse_TN[k], d)
    for h in range(len(asked_HJN)):
        highest = along
        highest[:] = -np.inf
        for k in range(t):
            mine = out_HKN[h, k]
            mine[:] = asked_HJN[h, f + k]
            j = 0
            while j + 4 <= f:
                _add_four_products(mine, asked_HJN[h], candidates_FTN, j, k)
                j += 4
            while j < f:
                _add_product(mine, asked_HJN[h, j], candidates_FTN[j, k])
                j += 1
            _multiply(mine, inverse_TN[k])
            _absent(mine, candidates_FTN[ALLELE_INPUT, k])
            _raise(highest, mine)
        own = out_HKN[h, t]
        own[:] = 0
        for e in range(query_HEN.shape[1]):
            _add_product(own, query_HEN[h, e], own_key_HEN[h, e])
        _raise(highest, own)
        for k in range(t + 1):
            _subtract(out_HKN[h, k], highest)


@kernel
def attend(candidates_FTN: F32Array, share_HKN: F32Array, inverse_TN: F32Array, seen_HJN: F32Array) -> None:
    """Shares that add up to 1, and what a head sees by them: the candidates' inputs over s_t, and their ranks."""
    f, t, n = candidates_FTN.shape
    total = np.empty(n, dtype=np.float32)
    for h in range(len(share_HKN)):
        total[:] = 0
        for k in range(t + 1):
            _add(total, share_HKN[h, k])
        for k in range(t + 1):
            _divide(share_HKN[h, k], total)
        for k in range(t):
            seen_HJN[h, f + k] = share_HKN[h, k]
            _multiply(seen_HJN[h, f + k], inverse_TN[k])
        for j in range(f):
            mine = seen_HJN[h, j]
            mine[:] = 0
            k = 0
            while k + 4 <= t:
                _add_four_weighted(mine, seen_HJN[h], f + k, candidates_FTN[j], k)
                k += 4
            while k < t:
                _add_product(mine, seen_HJN[h, f + k], candidates_FTN[j, k])
                k += 1


@kernel
def begin_gelu(x_DN: F32Array, bias_D1: F32Array, tail_DN: F32Array, exponent_DN: F32Array) -> None:
    """x += bias; the polynomial and the exponent of the complementary error function of |x| / sqrt(2)."""
    for j in range(len(x_DN)):
        _add_one(x_DN[j], bias_D1[j, 0])
        _begin_gelu(x_DN[j], tail_DN[j], exponent_DN[j])


@kernel
def end_gelu(x_DN: F32Array, tail_DN: F32Array, power_DN: F32Array) -> None:
    """x becomes x times the normal distribution function of x."""
    for j in range(len(x_DN)):
        _end_gelu(x_DN[j], tail_DN[j], power_DN[j])


@leaf
def _add_one(x: F32Array, one: float) -> None:
    for i in range(len(x)):
        x[i] += one


@leaf
def _add(x: F32Array, y: F32Array) -> None:
    for i in range(len(x)):
        x[i] += y[i]


@leaf
def _subtract(x: F32Array, y: F32Array) -> None:
    for i in range(len(x)):
        x[i] -= y[i]


@leaf
def _multiply(x: F32Array, y: F32Array) -> None:
    for i in range(len(x)):
        x[i] *= y[i]


@dividing_leaf
def _divide(x: F32Array, y: F32Array) -> None:
    for i in range(len(x)):
        x[i] /= y[i]


@dividing_leaf
def _divide_by(x: F32Array, one: float) -> None:
    for i in range(len(x)):
        x[i] /= one


@leaf
def _raise(x: F32Array, y: F32Array) -> None:
    for i in range(len(x)):
        x[i] = y[i] if y[i] > x[i] else x[i]


@leaf
def _add_times(x: F32Array, y: F32Array, weight: float) -> None:
    for i in range(len(x)):
        x[i] += weight * y[i]


@leaf
def _add_product(x: F32Array, y: F32Array, z: F32Array) -> None:
    for i in range(len(x)):
        x[i] += y[i] * z[i]


@leaf
def _centre(x: F32Array, mean: F32Array, out: F32Array, square: F32Array) -> None:
    for i in range(len(x)):
        v = x[i] - mean[i]
        out[i] = v
        square[i] += v * v


@dividing_leaf
def _inverse_root(square: F32Array, count: float) -> None:
    """1 / sqrt(square / count + eps), in place."""
    for i in range(len(square)):
        square[i] = _ONE / np.sqrt(square[i] / count + _EPS)


@leaf
def _absent(x: F32Array, allele: F32Array) -> None:
    lowest = np.float32(-np.inf)
    for i in range(len(x)):
        x[i] = lowest if allele[i] == 0 else x[i]


# Four terms at a time, one after the other: the sum is read and written once.


@leaf
def _add_four(x: F32Array, candidates_FTN: F32Array, weights_F: F32Array, j: int, k: int) -> None:
    a, b, c, d = candidates_FTN[j, k], candidates_FTN[j + 1, k], candidates_FTN[j + 2, k], candidates_FTN[j + 3, k]
    p, q, r, s = weights_F[j], weights_F[j + 1], weights_F[j + 2], weights_F[j + 3]
    for i in range(len(x)):
        x[i] = (((x[i] + p * a[i]) + q * b[i]) + r * c[i]) + s * d[i]


@leaf
def _add_four_products(x: F32Array, weights_JN: F32Array, candidates_FTN: F32Array, j: int, k: int) -> None:
    a, b, c, d = candidates_FTN[j, k], candidates_FTN[j + 1, k], candidates_FTN[j + 2, k], candidates_FTN[j + 3, k]
    p, q, r, s = weights_JN[j], weights_JN[j + 1], weights_JN[j + 2], weights_JN[j + 3]
    for i in range(len(x)):
        x[i] = (((x[i] + p[i] * a[i]) + q[i] * b[i]) + r[i] * c[i]) + s[i] * d[i]


@leaf
def _add_four_weighted(x: F32Array, weights_JN: F32Array, first: int, values_TN: F32Array, k: int) -> None:
    a, b, c, d = values_TN[k], values_TN[k + 1], values_TN[k + 2], values_TN[k + 3]
    p, q, r, s = weights_JN[first], weights_JN[first + 1], weights_JN[first + 2], weights_JN[first + 3]
    for i in range(len(x)):
        x[i] = (((x[i] + p[i] * a[i]) + q[i] * b[i]) + r[i] * c[i]) + s[i] * d[i]


@dividing_leaf
def _begin_gelu(x: F32Array, tail: F32Array, exponent: F32Array) -> None:
    for i in range(len(x)):
        z = np.abs(x[i]) * _ROOT_HALF
        t = _ONE / (_ONE + _P * z)
        tail[i] = ((((t * _A5 + _A4) * t + _A3) * t + _A2) * t + _A1) * t
        exponent[i] = z * -z


@leaf
def _end_gelu(x: F32Array, tail: F32Array, power: F32Array) -> None:
    for i in range(len(x)):
        lower = tail[i] * power[i] * x[i] * _HALF
        x[i] = x[i] - lower if x[i] >= 0 else lower
