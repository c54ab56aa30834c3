"""How often an example is shown per epoch so that rare classes are seen more often (DEFR, section 4.1)."""

import numpy as np
from jaxtyping import Int


def copies_of_examples(
    labels: Int[np.ndarray, "examples classes"], target: int, *, cap: int = 40, skip_single: bool = False
) -> Int[np.ndarray, " examples"]:
    """Times that each example is shown: 1 + the most that any of its positive classes asks for.

    A class with n > 0 positive examples asks for ceil(target / n) - 1 further copies of each, at most `cap`.

    Args:
      labels: 1 = positive.
      skip_single: leave out examples that ask for a single further copy, as the released code does; classes with
        target / 2 to target - 1 examples are then not lifted.

    Returns:
      [examples] int64, at least 1.
    """
    positive = labels == 1
    count = positive.sum(axis=0)
    wanted = np.minimum(-(-target // np.maximum(count, 1)) - 1, cap)
    extra = np.max(np.where(positive, np.maximum(wanted, 0)[None], 0), axis=1, initial=0)
    if skip_single:
        extra = np.where(extra > 1, extra, 0)
    return 1 + extra
