"""Quantities: what is read, what is refused and with which words, and that printing is the inverse of reading."""

import subprocess
import sys
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ojp_sizing import quantities as q
from ojp_sizing.errors import InputError

pytestmark = pytest.mark.fast

PARSERS: list[Callable[..., float]] = [
    q.parse_rate,
    q.parse_duration,
    q.parse_bytes,
    q.parse_cores,
    q.parse_fraction,
    q.parse_number,
    q.parse_whole,
]


@pytest.mark.parametrize(
    ("parse", "text", "value"),
    [
        (q.parse_rate, "5000", 5000.0),
        (q.parse_rate, "5k", 5000.0),
        (q.parse_rate, "1.2M", 1_200_000.0),
        (q.parse_rate, "5k/s", 5000.0),
        (q.parse_rate, "5k rps", 5000.0),
        (q.parse_rate, "1e3", 1000.0),
        (q.parse_duration, "50ms", 0.05),
        (q.parse_duration, "0.1ms", 0.0001),
        (q.parse_duration, "250us", 0.00025),
        (q.parse_duration, "1.5 s", 1.5),
        (q.parse_duration, "5m", 300.0),
        (q.parse_duration, "5min", 300.0),
        (q.parse_duration, "1h", 3600.0),
        (q.parse_duration, "0", 0.0),
        (q.parse_bytes, "2Gi", 2**31),
        (q.parse_bytes, "1.5Gi", 1536 * 2**20),
        (q.parse_bytes, "1G", 10**9),
        (q.parse_bytes, "0.1Ki", 103),
        (q.parse_bytes, "1048576", 2**20),
        (q.parse_cores, "250m", 0.25),
        (q.parse_cores, "2", 2.0),
        (q.parse_cores, "0.5", 0.5),
        (q.parse_fraction, "0.1%", 0.001),
        (q.parse_fraction, "0.001", 0.001),
        (q.parse_fraction, "100%", 1.0),
        (q.parse_number, ".5", 0.5),
        (q.parse_whole, "200", 200),
    ],
)
def test_reads(parse: Callable[..., float], text: str, value: float) -> None:
    assert parse(text, "--flag") == value


@pytest.mark.parametrize("parse", PARSERS)
@pytest.mark.parametrize(
    "text",
    [
        "",
        "  ",
        "-5",
        "-5ms",
        "nan",
        "NaN",
        "inf",
        "-inf",
        "1e999",
        "٥k",
        "５s",
        "1_000",
        "1,5",
        "5 parsecs",
        "0x10",
        "9" * 49,
        "9" * 100_000,
        "1:30",
        "true",
        "\n",
        "5k\n",
        "5\x00",
        "+5",
        "1e",
        "--",
        ".",
        "5..0",
        "\ud800",
    ],
)
def test_refuses(parse: Callable[..., float], text: str) -> None:
    with pytest.raises(InputError) as caught:
        parse(text, "--flag")
    message = str(caught.value)
    assert message.startswith("--flag: ")
    assert caught.value.fix
    assert message.isprintable()
    assert len(message) < 250


@pytest.mark.parametrize(
    ("parse", "text", "words"),
    [
        (q.parse_duration, "50", "has no unit; write 50ms or 50s"),
        (q.parse_duration, "25h", "above the most that makes sense, 86,400"),
        (q.parse_duration, "5x", "unknown suffix 'x'; known: us, ms, s, m, min, h"),
        (q.parse_rate, "11M", "above the most that makes sense, 10,000,000"),
        (q.parse_rate, "-5k", "'-5k' is below zero"),
        (q.parse_rate, "5q", "unknown suffix 'q'; known: k, M"),
        (q.parse_bytes, "65Ti", "above the most"),
        (q.parse_bytes, "2GB", "unknown suffix 'GB'; known: Ki, Mi, Gi, Ti, k, M, G, T"),
        (q.parse_cores, "4097", "above the most"),
        (q.parse_cores, "0.0001", "finer than 1m"),
        (q.parse_fraction, "101%", "above the most that makes sense, 1;"),
        (q.parse_whole, "1.5", "is not a whole number from 0 to 1000000000"),
    ],
)
def test_the_message_shows_the_mend(parse: Callable[..., float], text: str, words: str) -> None:
    with pytest.raises(InputError) as caught:
        parse(text, "here")
    assert words in str(caught.value)


@settings(deadline=None)
@given(st.text(max_size=60))
def test_any_text_is_a_number_or_an_input_error(text: str) -> None:
    for parse in PARSERS:
        try:
            value = parse(text, "here")
        except InputError as error:
            assert "\n" not in str(error)
        else:
            assert 0 <= value < float("inf")


@settings(deadline=None)
@given(st.floats(0, q.MOST_SECONDS))
def test_durations_read_back(seconds: float) -> None:
    assert q.parse_duration(q.format_duration(seconds)) == seconds


@settings(deadline=None)
@given(st.floats(0, q.MOST_RPS))
def test_rates_read_back(rps: float) -> None:
    assert q.parse_rate(q.format_rate(rps)) == rps


@settings(deadline=None)
@given(st.integers(0, q.MOST_BYTES))
def test_sizes_read_back(size: int) -> None:
    assert q.parse_bytes(q.format_bytes(size)) == size
    assert q.parse_bytes(q.format_bytes(size // 1024 * 2**20 % q.MOST_BYTES)) == size // 1024 * 2**20 % q.MOST_BYTES


@settings(deadline=None)
@given(st.integers(0, 4_096_000))
def test_cores_read_back(milli: int) -> None:
    assert q.parse_cores(q.format_cores(milli / 1000)) == milli / 1000


@settings(deadline=None)
@given(st.floats(0, 1))
def test_numbers_read_back(value: float) -> None:
    assert q.parse_fraction(q.format_number(value)) == value


@pytest.mark.parametrize(
    ("printed", "text"),
    [
        (q.format_duration(0.05), "50ms"),
        (q.format_duration(0), "0s"),
        (q.format_duration(90), "90s"),
        (q.format_duration(0.00025), "250us"),
        (q.format_duration(0.0123456, significant=3), "12.3ms"),
        (q.format_duration(0.0009999, significant=2), "1ms"),
        (q.format_rate(5000), "5k"),
        (q.format_rate(123.4), "123.4"),
        (q.format_rate(1_234_567, significant=2), "1.2M"),
        (q.format_bytes(2**31), "2Gi"),
        (q.format_bytes(1536 * 2**20), "1536Mi"),
        (q.format_bytes(0), "0"),
        (q.format_cores(1.5), "1500m"),
        (q.format_cores(2.0), "2"),
        (q.format_cores(0.2501), "251m"),
    ],
)
def test_prints(printed: str, text: str) -> None:
    assert printed == text


def test_the_edge_stays_light() -> None:
    heavy = "('numpy', 'pandas', 'pydantic', 'ruamel.yaml')"
    code = f"import sys, ojp_sizing.quantities; print([m for m in {heavy} if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
