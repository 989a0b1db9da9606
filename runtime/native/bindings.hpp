// What each binding file registers with the Python module, and how results become numpy arrays.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <algorithm>
#include <initializer_list>

namespace lineside {

void register_letterbox(nanobind::module_& m);
void register_decoder(nanobind::module_& m);
void register_spans(nanobind::module_& m);

// A numpy array that owns a copy of `data`.
template <class T>
nanobind::object owned_array(const T* data, std::initializer_list<size_t> shape) {
  size_t n = 1;
  for (const size_t side : shape) n *= side;
  T* copy = new T[std::max<size_t>(n, 1)];
  std::copy(data, data + n, copy);
  nanobind::capsule owner(copy, [](void* p) noexcept { delete[] static_cast<T*>(p); });
  return nanobind::cast(nanobind::ndarray<nanobind::numpy, T>(copy, shape, owner));
}

}  // namespace lineside
