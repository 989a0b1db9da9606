"""Which cameras answer, and what to say where none does."""

from __future__ import annotations

import ipaddress
import socket
import threading

from lineside.pipelines.aravis.library import library

__all__ = ["cameras", "find", "nobody"]

_lock = threading.Lock()
"""The list is the library's own, one for the whole process."""


def cameras() -> list[tuple[str, str]]:
    """Asks on every network interface; takes about a second.

    Returns:
        Identification and address of each camera that answers.

    Raises:
        MissingPackage: See `library`.
    """
    arv = library()
    with _lock:
        arv.arv_update_device_list()
        found = [(arv.arv_get_device_id(n), arv.arv_get_device_address(n)) for n in range(arv.arv_get_n_devices())]
    return [(_text(name), _text(address)) for name, address in found]


def find(wanted: str) -> tuple[str, str]:
    """Who is meant, and what to open for it: its address, where one is known.

    A computer with several network interfaces hears a camera on more than one of them. Aravis, when it opens a camera by
    name, takes the one on which it heard it first, which need not be one that its pictures can come by; by address it takes
    the interface of that network.

    Args:
        wanted: Identification or address; empty for the first camera that answers.

    Returns:
        What was wanted, else the identification of the first camera (empty where none answers); and its address, or the
        same once more where that is one already, and where the camera has none (USB) or goes by another of its names.
    """
    if _is_address(wanted):
        return wanted, wanted
    found = cameras()
    name = wanted or (found[0][0] if found else "")
    addresses = [address for one, address in found if one == name]
    return name, addresses[0] if len(addresses) == 1 and _is_address(addresses[0]) else name


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def nobody(wanted: str, why: str = "") -> str:
    """Says that a camera is not there: who was looked for, where, who else answers, and what is usually in the way.

    Args:
        wanted: Identification or address; empty where any would have done.
        why: What Aravis says; of use where the camera does answer.
    """
    found = cameras()
    if why and any(wanted in pair for pair in found):
        return f"the camera {wanted} answers, and cannot be opened: {why}"
    others = [f"{name} ({address})" for name, address in found]
    what = f"no camera answers to '{wanted}'" if wanted else "no camera answers"
    if others:
        return f"{what}; there are: {', '.join(others)}"
    return (
        f"{what}, nor does any other; asked on the network interfaces {', '.join(_interfaces())} and on USB. Check power "
        "and cable, that camera and computer have addresses in one network, and that no firewall holds back UDP (the "
        "camera's port is 3956, its pictures come to any port)"
    )


def _interfaces() -> list[str]:
    return [name for _, name in socket.if_nameindex()] or ["(there are none)"]


def _text(found: bytes | None) -> str:
    return (found or b"").decode(errors="replace")
