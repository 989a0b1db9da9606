"""Our code against the real Python bindings of every TensorRT that is supported, over libraries that hold nothing."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers.tensorrt_bindings import REAL_REGISTRY, VERSIONS, run_with

RUNTIME = Path(__file__).resolve().parents[3] / "runtime"
FOLDER = RUNTIME / "engines" / "tensorrt"

CLASSES = {
    "builder": "Builder",
    "network": "INetworkDefinition",
    "parser": "OnnxParser",
    "error": "ParserError",
    "config": "IBuilderConfig",
    "profile": "IOptimizationProfile",
    "cache": "ITimingCache",
    "runtime": "Runtime",
    "engine": "ICudaEngine",
    "context": "IExecutionContext",
    "inspector": "EngineInspector",
    "registry": "IPluginRegistry",
    "exprs": "IExprBuilder",
    "desc": "PluginTensorDesc",
}
"""What the variables of our code that hold TensorRT's objects are called, and their classes."""

FILES = {
    "engines/tensorrt/builder.py": ("builder", "network", "parser", "error", "config", "profile", "cache"),
    "engines/tensorrt/running.py": ("runtime", "engine", "context"),
    "engines/tensorrt/building.py": ("engine", "inspector", "context"),
    "engines/tensorrt/plugin.py": ("registry", "exprs", "desc"),
    "engines/tensorrt/symbols.py": (),
    "engines/tensorrt/ahead.py": (),
    "engines/tensorrt/logs.py": (),
    "engines/tensorrt/progress.py": (),
    "selftest/layers.py": ("engine", "context"),
}
"""Files of the runtime that touch TensorRT, and which of these variables each has."""

OURS = {"op", "home", "kept", "device", "stopped"}
ONLY_AHEAD = ("engines/tensorrt/ahead.py",)


def chain(node: ast.AST) -> list[str] | None:
    """The names of ``a.b.c``, or None for anything else."""
    if isinstance(node, ast.Name):
        return [node.id]
    if isinstance(node, ast.Attribute):
        before = chain(node.value)
        return None if before is None else [*before, node.attr]
    return None


def used(file: str) -> Iterator[str]:
    """Every name of TensorRT's that a file of ours uses, as a path in the module."""
    tree = ast.parse((RUNTIME / file).read_text())
    for node in ast.walk(tree):
        names = chain(node)
        if names is None or len(names) < 2:
            continue
        if names[0] in ("self", "machine"):
            names = names[1:]
        names[0] = names[0].removeprefix("_")
        if names[0] == "trt" and len(names) > 1 and not names[1].startswith("_"):
            yield ".".join(names[1:3])
        elif names[0] in FILES[file] and len(names) > 1:
            yield f"{CLASSES[names[0]]}.{names[1]}"
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            bases = [name[-1] for base in node.bases if (name := chain(base)) and name[0] == "trt"]
            if bases:
                methods = [it.name for it in node.body if isinstance(it, ast.FunctionDef) and it.name[0] != "_"]
                yield from (f"{'|'.join(bases)}.{name}" for name in methods)
                assigned = (
                    target.attr
                    for it in ast.walk(node)
                    if isinstance(it, ast.Assign)
                    for target in it.targets
                    if chain(target) and chain(target)[:-1] == ["self"] and not target.attr.startswith("_")
                )
                yield from (f"{'|'.join(bases)}.{name}" for name in assigned if name not in OURS)


TABLE = sorted({name for file in FILES if file not in ONLY_AHEAD for name in used(file)})

LOOK = """
    import json
    import tensorrt
    def there(path):
        head, _, rest = path.partition(".")
        holders = [getattr(tensorrt, name, None) for name in head.split("|")]
        if None in holders:
            return False
        return not rest or any(hasattr(holder, rest) for holder in holders)
    print(json.dumps([path for path in json.loads({table!r}) if not there(path)]))
"""


def test_the_table_of_used_names_is_read_from_our_source() -> None:
    touching = {
        str(path.relative_to(RUNTIME))
        for path in RUNTIME.rglob("*.py")
        if any(
            (names := chain(node)) and len(names) > 1 and "trt" in names[:2] and names[-1] not in ("trt", "__version__")
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Attribute)
        )
    }
    assert touching <= set(FILES), "a file that uses TensorRT is missing in FILES"
    assert {
        "ProfilingVerbosity.DETAILED",
        "NetworkDefinitionCreationFlag.STRONGLY_TYPED",
        "Builder.build_serialized_network",
        "IBuilderConfig.set_timing_cache",
        "IExecutionContext.execute_async_v3",
        "IPluginV3|IPluginV3OneCore|IPluginV3OneBuild|IPluginV3OneRuntime.enqueue",
        "IPluginCreatorV3One.create_plugin",
        "IProgressMonitor.step_complete",
        "ParserError.desc",
        "IProfiler.report_layer_time",
        "IExecutionContext.profiler",
    } <= set(TABLE)
    assert len(TABLE) > 60


