"""The operator's page: the live picture with its masks, on this machine only.

::

    view = start_view(settings, lambda: graph.flow.counters.snapshot(), bus, bundles=[bundle])
    graph = Graph(source, transform, [view.sink], bus=bus)
    print(view.url)
    ...
    view.close()

Leave the sink's queue at its default policy: taking a frame costs microseconds whatever the pages do, and the workbook
behind the Excel button then holds every frame. Pages drop pictures by themselves where they are too slow.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lineside.runtime.errors import BadOption, MissingPackage

if TYPE_CHECKING:
    from lineside.pipelines.counters import Snapshot
    from lineside.pipelines.elements import Sink
    from lineside.pipelines.events import Bus
    from lineside.pipelines.settings import Settings

__all__ = ["View", "require", "start_view"]

NEEDED = ("cv2", "starlette", "uvicorn", "websockets", "xlsxwriter")


def require(*packages: str) -> None:
    """Makes sure that the packages which a page needs are there.

    Raises:
        MissingPackage: One of them is not installed.
    """
    try:
        for name in packages:
            __import__(name)
    except ImportError as error:
        raise MissingPackage(
            f"The page needs the package {error.name}, which is not installed; "
            "install it with: pip install 'lineside[station]'"
        ) from error


@dataclass(frozen=True)
class View:
    """A running page.

    Attributes:
        url: Where it is.
        sink: The element to put into the graph.
        close: Stops it within a bound. Safe to call twice.
    """

    url: str
    sink: Sink
    close: Callable[[], None]


def start_view(
    settings: Settings,
    counters: Callable[[], Snapshot],
    events: Bus,
    *,
    bundles: Sequence[str | Path],
    host: str = "127.0.0.1",
    port: int = 0,
    engine: str = "auto",
    imgsz: tuple[int, int] | None = None,
) -> View:
    """Starts the page in threads of its own.

    Args:
        settings: The live settings of the graph; the page changes them.
        counters: Gives the counts of the run; while it raises RuntimeError, the run has not begun.
        events: The graph's bus; warnings, errors and changes of bundle are shown.
        bundles: Bundles to offer, the running one first; those beside them are offered too.
        host: Loopback; any other address is refused.
        port: Port, 0 for any free one.
        engine: Engine that looks at the last picture again after the run has ended.
        imgsz: Height and width of its input, for dynamic bundles; None: their own.

    Returns:
        The page, answering requests.

    Raises:
        BadOption: No bundle, an address other than loopback, or a port that cannot be used.
        MissingPackage: A package of the extra ``station`` is not installed.
        BundleError: The first bundle cannot be opened.
    """
    if not bundles:
        raise BadOption("The page needs the bundle that runs; none was given.")
    require(*NEEDED)
    from lineside.pipelines.view.app import make_app
    from lineside.pipelines.view.desk import Desk
    from lineside.pipelines.view.hub import Hub
    from lineside.pipelines.view.painter import Painter
    from lineside.pipelines.view.replay import Replay
    from lineside.pipelines.view.server import PageServer, bind
    from lineside.pipelines.view.sink import ViewSink

    listener = bind(host, port)
    painter, replay = Painter(), Replay(engine, imgsz)
    hub = Hub(painter)
    try:
        desk = Desk(settings, counters, [Path(bundle) for bundle in bundles], hub, replay)
        server = PageServer(make_app(desk, hub), listener)
        painter.start()
        replay.start()
        server.start()
    except BaseException:
        painter.close()
        hub.close()
        replay.close()
        listener.close()
        raise
    leave = events.listen(desk.hear)

    def close() -> None:
        leave()
        server.close()
        painter.close()
        hub.close()
        replay.close()

    return View(f"http://127.0.0.1:{server.port}/", ViewSink(desk), close)
