import jax.numpy as jnp
import numpy as np
import pytest

from gtx_bayes.lookup import look_up


@pytest.mark.parametrize("size", [1, 2, 24, 25, 300])
def test_short_and_long_tables(size):
    """Every entry, in an index of two dimensions and bytes where they suffice."""
    table = np.random.default_rng(size).random(size).astype(np.float32)
    index = np.arange(2 * size).reshape(2, size) % size
    dtype = np.int8 if size < 128 else np.int32
    got = look_up(jnp.asarray(table), jnp.asarray(index.astype(dtype)))
    np.testing.assert_array_equal(got, table[index])