@pytest.mark.parametrize("version", VERSIONS)
def test_every_name_that_we_use_exists(version: str) -> None:
    answer = run_with(version, LOOK.format(table=json.dumps([*TABLE, "NoSuchThing"])))
    assert answer.returncode == 0, answer.stderr
    assert json.loads(answer.stdout) == ["NoSuchThing"]


@pytest.mark.parametrize("version", VERSIONS)
def test_our_builder_runs_as_far_as_there_is_one(version: str) -> None:
    answer = run_with(
        version,
        """
        from lineside.runtime.engines.tensorrt import builder, library, logs, progress, profiles
        from lineside.runtime.errors import EngineUnavailable
        trt = library.require_library()
        assert library.version_of(trt) >= library.OLDEST
        flags = builder._network_flags(trt, True)
        assert flags & 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
        batch = getattr(trt.NetworkDefinitionCreationFlag, "EXPLICIT_BATCH", None)
        assert (batch is None) == (trt.__version__ >= "11")
        assert batch is None or flags & 1 << int(batch)
        log = logs.open_log(trt)
        log.logger.log(trt.ILogger.Severity.ERROR, "first\\n line")
        log.logger.log(trt.ILogger.Severity.WARNING, "odd")
        log.logger.log(trt.ILogger.Severity.INFO, "chatter")
        assert (log.reason(), list(log.warnings)) == ("first line", ["odd"])
        told = []
        watch = progress.monitor(trt, progress.Phases(lambda share, note: told.append(share)))
        watch.phase_start("Building", None, 2)
        assert watch.step_complete("Building", 0) is True
        watch.phase_finish("Building")
        assert told == [0.0, 0.5, 0.5]
        shape = (1, 3, 64, 64)
        job = builder.Job(b"", "images", profiles.Profile(least=shape, best=shape, most=shape))
        try:
            builder.build_plan(trt, log, job, lambda share, note: None)
        except EngineUnavailable as error:
            print(error)
        """,
    )
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.startswith(f"TensorRT {version} cannot make a builder")


@pytest.mark.parametrize("version", VERSIONS)
def test_a_runtime_that_cannot_start_is_a_sentence_and_no_crash(version: str) -> None:
    answer = run_with(
        version,
        """
        import gc
        import tensorrt as trt
        from lineside.runtime.engines.tensorrt import logs, machine, running
        from lineside.runtime.errors import EngineUnavailable
        here = machine.Machine(trt, None, trt.__version__, "87", "none", "linux")
        for _ in range(2):
            try:
                running.deserialise(here, logs.open_log(trt), b"no plan")
            except EngineUnavailable as error:
                print(error)
        gc.collect()
        """,
    )
    assert answer.returncode == 0, answer.stderr
    lines = answer.stdout.strip().splitlines()
    assert len(lines) == 2 and all(line.startswith(f"TensorRT {version} cannot start its runtime") for line in lines)
    if version == REAL_REGISTRY:  # NVIDIA's own lean runtime, which looked for a driver
        assert "CUDA initialization failure" in lines[0] or "driver" in lines[0]


@pytest.mark.skipif(Path("/dev/nvidiactl").exists(), reason="this machine has a GPU")
@pytest.mark.parametrize("version", VERSIONS)
def test_the_guard_finds_no_driver_before_tensorrt_is_touched(version: str) -> None:
    bundle = FOLDER.parents[2] / "demo" / "bearing.bundle"
    answer = run_with(
        version,
        f"""
        import sys
        import tensorrt
        def touched(*given):
            raise SystemExit("the runtime was made without a driver")
        tensorrt.Runtime = tensorrt.Builder = touched
        from lineside import cli
        sys.exit(cli.main(["build", {str(bundle)!r}]))
        """,
    )
    assert answer.returncode == 2, answer.stderr
    assert answer.stderr.startswith("error: ") and answer.stderr.count("\n") == 1


