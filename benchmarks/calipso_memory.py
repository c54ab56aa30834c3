"""What CALIPSO's backward pass keeps of the forward pass, by shapes alone: nothing is computed.

    python benchmarks/calipso_memory.py                    # the paper's batch of 10 at 768 x 1280
    python benchmarks/calipso_memory.py --compile          # also the compiler's plan for this device (minutes)
    python benchmarks/calipso_memory.py --config configs/calipso_hoi_scenes.py --height 128 --width 128 --batch 8

Counts every array that JAX's differentiation stores, each once, for the loss of one device's batch with and without
recomputation of blocks (`subnet.remat`). The compiler frees and fuses some of it, and needs room for its own
intermediate results, so this is a figure to plan with, not a peak. `--compile` asks the compiler for its peak: loss and
gradient are compiled for the device at hand and never run. CPUs compute bfloat16 in float32 buffers; an accelerator
needs less.
"""

import argparse
import importlib
import json
from pathlib import Path
from typing import Any

import numpy as np

RESULT = Path(__file__).parent / "results" / "calipso_memory.json"


def stand_ins(experiment: Any, changes: dict[str, Any], hw: tuple[int, int], batch_size: int) -> tuple[Any, Any, Any]:
    """System, shapes of its variables, and shapes of a training batch."""
    import jax

    from hoi_jax import schema
    from hoi_jax.systems.registry import build_system

    model = {**experiment.model, "subnet": {**experiment.model["subnet"], **changes}}
    system = build_system("calipso", model, experiment.vocabulary)
    sizes = {"G": experiment.sizes.instances, "P": experiment.sizes.pairs, "N": max(experiment.sizes.persons, 1)}
    sizes |= {"H": hw[0], "W": hw[1], "V": len(experiment.vocabulary.verbs), "A": len(experiment.vocabulary.actions)}
    batch = {}
    for name in system.needs_train | schema.ALWAYS_PRESENT:
        field = schema.BATCH_FIELDS[name]
        shape = [axis if isinstance(axis, int) else sizes[axis] for axis in field.axes]
        batch[name] = jax.ShapeDtypeStruct((batch_size, *shape), field.dtype)
    return system, jax.eval_shape(system.init, jax.random.key(0), {}), batch


def stored_bytes(system: Any, variables: Any, batch: Any) -> dict[str, float]:
    """GB of stored arrays, and of parameters with two optimiser slots."""
    import jax
    import jax.numpy as jnp

    rest = {name: value for name, value in variables.items() if name != "params"}

    def residuals(params: Any, rest: Any, batch: Any) -> list[Any]:
        def loss(p: Any) -> Any:
            return system.loss({**rest, "params": p}, batch, jax.random.key(0))[0]

        _, backward = jax.vjp(loss, params)
        known = {id(x) for x in jax.tree.leaves((params, rest, batch))}
        unique = {id(x): x for x in jax.tree.leaves(backward) if id(x) not in known}
        return [jnp.asarray(x) for x in unique.values()]

    shapes = jax.eval_shape(residuals, variables["params"], rest, batch)
    kept = sum(int(np.prod(s.shape)) * s.dtype.itemsize for s in shapes)
    parameters = sum(int(np.prod(s.shape)) * 4 for s in jax.tree.leaves(variables["params"]))
    return {"stored_gb": kept / 1e9, "parameters_and_optimizer_gb": 3 * parameters / 1e9}


def compiled_bytes(system: Any, variables: Any, batch: Any) -> dict[str, float]:
    """GB that the compiled loss with its gradient needs beside arguments and results, on this device."""
    import jax

    def both(variables: Any, batch: Any) -> Any:
        rest = {name: value for name, value in variables.items() if name != "params"}

        def loss(p: Any) -> Any:
            return system.loss({**rest, "params": p}, batch, jax.random.key(0))

        return jax.value_and_grad(loss, has_aux=True)(variables["params"])

    plan = jax.jit(both).lower(variables, batch).compile().memory_analysis()
    kind = jax.devices()[0].device_kind
    return {f"temporary_gb {kind}": plan.temp_size_in_bytes / 1e9}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", nargs="+", default=["configs/calipso_vcoco.py", "configs/calipso_hico_det.py"])
    parser.add_argument("--height", type=int, default=768)
    parser.add_argument("--width", type=int, default=1280)
    parser.add_argument("--batch", type=int, default=10)
    parser.add_argument("--compile", action="store_true", help="also compile for this device and report its plan")
    options = parser.parse_args()

    from hoi_jax.experiment import load_experiment
    from hoi_jax.settings import from_config
    from hoi_jax.systems.calipso.config import CalipsoConfig
    from hoi_jax.systems.calipso.model import anchors_of

    result: dict[str, Any] = json.loads(RESULT.read_text()) if RESULT.is_file() else {}
    hw = (options.height, options.width)
    for path in options.config:
        module = importlib.import_module(path.removesuffix(".py").replace("/", "."))
        experiment = load_experiment(module.get_config().to_dict())
        anchors = len(anchors_of(from_config(CalipsoConfig, experiment.model, "model"), hw))
        for remat in (False, True):
            made = stand_ins(experiment, {"remat": remat}, hw, options.batch)
            row = stored_bytes(*made) | {"anchors": anchors} | (compiled_bytes(*made) if options.compile else {})
            name = f"{Path(path).stem} batch {options.batch} {hw[0]}x{hw[1]}" + (" remat" if remat else "")
            result[name] = {**result.get(name, {}), **row}
            print(name, {key: round(value, 3) for key, value in row.items()}, flush=True)
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
