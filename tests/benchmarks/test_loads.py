"""What the load tools print is read as they mean it."""

from __future__ import annotations

import pytest

from benchmarks.loads import LoadError, LoadResult, parse_ab, parse_wrk

WRK = """\
Running 3s test @ http://127.0.0.1:8000/
  1 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     1.25ms    2.01ms  30.11ms   91.20%
    Req/Sec    50.12k     3.22k   55.90k    80.00%
  150361 requests in 3.01s, 21.80MB read
Requests/sec:  49953.82
Transfer/sec:      7.24MB
"""
AB = """\
Concurrency Level:      50
Time taken for tests:   3.000 seconds
Complete requests:      19815
Failed requests:        2
Requests per second:    6604.77 [#/sec] (mean)
"""


def test_wrk() -> None:
    received = int(21.80 * 2**20)
    assert parse_wrk(WRK) == LoadResult("wrk", 49953.82, 150361, 0, received, 7.24 * 2**20)


def test_wrk_counts_in_binary_units() -> None:
    large = WRK.replace("21.80MB read", "1.50GB read").replace("7.24MB", "512.00B")
    result = parse_wrk(large)
    assert (result.received, result.received_per_second) == (3 * 2**29, 512.0)


def test_wrk_tells_percentiles_in_whatever_unit() -> None:
    distribution = (
        "  Latency Distribution\n"
        "     50%  871.00us\n     75%    1.20ms\n     90%    2.00ms\n     99%    1.85s \n"
    )
    result = parse_wrk(WRK.replace("  150361", distribution + "  150361"))
    assert (result.p50, result.p99) == pytest.approx((871e-6, 1.85))


def test_wrk_with_errors() -> None:
    errors = (
        "  Socket errors: connect 1, read 2, write 3, timeout 4\n  Non-2xx or 3xx responses: 5\n"
    )
    assert parse_wrk(WRK + errors).errors == 15


def test_ab() -> None:
    assert parse_ab(AB) == LoadResult("ab", 6604.77, 19815, 2)


def test_output_of_something_else_is_an_error() -> None:
    with pytest.raises(LoadError, match="tool's output"):
        parse_wrk("Segmentation fault")