PLUGINS = """
    import gc
    import types
    import numpy as np
    import tensorrt as trt
    from lineside.runtime.cuda.host import HostDevice
    from lineside.runtime.engines.tensorrt import plugin as plugins
    from lineside.runtime.ops.op import DOMAIN
    from lineside.runtime.ops.table import find_device_op

    class Sides(list):
        # IDimensionExpr cannot be made in Python, so sides are plain numbers here and TensorRT's collection is a list.
        def __init__(self, count):
            super().__init__([None] * count)

    class Builder:
        def constant(self, value):
            return value
        def operation(self, kind, left, right):
            names = {trt.DimensionOperation.SUM: "__add__", trt.DimensionOperation.SUB: "__sub__",
                     trt.DimensionOperation.PROD: "__mul__", trt.DimensionOperation.FLOOR_DIV: "__floordiv__"}
            return getattr(left, names[kind])(right)

    trt.DimsExprs = Sides

    def tensor(kind, dims=(1,), layout=trt.TensorFormat.LINEAR):
        own = trt.PluginTensorDesc()
        own.type, own.format, own.dims = kind, layout, trt.Dims(dims)
        wrapped = trt.DynamicPluginTensorDesc()
        wrapped.desc = own
        return wrapped

    CASES = {
        "Carafe_k5_up2": [(1, 8, 6, 7), (1, 25, 12, 14)],
        "MSDeformAttn_l3": [(1, 84, 4, 8), (3, 2), (3,), (1, 10, 4, 3, 4, 2), (1, 10, 4, 3, 4)],
        "SelectiveScan_n4_softplus_bias_skip_last": [(1, 6, 9), (1, 6, 9), (6, 4), (1, 1, 4, 9), (1, 1, 4, 9), (6,), (6,)],
    }
    device = HostDevice()
    for name, shapes in CASES.items():
        op = find_device_op(name)
        creator = plugins._classes(trt)[1](op, device)
        assert [(f.name, f.type) for f in creator.field_names] == [("kernels", trt.PluginFieldType.CHAR)]
        made = creator.create_plugin(name, trt.PluginFieldCollection([]), trt.TensorRTPhase.BUILD)
        assert isinstance(made, trt.IPluginV3)
        assert (made.plugin_name, made.plugin_version, made.plugin_namespace) == (name, "1", DOMAIN)
        assert made.num_outputs == len(op.outputs)
        assert [tuple(found) for found in made.get_output_shapes(shapes, [], Builder())] == list(op.shapes(*shapes))
        for floating in (trt.float32, trt.float16):
            kinds = [trt.int32 if own in op.integers else floating if own in op.floating else trt.float32
                     for own in (*op.inputs, *op.outputs)]
            count = len(op.inputs)
            assert made.get_output_data_types(kinds[:count]) == kinds[count:], name
            every = [tensor(kind) for kind in kinds]
            assert all(made.supports_format_combination(at, every, count) for at in range(len(every))), name
            for at in range(len(every)):
                bad = list(every)
                bad[at] = tensor(trt.int8)
                assert not made.supports_format_combination(at, bad, count)
                bad[at] = tensor(kinds[at], layout=trt.TensorFormat.CHW32)
                assert not made.supports_format_combination(at, bad, count)
        fields = list(made.get_fields_to_serialize())
        assert [(f.name, f.size) for f in fields] == [("kernels", 65)]
        twin = made.clone()
        assert twin is not made and twin.plugin_name == name
        assert made.attach_to_context(None).plugin_name == name
        assert made.get_capability_interface(trt.PluginCapabilityType.RUNTIME) is made
        del made, twin, creator, fields
        gc.collect()
"""


@pytest.mark.parametrize("version", VERSIONS)
def test_plugins_answer_what_their_declaration_says(version: str) -> None:
    answer = run_with(version, PLUGINS + '    print("done")\n')
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout == "done\n"


def test_creators_register_in_the_real_registry() -> None:
    answer = run_with(
        REAL_REGISTRY,
        PLUGINS
        + """
    ops = tuple(find_device_op(name) for name in CASES)
    plugins.register_plugins(trt, ops, device)
    plugins.register_plugins(trt, ops, device)
    registry = trt.get_plugin_registry()
    for name in CASES:
        creator = registry.get_creator(name, "1", DOMAIN)
        made = creator.create_plugin(name, trt.PluginFieldCollection([]), trt.TensorRTPhase.RUNTIME)
        assert made.plugin_name == name, made
        assert registry.get_creator(name, "2", DOMAIN) is None
    known = [(c.name, c.plugin_version, c.plugin_namespace) for c in registry.all_creators]
    print(sorted(found for found in known if found[2] == DOMAIN))
""",
    )
    assert answer.returncode == 0, answer.stderr
    assert ast.literal_eval(answer.stdout) == [
        ("Carafe_k5_up2", "1", "lineside.ops"),
        ("MSDeformAttn_l3", "1", "lineside.ops"),
        ("SelectiveScan_n4_softplus_bias_skip_last", "1", "lineside.ops"),
    ]


