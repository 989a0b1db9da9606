"""Two processes that want the same engine, and readers who look while another one writes."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from helpers import trt_double
from helpers.trt_builds import build, plans
from helpers.trt_process import start
from lineside.runtime import locks
from lineside.runtime.bundle import open_bundle
from lineside.runtime.engines import open_engines
from lineside.runtime.engines.base import EngineOptions
from lineside.runtime.engines.tensorrt import building as building_module
from lineside.runtime.engines.tensorrt import finding
from lineside.runtime.engines.tensorrt import plans as plans_module
from lineside.runtime.engines.tensorrt.plans import building
from lineside.runtime.errors import BadOption, EngineFailed, EngineUnavailable

REBUILD = """
    import warnings
    from lineside.runtime.bundle import open_bundle
    from lineside.runtime.engines import open_engines
    from lineside.runtime.engines.base import EngineOptions
    from lineside.runtime.engines.tensorrt import plans
    warnings.simplefilter("ignore")
    device.load = lambda kernel: None  # kernels take longer to compile than the rest, and none runs here
    told = []
    def tell(word):
        if not told:
            told.append(word)
            print(word, flush=True)
    trt_double.SETTINGS.meanwhile = lambda: (tell("builds"), sys.stdin.readline())
    time = plans.time
    class Watched:
        sleep = staticmethod(lambda seconds: (tell("waits"), time.sleep(seconds)))
    plans.time = Watched
    (engine,) = open_engines("tensorrt", open_bundle({bundle}), EngineOptions(on_mismatch="rebuild"))
    print(trt_double.SETTINGS.seen.get("builds", 0), engine.reason, flush=True)
    engine.close()
"""


def test_of_two_that_rebuild_one_builds_and_the_other_waits_for_it(bundle: Path, tmp_path: Path) -> None:
    with ExitStack() as stack:
        both = [stack.enter_context(start(REBUILD, tmp_path / "cache", bundle=str(bundle))) for _ in range(2)]
        for process in both:
            stack.callback(process.kill)
        words = [process.stdout.readline() for process in both if process.stdout]
        assert sorted(words) == ["builds\n", "waits\n"]
        builder, other = both if words[0] == "builds\n" else both[::-1]
        said = {}
        for process in (builder, other):  # the other one ends because this one has
            out, err = process.communicate("\n", timeout=60)
            assert process.returncode == 0, err
            said[process] = out.strip()
    assert said[builder].startswith("1 it was built now, because no TensorRT engine was built")
    assert said[other].startswith("0 another process built it meanwhile, because no TensorRT engine was built")
    assert len(plans(bundle)) == 2


def test_a_build_that_another_one_waits_for_may_fail(bundle: Path, double: trt_double.Settings) -> None:
    with ExitStack() as other:
        other.enter_context(building(open_bundle(bundle)))
        asked: list[float] = []

        def tell(share: float, note: str) -> None:
            asked.append(share)
            other.close()  # it gives up and leaves nothing

        options = building_module.BuildOptions()
        assert building_module.build_engine(open_bundle(bundle), options, tell, wait=True).built
    assert asked[0] == 0.0 and double.seen["builds"] == 1


def test_ctrl_c_ends_the_wait(bundle: Path, double: trt_double.Settings) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    with building(open_bundle(bundle)):
        with pytest.raises(KeyboardInterrupt):
            with building(open_bundle(bundle), interrupt):
                pass


def test_a_folder_that_is_removed_meanwhile_is_made_again(
    bundle: Path, double: trt_double.Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = locks.lock_folder
    turns = iter([True, True, False])

    def removing(folder: Path) -> int | None:
        if next(turns, False):
            folder.rmdir()
        return lock(folder)

    monkeypatch.setattr(plans_module, "lock_folder", removing)
    assert build(bundle).built
    turns = iter([True] * 100)
    for file in (bundle / "engines").iterdir():
        file.unlink()
    with pytest.raises(EngineFailed, match="end what removes it"):
        build(bundle)


@pytest.mark.parametrize("late", ["list_plans", "read_plan"])
def test_an_engine_that_is_replaced_while_it_is_looked_for_is_looked_for_again(
    bundle: Path, double: trt_double.Settings, monkeypatch: pytest.MonkeyPatch, late: str
) -> None:
    build(bundle)
    real: Callable[..., object] = getattr(finding, late)
    turns = iter([True])

    def slow(what: object) -> object:
        if next(turns, False):
            if late == "read_plan":
                double.salt = 1
                build(bundle, workspace=100)  # takes the place of the one that was found
            else:
                sidecars = list((bundle / "engines").glob("*.json"))
                for path in sidecars:
                    path.unlink()
                found = real(what)
                build(bundle, workspace=100)
                return found
        return real(what)

    monkeypatch.setattr(finding, late, slow)
    (engine,) = open_engines("tensorrt", open_bundle(bundle), EngineOptions())
    assert "fits this machine" in engine.reason
    engine.close()


def test_a_plan_that_stays_away_is_an_error(bundle: Path, double: trt_double.Settings) -> None:
    Path(build(bundle).engine).unlink()
    with pytest.raises(EngineUnavailable, match="is not there any more"):
        open_engines("tensorrt", open_bundle(bundle), EngineOptions())


def test_too_many_lanes_are_refused_before_anything_is_built(bundle: Path, double: trt_double.Settings) -> None:
    with pytest.raises(BadOption, match="lanes=17 is more than a device can use"):
        open_engines("tensorrt", open_bundle(bundle), EngineOptions(lanes=17, on_mismatch="rebuild"))
    assert "builds" not in double.seen
