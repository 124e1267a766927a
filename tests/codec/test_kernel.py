"""The range coder's arithmetic: tables that never change, and one source that runs compiled and plain."""

import hashlib
import subprocess
import sys

import numpy as np
import pytest
from bases import wavelet
from examples import planes, sparse_symbols
from hypothesis import given, settings
from hypothesis import strategies as st

from wavesweep.codec import kernel, range_coder
from wavesweep.codec.planes import Plane, planes_of
from wavesweep.codec.range_coder import decode, encode, significance_probabilities
from wavesweep.codec.tables import arithmetic, first_contexts

ONE = 1 << 16


def test_the_tables_are_what_files_were_made_with():
    # A file made with other tables would not decode, so these never change within a version of the format.
    found = hashlib.sha256()
    for table in (*arithmetic(), *first_contexts()):
        found.update(table.astype("<i8").tobytes())
    assert found.hexdigest() == "f9920c56a8c33692f682d52c895cb81f0cac51c12290707e1ef104356407103d"


def test_chances_and_log_odds_are_inverse_to_each_other():
    squash, stretch, rates = arithmetic()
    assert (np.diff(squash) >= 0).all()
    assert (np.diff(stretch) >= 0).all()
    assert 0 < squash.min() < squash.max() < ONE
    odds = np.arange(-kernel.LARGEST_ODDS - 1, kernel.LARGEST_ODDS + 1)
    exact = ONE / (1 + np.exp(-odds / 256))
    assert (np.abs(squash - exact) <= 0.01 * np.minimum(exact, ONE - exact) + 1).all()
    chances = np.arange(64, ONE - 64)
    assert np.abs(stretch[chances] - 256 * np.log(chances / (ONE - chances))).max() < 8
    assert rates[0] < ONE
    assert (np.diff(rates) <= 0).all()


@pytest.fixture
def plain(monkeypatch):
    """Codes without compiled code."""
    return lambda: monkeypatch.setattr(range_coder, "_is_long", lambda _: False)


def structured():
    basis = wavelet((6, 5, 9, 9), (0, 2, 3), (1, 2, 2), "bior2.2", "periodization")
    bands = [sparse_symbols(band.shape, 2 + band.level) for band in basis.bands]
    large = np.array([[0, 1, -1, (1 << 30) - 1, 1 - (1 << 30), 77]], np.int32)
    shapes = [(1, 40), (40,), (3, 1, 5, 5), (1, 6, 3, 3)]
    tensors = [([Plane((37, 53))], [sparse_symbols((37, 53))]), (planes(basis), bands), ([Plane((1, 6))], [large])]
    return tensors + [([Plane(shape)], [sparse_symbols(shape, 2)]) for shape in shapes]


def test_compiled_and_plain_code_give_the_same_bytes_and_symbols(plain):
    tensors = structured()
    all_planes = [tensor[0] for tensor in tensors]
    content = encode(tensors)
    chances = [significance_probabilities(*tensor) for tensor in tensors]
    decoded = decode(content, all_planes)
    plain()
    assert encode(tensors) == content
    for one, other, (_, truth) in zip(decoded, decode(content, all_planes), tensors, strict=True):
        for first, second, third in zip(one, other, truth, strict=True):
            np.testing.assert_array_equal(first, third)
            np.testing.assert_array_equal(second, third)
    for one, tensor in zip(chances, tensors, strict=True):
        for first, second in zip(one, significance_probabilities(*tensor), strict=True):
            np.testing.assert_array_equal(first, second)


@settings(deadline=None, max_examples=50)
@given(
    shape=st.lists(st.integers(1, 12), min_size=1, max_size=4).map(tuple),
    share=st.sampled_from([0, 1, 50, 99, 100]),
    seed=st.integers(0, 1 << 32),
)
def test_chances_stay_inside_and_above_zero(shape, share, seed):
    axes = tuple(range(len(shape)))
    basis = wavelet(shape, axes, (1,) * len(axes), "haar", "periodization")
    all_planes = planes_of([(band.level, band.orientation, band.shape) for band in basis.bands])
    generator = np.random.default_rng(seed)
    symbols = [
        (generator.integers(0, 100, band.shape) < share).astype(np.int32) * generator.integers(1, 9, band.shape)
        for band in basis.bands
    ]
    for found, band in zip(significance_probabilities(all_planes, symbols), basis.bands, strict=True):
        assert found.shape == band.shape
        assert ((found >= 1) & (found < ONE)).all()


def test_long_runs_push_chances_to_the_edges_and_no_further():
    for value in (0, 1):
        found = significance_probabilities([Plane((4096, 256))], [np.full((4096, 256), value, np.int32)])[0]
        last = found[-1, -1] if value == 0 else ONE - found[-1, -1]
        assert 1 <= last < ONE // 1000


def test_a_dense_row_becomes_likelier():
    symbols = np.zeros((40, 60), np.int32)
    symbols[7] = 1
    found = significance_probabilities([Plane((40, 60))], [symbols])[0]
    assert found[7, 30:].min() > 4 * found[6].max()


@pytest.mark.integration
def test_code_that_cannot_be_kept_on_disk_is_compiled_all_the_same(tmp_path):
    script = """
import numpy as np
from numba.core import caching
caching.CacheImpl._locator_classes = []  # as where no directory can be written
from wavesweep.codec.planes import Plane
from wavesweep.codec.range_coder import decode, encode
symbols = (np.arange(40_000).reshape(200, 200) % 7 == 0).astype(np.int32)
found = decode(encode([([Plane((200, 200))], [symbols])]), [[Plane((200, 200))]])
assert (found[0][0] == symbols).all()
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_small_tensors_are_coded_without_loading_a_compiler():
    script = """
import sys
import numpy as np
from wavesweep.codec.planes import Plane
from wavesweep.codec.range_coder import encode
assert len(encode([([Plane((30, 30))], [np.eye(30, dtype=np.int32)])])) < 100
assert "numba" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