AHEAD = """
    import tensorrt as trt
    from lineside.runtime.engines.tensorrt import ahead
    from lineside.runtime.ops.table import find_device_op
    CASES = {
        "Carafe_k5_up2": [(1, 8, 6, 7), (1, 25, 12, 14)],
        "MSDeformAttn_l3": [(1, 84, 4, 8), (3, 2), (3,), (1, 10, 4, 3, 4, 2), (1, 10, 4, 3, 4)],
        "SelectiveScan_n4_softplus_bias_skip_last": [(1, 6, 9), (1, 6, 9), (6, 4), (1, 1, 4, 9), (1, 1, 4, 9), (6,), (6,)],
    }
    ops = [find_device_op(name) for name in CASES]
    ahead.register_ahead(trt, ops, "compute_87")
    ahead.register_ahead(trt, ops, "compute_87")
    from tensorrt.plugin import _lib as registered
    class Entry:
        def __init__(self, shape, dtype):
            self.shape, self.dtype = shape, dtype
    for op in ops:
        known = registered.QDP_REGISTRY[f"lineside_ops::{op.name}"]
        combinations = known.autotune_func(*[None] * len(op.inputs), None)
        assert [set(one.io_types) <= {"FP32", "FP16", "INT32"} for one in combinations] == [True, True]
        assert [len(one.io_types) for one in combinations] == [len(op.inputs) + len(op.outputs)] * 2
        for half in (False, True):
            entries = [Entry(shape, trt.float16 if half and own in op.floating else trt.float32)
                       for own, shape in zip(op.inputs, CASES[op.name])]
            name, ptx, launch, extra = known.aot_impl_func(*entries, None, 0)
            text = ptx.decode()
            assert f".entry {name}" in text, op.name
            head = text[text.index(f".entry {name}"):]
            head = head[:head.index(")")]
            pointers = len(op.inputs) + len(op.outputs)
            assert head.count(".param .u64") == pointers, head
            assert head.count(".param") == pointers + len(extra), head
            print(op.name, half, text.count(".entry"), len(extra) > 0)
"""


@pytest.mark.slow
def test_ahead_of_time_plugins_pass_the_validator_and_carry_a_kernel() -> None:
    pytest.importorskip("cuda.bindings.nvrtc")
    answer = run_with(
        REAL_REGISTRY,
        AHEAD
        + """
    for op in ops:
        creator = trt.get_plugin_registry().get_creator(op.name, "1", "lineside_ops")
        made = creator.create_plugin(
            op.name, "lineside_ops", trt.PluginFieldCollection([]), trt.TensorRTPhase.BUILD,
            trt.QuickPluginCreationRequest.STRICT_AOT)
        assert type(made).__name__ == "_TemplateAOTPlugin", made
""",
    )
    assert answer.returncode == 0, answer.stderr
    lines = answer.stdout.splitlines()  # nothing of TensorRT's own among them: stdout is for results
    assert len(lines) == 6 and all(line.endswith(" 1 True") for line in lines), lines


@pytest.mark.parametrize("version", [version for version in VERSIONS if version not in ("10.3.0", REAL_REGISTRY)])
def test_ahead_of_time_plugins_pass_the_validator_of(version: str) -> None:
    answer = run_with(
        version,
        """
        import tensorrt as trt
        class Registry:  # a stub has none, and the decorators want one
            def register_creator(self, creator, namespace):
                self.creator = creator
            def get_creator(self, name, version, namespace):
                return self.creator
        registry = Registry()
        trt.get_plugin_registry = lambda: registry
        from lineside.runtime.engines.tensorrt import ahead
        from lineside.runtime.ops.table import find_device_op
        names = ["Carafe_k5_up2", "MSDeformAttn_l3", "SelectiveScan_n4_softplus_bias_skip_last"]
        ahead.register_ahead(trt, [find_device_op(name) for name in names], "compute_87")
        from tensorrt.plugin import _lib
        for name in names:
            known = _lib.QDP_REGISTRY["lineside_ops::" + name]
            assert known.aot_impl_func and known.autotune_func and known.register_func
        print("done")
        """,
    )
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.endswith("done\n")
