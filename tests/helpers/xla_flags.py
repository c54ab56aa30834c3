"""XLA flags with which the tests compile quickly.

Compilation takes most of the suite's time. Without optimisation and the MLIR fusion emitters, a training step of
a small TIN compiles in 4.4 s of processor time instead of 9.0 s (level 0 alone) and runs as fast. Code generation in
one part instead of 32 saves another third; the workers of the suite keep all cores busy anyway.
"""

FAST = "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
"""Also for programs that tests start."""


def with_devices(count: int) -> str:
    """Return XLA_FLAGS for fast compilation and `count` virtual devices."""
    return f"{FAST} --xla_force_host_platform_device_count={count}"
