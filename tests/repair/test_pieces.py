"""The arithmetic on bytes, against numpy, which computes in float32 by itself."""

import numpy as np
import pytest
from nvfp4_layouts.types import Piece, Stored

from nvfp4_serve.repair.pieces import make_bytes, range_of


def made(data: bytes, stored: Stored, piece: Piece) -> bytes:
    return make_bytes(stored, piece, lambda begin, length: data[begin : begin + length])


@pytest.mark.parametrize("divisor", [2688.0, 448.0])
def test_float32_is_divided_as_float32(divisor: float) -> None:
    codes = np.random.default_rng(0).integers(0, 1 << 32, 200_000, dtype=np.uint32)
    values = codes.view("<f4")
    values = values[~np.isnan(values)]
    stored = Stored("F32", values.shape)

    data = made(
        values.tobytes(), stored, Piece("s", "F32", values.shape, divisor=divisor)
    )

    assert data == (values / np.float32(divisor)).astype("<f4").tobytes()


def test_every_bfloat16_is_widened_and_divided_as_float32() -> None:
    codes = np.arange(1 << 16, dtype="<u2")
    values = (codes.astype("<u4") << 16).view("<f4")
    numbers = ~np.isnan(values)
    codes, values = codes[numbers], values[numbers]

    data = made(
        codes.tobytes(),
        Stored("BF16", codes.shape),
        Piece("s", "F32", codes.shape, divisor=2688.0),
    )

    assert data == (values / np.float32(2688)).astype("<f4").tobytes()


def test_every_float16_is_widened_and_divided_as_float32() -> None:
    values = np.arange(1 << 16, dtype="<u2").view("<f2")
    values = values[~np.isnan(values)]

    data = made(
        values.tobytes(),
        Stored("F16", values.shape),
        Piece("s", "F32", values.shape, divisor=448.0),
    )

    assert data == (values.astype("<f4") / np.float32(448)).astype("<f4").tobytes()


@pytest.mark.parametrize("shape", [(1, 1), (7, 130), (130, 6), (64, 64), (3, 200)])
@pytest.mark.parametrize("dtype", ["U8", "F32"])
def test_transposes_an_expert_and_takes_its_rows(
    shape: tuple[int, int], dtype: str
) -> None:
    height, width = shape
    kind = "u1" if dtype == "U8" else "<u4"
    whole = np.random.default_rng(1).integers(0, 255, (4, height, width)).astype(kind)
    rows = (width // 2, width)
    piece = Piece("p", dtype, (rows[1] - rows[0], height), 2, True, rows)

    data = made(whole.tobytes(), Stored(dtype, whole.shape), piece)

    assert data == whole[2].T[rows[0] : rows[1]].tobytes()


def test_rows_of_an_expert_are_only_told_where_they_are() -> None:
    whole = np.arange(4 * 6 * 5, dtype="u1").reshape(4, 6, 5)
    piece = Piece("p", "U8", (3, 5), 2, rows=(3, 6))

    found = range_of(Stored("U8", whole.shape), piece)

    assert found == (2 * 30 + 15, 15)
    assert whole.tobytes()[75:90] == whole[2, 3:6].tobytes()
