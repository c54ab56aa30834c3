"""What a checkpoint says of itself."""

import dataclasses


class CheckpointError(RuntimeError):
    """No usable checkpoint, or one of another run."""


@dataclasses.dataclass(frozen=True)
class Metadata:
    """The JSON part of a checkpoint.

    Attributes:
      step: completed updates; data_position: the next batch to read.
      metrics: of the evaluation at this step, {} without one.
    """

    step: int
    data_position: int
    config_text: str
    dataset_fingerprint: str
    metrics: dict[str, float]
