import struct

import numpy as np
import pytest

from twins.nvfp4_arithmetic import (
    E2M1,
    decode_bf16,
    decode_e4m3,
    dequantize,
    round_activation,
    round_e2m1,
    round_e4m3,
    unpack_e2m1,
)

# OCP 8-bit Floating Point Specification 1.0, table 1, E4M3.
_E4M3_LANDMARKS = {
    0x00: 0.0,
    0x01: 2.0**-9,  # the smallest subnormal
    0x07: 7 * 2.0**-9,  # the largest
    0x08: 2.0**-6,  # the smallest normal
    0x38: 1.0,
    0x7E: 448.0,
    0xB8: -1.0,
    0xFE: -448.0,
}
# OCP Microscaling Formats Specification 1.0, table 5, E2M1.
_E2M1_BY_CODE = [0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6]


def test_every_packed_byte_gives_its_low_nibble_first() -> None:
    every_byte = np.arange(256, dtype=np.uint8)

    values = unpack_e2m1(every_byte[None, :])[0]

    expected = [_E2M1_BY_CODE[n] for byte in range(256) for n in (byte & 15, byte >> 4)]
    assert values.tolist() == expected


def test_e2m1_keeps_the_sign_of_zero() -> None:
    assert np.signbit(E2M1[8])
    assert not np.signbit(E2M1[0])


@pytest.mark.parametrize(("code", "value"), _E4M3_LANDMARKS.items())
def test_e4m3_has_the_values_of_its_specification(code: int, value: float) -> None:
    assert decode_e4m3(np.array([code], np.uint8))[0] == value


def test_e4m3_rises_with_its_code_and_mirrors_at_the_sign() -> None:
    values = decode_e4m3(np.arange(256, dtype=np.uint8))

    assert (np.diff(values[:0x7F]) > 0).all()
    assert (values[0x80:0xFF] == -values[:0x7F]).all()
    assert np.signbit(values[0x80])


def test_e4m3_has_two_nans_and_no_infinity() -> None:
    values = decode_e4m3(np.arange(256, dtype=np.uint8))

    assert np.flatnonzero(np.isnan(values)).tolist() == [0x7F, 0xFF]
    assert not np.isinf(values).any()


def test_bf16_is_the_upper_half_of_float32() -> None:
    floats = np.array([1.0, -0.0, 3.140625, np.inf], np.float32)
    codes = np.frombuffer(floats.tobytes(), "<u2")[1::2]

    assert decode_bf16(codes).tobytes() == floats.tobytes()


def test_every_value_of_a_block_is_multiplied_by_both_scales() -> None:
    packed = np.full((1, 16), 0x72, np.uint8)  # 1.0 and 6.0, by turns
    block_scale = np.array([[0x38, 0x40]], np.uint8)  # 1.0 and 2.0

    values = dequantize(packed, block_scale, 0.5)

    assert values[0, :16].tolist() == [0.5, 3.0] * 8
    assert values[0, 16:].tolist() == [1.0, 6.0] * 8


def test_block_scales_of_another_block_size_are_refused() -> None:
    with pytest.raises(ValueError, match="do not fit"):
        dequantize(np.zeros((4, 32), np.uint8), np.zeros((4, 2), np.uint8), 1.0)


@pytest.mark.parametrize(
    ("value", "rounded"),
    [(0.2, 0), (0.25, 0), (0.75, 1), (2.4, 2), (2.5, 2), (3.5, 4), (5.0, 4), (9, 6)],
)
def test_e2m1_rounds_to_the_nearest_and_ties_to_the_even_code(
    value: float, rounded: float
) -> None:
    assert round_e2m1(np.array([value, -value], np.float32)).tolist() == [
        rounded,
        -rounded,
    ]


def test_e4m3_rounding_leaves_its_own_values_alone_and_saturates() -> None:
    finite = decode_e4m3(np.r_[0:0x7F, 0x80:0xFF].astype(np.uint8))

    assert (round_e4m3(finite) == finite).all()
    assert round_e4m3(np.array([1e9, -1e9], np.float32)).tolist() == [448, -448]


def test_an_activation_at_the_calibrated_maximum_survives_rounding() -> None:
    hidden = np.zeros((1, 16), np.float32)
    hidden[0, 3] = -21.0
    input_scale = struct.unpack("<f", struct.pack("<f", 21.0 / (6 * 448)))[0]

    rounded = round_activation(hidden, input_scale)

    assert rounded[0, 3] == pytest.approx(-21.0, rel=1e-6)
    assert np.count_nonzero(rounded) == 1
