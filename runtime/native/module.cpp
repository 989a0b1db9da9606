// The Python face of the native core: each file registers what it offers.
#include <nanobind/nanobind.h>

#include "bindings.hpp"

namespace nb = nanobind;

NB_MODULE(_native, m) {
  m.doc() = "Native core of the Lineside runtime: letterbox, decode, masks.";
  lineside::register_letterbox(m);
  lineside::register_decoder(m);
  lineside::register_spans(m);
}
