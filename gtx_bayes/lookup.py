"""Reading from short tables by index, many times over."""

import jax.numpy as jnp
from jaxtyping import Array, Int, Shaped

_SHORT = 24


def look_up(table: Shaped[Array, " size"], index: Int[Array, "*shape"]) -> Shaped[Array, "*shape"]:
    """`table[index]`, for indices within the table.

    A short table is read by comparing the index with every entry's, which a CPU does for several
    at a time; its gathers take them one by one.
    """
    if not 1 <= table.shape[0] <= _SHORT:
        return table[index]
    found = jnp.broadcast_to(table[0], index.shape)
    for i in range(1, table.shape[0]):
        found = jnp.where(index == i, table[i], found)
    return found
