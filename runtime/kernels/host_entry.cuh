// What a built kernel offers to the outside: its parameters, its static shared memory, and a launch.
#pragma once

#include <tuple>
#include <type_traits>

// The section that static shared memory lies in; absent when there is none.
extern "C" __attribute__((weak, visibility("hidden"))) unsigned char __start_lineside_shared[];
extern "C" __attribute__((weak, visibility("hidden"))) unsigned char __stop_lineside_shared[];

namespace lineside_host {

constexpr unsigned kMostShared = 48 << 10, kMargin = 256;
constexpr unsigned char kUnset = 0xff;  // NaN as a float, -1 as an int: who reads what nobody has written, sees it

alignas(256) static unsigned char dynamic_shared[kMostShared + kMargin];

static inline size_t static_shared() { return static_cast<size_t>(__stop_lineside_shared - __start_lineside_shared); }

template <typename T>
constexpr char kind_of() {
  if (std::is_pointer<T>::value) return 'p';
  if (std::is_same<T, float>::value) return 'f';
  if (std::is_same<T, int>::value || std::is_same<T, unsigned>::value) return 'i';
  return '?';
}

template <typename T>
static inline T argument(uint64_t bits) {
  T value;
  static_assert(sizeof(T) <= sizeof bits, "pointers, int and float only");
  memcpy(&value, &bits, sizeof value);
  return value;
}

// Nameless, so that it is this library's own: a loader shares what templates hold among libraries by name, and kernels of
// one name with other macros take other parameters.
namespace {

template <auto F>
struct Entry;

template <typename... P, void (*F)(P...)>
struct Entry<F> {
  static inline std::tuple<P...> values;
  static constexpr char kinds[] = {kind_of<P>()..., 0};

  static void body() { std::apply(F, values); }

  // 0: done; 1: no memory for stacks; 2: something wrote beyond the dynamic shared memory.
  static int launch(const unsigned* sizes, unsigned shared, const uint64_t* raw) {
    size_t index = 0;
    (void)index;
    values = std::tuple<P...>{argument<P>(raw[index++])...};
    gridDim = {sizes[0], sizes[1], sizes[2]};
    blockDim = {sizes[3], sizes[4], sizes[5]};
    const unsigned threads = sizes[3] * sizes[4] * sizes[5];
    for (unsigned z = 0; z < sizes[2]; ++z) {
      for (unsigned y = 0; y < sizes[1]; ++y) {
        for (unsigned x = 0; x < sizes[0]; ++x) {
          blockIdx = {x, y, z};
          if (static_shared()) memset(__start_lineside_shared, kUnset, static_shared());
          if (shared) memset(dynamic_shared, kUnset, shared + kMargin);
          if (!run_block<body>(threads)) return 1;
          for (unsigned i = 0; shared && i < kMargin; ++i) {
            if (dynamic_shared[shared + i] != kUnset) return 2;
          }
        }
      }
    }
    return 0;
  }
};

}  // namespace

}  // namespace lineside_host

#define LINESIDE_OFFERED extern "C" __attribute__((visibility("default")))
#define LINESIDE_HOST_ENTRY(kernel)                                                                      \
  LINESIDE_OFFERED const char* lineside_kinds() { return lineside_host::Entry<&kernel>::kinds; }         \
  LINESIDE_OFFERED unsigned lineside_static_shared() {                                                   \
    return static_cast<unsigned>(lineside_host::static_shared());                                        \
  }                                                                                                      \
  LINESIDE_OFFERED int lineside_launch(const unsigned* sizes, unsigned shared, const uint64_t* raw) {    \
    return lineside_host::Entry<&kernel>::launch(sizes, shared, raw);                                    \
  }
