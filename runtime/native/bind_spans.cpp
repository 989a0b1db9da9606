// Python face of the span tools.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>

#include <cstdint>

#include "bindings.hpp"
#include "spans.hpp"

namespace nb = nanobind;
using namespace nb::literals;

namespace lineside {
namespace {

using SpanArray = nb::ndarray<const int32_t, nb::shape<-1, 3>, nb::c_contig, nb::device::cpu>;
using ByteTable = nb::ndarray<const uint8_t, nb::ndim<2>, nb::c_contig, nb::device::cpu>;

SpanView view_of(const SpanArray& spans) {
  return {reinterpret_cast<const Span*>(spans.data()), static_cast<int64_t>(spans.shape(0))};
}

// The same for what writes where the spans say: spans that anybody may have made are looked at first.
SpanView checked(const SpanArray& spans, int32_t image_h = INT32_MAX, int32_t image_w = INT32_MAX) {
  check_spans(view_of(spans), image_h, image_w);
  return view_of(spans);
}

nb::object array_of(const std::vector<Span>& spans) {
  return owned_array(reinterpret_cast<const int32_t*>(spans.data()), {spans.size(), 3});
}

// A new zeroed uint8 table with ones under the spans.
nb::object table_of(SpanView spans, int32_t x0, int32_t y0, size_t height, size_t width) {
  uint8_t* table = nullptr;
  {
    nb::gil_scoped_release release;
    table = new uint8_t[std::max<size_t>(height * width, 1)]();
    fill(spans, x0, y0, static_cast<int64_t>(width), table);
  }
  nb::capsule owner(table, [](void* p) noexcept { delete[] static_cast<uint8_t*>(p); });
  return nb::cast(nb::ndarray<nb::numpy, uint8_t>(table, {height, width}, owner));
}

nb::object crop(const SpanArray& spans) {
  const SpanView view = checked(spans);
  const Extent box = extent_of(view);
  return nb::make_tuple(box.x0, box.y0, table_of(view, box.x0, box.y0, box.height, box.width));
}

nb::object dense(const SpanArray& spans, int32_t image_h, int32_t image_w) {
  return table_of(checked(spans, image_h, image_w), 0, 0, image_h, image_w);
}

nb::object polygons(const SpanArray& spans) {
  std::vector<std::vector<int32_t>> contours;
  {
    nb::gil_scoped_release release;
    contours = contours_of(checked(spans));
  }
  nb::list result;
  for (const auto& contour : contours) {
    const std::vector<float> points(contour.begin(), contour.end());
    result.append(owned_array(points.data(), {points.size() / 2, 2}));
  }
  return result;
}

std::string rle(const SpanArray& spans, int32_t image_h, int32_t image_w) {
  nb::gil_scoped_release release;
  return rle_of(checked(spans, image_h, image_w), image_h, image_w);
}

nb::object from_table(const ByteTable& table) {
  std::vector<Span> spans;
  {
    nb::gil_scoped_release release;
    spans = spans_of(table.data(), static_cast<int32_t>(table.shape(0)), static_cast<int32_t>(table.shape(1)));
  }
  return array_of(spans);
}

nb::object from_rle(const std::string& counts, int32_t image_h, int32_t image_w) {
  std::vector<Span> spans;
  {
    nb::gil_scoped_release release;
    spans = spans_of_rle(counts, image_h, image_w);
  }
  return array_of(spans);
}

}  // namespace

void register_spans(nb::module_& m) {
  m.def("spans_area", [](const SpanArray& s) { return area_of(view_of(s)); }, "spans"_a);
  m.def("spans_crop", &crop, "spans"_a);
  m.def("spans_dense", &dense, "spans"_a, "image_h"_a, "image_w"_a);
  m.def("spans_polygons", &polygons, "spans"_a);
  m.def("spans_rle", &rle, "spans"_a, "image_h"_a, "image_w"_a);
  m.def("spans_from_table", &from_table, "table"_a);
  m.def("spans_from_rle", &from_rle, "counts"_a, "image_h"_a, "image_w"_a);
  m.def("spans_intersection",
        [](const SpanArray& a, const SpanArray& b) { return intersection_of(view_of(a), view_of(b)); }, "a"_a, "b"_a);
}

}  // namespace lineside
