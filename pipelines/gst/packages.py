"""Which package has an element that is not there."""

from __future__ import annotations

from lineside.pipelines.gst.library import have

__all__ = ["unparsed"]


def unparsed(reason: str, missing: list[str]) -> str:
    """Why a description cannot be made into a pipeline, and what to do.

    Args:
        reason: What GStreamer says.
        missing: Elements that it names and GStreamer does not have.
    """
    if not missing:
        return f"GStreamer cannot make the pipeline: {reason.rstrip('.') or 'it gives no reason'}; check the text of it"
    if not have("videoconvert") or not have("appsink"):
        return "GStreamer has no elements here; install them with: apt-get install gstreamer1.0-plugins-base"
    names = ", ".join(f"'{name}'" for name in missing)
    where = next((f"; install it with: apt-get install {it}" for it in map(_package, missing) if it), "")
    return f"GStreamer has no element {names} here{where or '; check the spelling, or install the plugin that has it'}"


_PACKAGES = {
    "gstreamer1.0-plugins-base": ("decodebin", "videotestsrc", "videoconvert", "appsink", "videorate", "videoscale"),
    "gstreamer1.0-plugins-good": ("rtspsrc", "v4l2src", "jpegdec", "qtdemux", "matroskademux", "rtph264depay"),
    "gstreamer1.0-plugins-bad": ("h264parse", "h265parse", "openh264dec", "nvh264dec", "nvh265dec", "srtsrc"),
    "gstreamer1.0-libav": ("avdec_h264", "avdec_h265"),
    "gstreamer1.0-aravis": ("aravissrc",),
    "nvidia-l4t-gstreamer (on a Jetson)": ("nvarguscamerasrc", "nvvidconv", "nvv4l2decoder"),
}
"""Debian's and NVIDIA's packages, by some of the elements in them."""


def _package(element: str) -> str | None:
    return next((package for package, elements in _PACKAGES.items() if element in elements), None)
