"""Connected components of many small graphs at once."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int


def connected_components(
    linked: Bool[Array, "*batch nodes nodes"], present: Bool[Array, "*#batch nodes"]
) -> Int[Array, "*batch nodes"]:
    """The smallest member of every present node's component; -1 for absent nodes, whose links do not count.

    Links hold in both directions. The closure is reached by squaring the adjacency ceil(log2(nodes)) times: paths
    double in length each time.

    >>> linked = jnp.zeros((4, 4), bool).at[0, 2].set(True)
    >>> connected_components(linked, jnp.array([True, True, True, False])).tolist()
    [0, 1, 0, -1]
    """
    nodes = linked.shape[-1]
    both = present[..., :, None] & present[..., None, :]
    same = jnp.eye(nodes, dtype=bool).reshape((1,) * (linked.ndim - 2) + (nodes, nodes))
    reach = ((linked | jnp.swapaxes(linked, -1, -2)) | same) & both
    for _ in range(max(nodes - 1, 1).bit_length()):
        steps = reach.astype(jnp.float32)
        # Sums of zeros and ones stay above zero in any precision.
        reach = jnp.matmul(steps, steps, precision=jax.lax.Precision.DEFAULT) > 0
    return jnp.where(present, jnp.argmax(reach, axis=-1), -1)
