"""A GigE Vision camera that is none, in a process of its own: Aravis' simulator, on one address of this machine.

Run as ``fake_gige.py ADDRESS SERIAL``; says ``ready`` once it answers. A line ``loss 0.1`` on its input makes it lose that
part of its packets from then on, and is answered. It ends with its input.
"""

from __future__ import annotations

import sys
from ctypes import CDLL, POINTER, Structure, byref, c_char_p, c_double, c_int, c_size_t, c_uint64, c_void_p

G_TYPE_DOUBLE = 15 << 2


class Value(Structure):
    """``GValue``."""

    _fields_ = (("type", c_size_t), ("data", c_uint64 * 2))


def main(address: str, serial: str) -> int:
    """Is the camera."""
    gobject, aravis = CDLL("libgobject-2.0.so.0"), CDLL("libaravis-0.8.so.0")
    aravis.arv_gv_fake_camera_new.restype = c_void_p
    aravis.arv_gv_fake_camera_new.argtypes = (c_char_p, c_char_p)
    aravis.arv_gv_fake_camera_is_running.restype = c_int
    aravis.arv_gv_fake_camera_is_running.argtypes = (c_void_p,)
    gobject.g_value_init.argtypes = (POINTER(Value), c_size_t)
    gobject.g_value_set_double.argtypes = (POINTER(Value), c_double)
    gobject.g_object_set_property.argtypes = (c_void_p, c_char_p, POINTER(Value))

    camera = aravis.arv_gv_fake_camera_new(address.encode(), serial.encode())
    if not camera or not aravis.arv_gv_fake_camera_is_running(camera):
        print("no camera can be simulated there", flush=True)
        return 1
    print("ready", flush=True)
    for line in sys.stdin:
        value = Value()
        gobject.g_value_init(byref(value), G_TYPE_DOUBLE)
        gobject.g_value_set_double(byref(value), float(line.split()[1]))
        gobject.g_object_set_property(camera, b"gvsp-lost-ratio", byref(value))
        print("done", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
