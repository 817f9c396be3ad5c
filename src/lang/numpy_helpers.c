/* Python functions that stand for operators which NumPy lacks. */
#include "lang/numpy.h"

const py_helper_source py_helpers[PY_HELPERS] = {
    [PY_AT] = {"_at", -1,
        "def _at(i, n):\n"
        "    \"\"\"Position of entry i, counted from 1, on an axis of n entries.\"\"\"\n"
        "    if not 1 <= i <= n:\n"
        "        raise IndexError(f\"index {i} is out of range 1..{n}\")\n"
        "    return i - 1\n"},
    [PY_PLACE] = {"_place", -1,
        "def _place(v, axis, i, n):\n"
        "    \"\"\"v as entry i of a new axis of n entries, zeros elsewhere.\"\"\"\n"
        "    v = np.asarray(v)\n"
        "    out = np.zeros(v.shape[:axis] + (n,) + v.shape[axis:])\n"
        "    out[(slice(None),) * axis + (i,)] = v\n"
        "    return out\n"},
    [PY_DIAGONAL] = {"_diagonal", -1,
        "def _diagonal(v, a, b):\n"
        "    \"\"\"v with its axis a once more as axis b, zero off that diagonal.\"\"\"\n"
        "    v = np.asarray(v)\n"
        "    n = v.shape[a]\n"
        "    shape = (1,) * a + (n,) + (1,) * (b - a - 1) + (n,) + (1,) * (v.ndim - b)\n"
        "    return np.where(np.eye(n, dtype=bool).reshape(shape), np.expand_dims(v, b), 0.0)\n"},
    [PY_SIGMOID] = {"_sigmoid", -1,
        "def _sigmoid(z):\n"
        "    e = np.exp(-np.abs(z))\n"
        "    return np.where(z >= 0, 1.0, e) / (1.0 + e)\n"},
    [PY_DSIGMOID] = {"_dsigmoid", -1,
        "def _dsigmoid(z):\n"
        "    e = np.exp(-np.abs(z))\n"
        "    return e / (1.0 + e) ** 2\n"},
    [PY_DTANH] = {"_dtanh", -1,
        "def _dtanh(z):\n"
        "    e = np.exp(-2.0 * np.abs(z))\n"
        "    return 4.0 * e / (1.0 + e) ** 2\n"},
    [PY_ERF] = {"_erf", -1,
        "_erf = np.vectorize(math.erf, otypes=[np.float64])\n"},
    [PY_GELU] = {"_gelu", -1,
        "_erfc = np.vectorize(math.erfc, otypes=[np.float64])\n"
        "\n\n"
        "def _gelu(z):\n"
        "    return 0.5 * z * _erfc(-z / math.sqrt(2.0))\n"},
    [PY_SILU] = {"_silu", PY_SIGMOID,
        "def _silu(z):\n"
        "    return z * _sigmoid(z)\n"},
    [PY_ELU] = {"_elu", -1,
        "def _elu(z):\n"
        "    return np.where(z > 0, z, np.expm1(np.minimum(z, 0.0)))\n"},
    [PY_SELU] = {"_selu", -1,
        "def _selu(z):\n"
        "    return 1.0507009873554805 * np.where(z > 0, z, 1.6732632423543772 * np.expm1(np.minimum(z, 0.0)))\n"},
    [PY_LEAKY_RELU] = {"_leaky_relu", -1,
        "def _leaky_relu(z, slope):\n"
        "    return np.where(z > 0, z, slope * z)\n"},
    [PY_SOFTMAX] = {"_softmax", -1,
        "def _softmax(z, axis):\n"
        "    e = np.exp(z - np.max(z, axis=axis, keepdims=True))\n"
        "    return e / np.sum(e, axis=axis, keepdims=True)\n"},
    [PY_LOGSOFTMAX] = {"_logsoftmax", -1,
        "def _logsoftmax(z, axis):\n"
        "    z = z - np.max(z, axis=axis, keepdims=True)\n"
        "    return z - np.log(np.sum(np.exp(z), axis=axis, keepdims=True))\n"},
    [PY_LOGDET] = {"_logdet", -1,
        "def _logdet(x):\n"
        "    sign, value = np.linalg.slogdet(x)\n"
        "    return value if sign > 0 else np.nan\n"},
    [PY_ADJ] = {"_adj", -1,
        "def _adj(x):\n"
        "    \"\"\"Adjugate: det(x) inv(x), for singular x too.\"\"\"\n"
        "    u, s, vt = np.linalg.svd(x)\n"
        "    cofactor = np.array([np.prod(np.delete(s, i)) for i in range(s.size)])\n"
        "    return np.linalg.det(u) * np.linalg.det(vt) * (vt.T * cofactor) @ u.T\n"},
    [PY_ROWS] = {"_rows", -1,
        "def _rows(index, n):\n"
        "    \"\"\"Positions on an axis of n entries for indices counted from 1.\"\"\"\n"
        "    index = np.asarray(index)\n"
        "    if not np.all((index >= 1) & (index <= n) & (index == np.floor(index))):\n"
        "        raise IndexError(f\"an index is none of 1..{n}\")\n"
        "    return index.astype(int) - 1\n"},
    [PY_SCATTER] = {"_scatter", PY_ROWS,
        "def _scatter(a, index, axis, n):\n"
        "    \"\"\"The parts of a added up by their index, on an axis of n entries.\"\"\"\n"
        "    rows = _rows(index, n)\n"
        "    out = np.zeros(a.shape[:axis] + (n,) + a.shape[axis + rows.ndim:])\n"
        "    np.add.at(out, (slice(None),) * axis + (rows,), a)\n"
        "    return out\n"},
    [PY_TAPS] = {"_taps", -1,
        "def _taps(x, taps, y, stride, dilation, low):\n"
        "    \"\"\"Each tap of a window, with the slices of x and y that meet there; x, taps, y: sizes.\"\"\"\n"
        "    for tap in np.ndindex(*taps):\n"
        "        xs, ys = [], []\n"
        "        for n, m, t, s, d, p in zip(x, y, tap, stride, dilation, low):\n"
        "            first = d * t - p\n"
        "            lo, hi = max(0, -(first // s)), min(m, (n - 1 - first) // s + 1)\n"
        "            if hi <= lo:\n"
        "                break\n"
        "            xs.append(slice(first + s * lo, first + s * (hi - 1) + 1, s))\n"
        "            ys.append(slice(lo, hi))\n"
        "        else:\n"
        "            yield (..., *tap), (..., *xs), (..., *ys)\n"},
    [PY_SUMPOOL] = {"_sumpool", PY_TAPS,
        "def _sumpool(value, a, count, size, stride, dilation, low):\n"
        "    \"\"\"Sums over windows (y), or their transpose (x); count: sizes of the result on the last axes.\"\"\"\n"
        "    inner = a.shape[a.ndim - len(size):]\n"
        "    out = np.zeros(a.shape[:a.ndim - len(size)] + count)\n"
        "    x, y = (count, inner) if value == \"x\" else (inner, count)\n"
        "    for _, i, p in _taps(x, size, y, stride, dilation, low):\n"
        "        if value == \"x\":\n"
        "            out[i] += a[p]\n"
        "        else:\n"
        "            out[p] += a[i]\n"
        "    return out\n"},
    [PY_MAXPOOL] = {"_maxpool", PY_TAPS,
        "def _maxpool(x, count, size, stride, dilation, low):\n"
        "    \"\"\"Maxima over windows; count: how many there are on each of the last axes.\"\"\"\n"
        "    k = x.ndim - len(size)\n"
        "    out = np.full(x.shape[:k] + count, -np.inf)\n"
        "    for _, i, p in _taps(x.shape[k:], size, count, stride, dilation, low):\n"
        "        out[p] = np.maximum(out[p], x[i])\n"
        "    return out\n"},
    [PY_MAXTIES] = {"_maxties", PY_MAXPOOL,
        "def _maxties(x, count, size, stride, dilation, low):\n"
        "    \"\"\"How many entries of each window attain its maximum.\"\"\"\n"
        "    top = _maxpool(x, count, size, stride, dilation, low)\n"
        "    out = np.zeros(top.shape)\n"
        "    for _, i, p in _taps(x.shape[x.ndim - len(size):], size, count, stride, dilation, low):\n"
        "        out[p] += x[i] == top[p]\n"
        "    return out\n"},
    [PY_MAXPICK] = {"_maxpick", PY_MAXTIES,
        "def _maxpick(value, x, t, count, size, stride, dilation, low):\n"
        "    \"\"\"t where x is largest in each window (y), or put there (x); ties share equally.\"\"\"\n"
        "    top = _maxpool(x, count, size, stride, dilation, low)\n"
        "    ties = _maxties(x, count, size, stride, dilation, low)\n"
        "    inner = x.shape[x.ndim - len(size):]\n"
        "    out = np.zeros(t.shape[:t.ndim - len(size)] + (inner if value == \"x\" else count))\n"
        "    for _, i, p in _taps(inner, size, count, stride, dilation, low):\n"
        "        if value == \"x\":\n"
        "            out[i] += np.where(x[i] == top[p], t[p], 0.0) / ties[p]\n"
        "        else:\n"
        "            out[p] += np.where(x[i] == top[p], t[i], 0.0) / ties[p]\n"
        "    return out\n"},
    [PY_CONV] = {"_conv", PY_TAPS,
        "def _conv(value, a, b, shape, groups, stride, dilation, low):\n"
        "    \"\"\"x, w or y of sum(x[n,c,stride*p+dilation*t-low] * w[o,c,t] * y[n,o,p]) by the other two.\"\"\"\n"
        "    out = np.zeros(shape)\n"
        "    x, w, y = {\"x\": (out, b, a), \"w\": (a, out, b), \"y\": (a, b, out)}[value]\n"
        "    x = x.reshape(x.shape[0], groups, x.shape[1] // groups, *x.shape[2:])\n"
        "    w = w.reshape(groups, w.shape[0] // groups, *w.shape[1:])\n"
        "    y = y.reshape(y.shape[0], groups, y.shape[1] // groups, *y.shape[2:])\n"
        "    for t, i, p in _taps(x.shape[3:], w.shape[3:], y.shape[3:], stride, dilation, low):\n"
        "        s = \"ijklmpqrst\"[:x.ndim - 3]\n"
        "        if value == \"x\":\n"
        "            x[i] += np.einsum(f\"ngo{s},goc->ngc{s}\", y[p], w[t])\n"
        "        elif value == \"w\":\n"
        "            w[t] += np.einsum(f\"ngc{s},ngo{s}->goc\", x[i], y[p])\n"
        "        else:\n"
        "            y[p] += np.einsum(f\"ngc{s},goc->ngo{s}\", x[i], w[t])\n"
        "    return out\n"},
};
