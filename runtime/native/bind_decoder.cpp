// Python face of the decoder.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <memory>
#include <stdexcept>

#include "bindings.hpp"
#include "decoder.hpp"
#include "errors.hpp"

namespace nb = nanobind;
using namespace nb::literals;

namespace lineside {
namespace {

using FloatArray = nb::ndarray<const float, nb::c_contig, nb::device::cpu>;

HeadKind kind_of(const std::string& name) {
  if (name == "levels") return HeadKind::levels;
  if (name == "flat") return HeadKind::flat;
  if (name == "end2end") return HeadKind::end2end;
  throw std::invalid_argument("unknown head kind: " + name);
}

nb::object run(Decoder& decoder, const std::vector<FloatArray>& arrays, float conf, float iou, int64_t max_det,
               bool agnostic, int image_h, int image_w, double sx, double sy, int left, int top, int content_h,
               int content_w, int masks) {
  const HeadLayout& head = decoder.head();
  const bool placed = image_h > 0 && image_w > 0 && sx > 0 && sy > 0 && left >= 0 && top >= 0 && content_h > 0 &&
                      content_w > 0 && left + content_w <= head.input_w && top + content_h <= head.input_h;
  if (!placed) throw std::invalid_argument("the picture does not lie inside the input");
  if (masks < 0 || masks > 2) throw std::invalid_argument("masks is 0, 1 or 2");
  std::vector<Tensor> outputs;
  for (const FloatArray& array : arrays) {
    Tensor tensor{array.data(), {}};
    for (size_t d = 0; d < array.ndim(); ++d) tensor.shape.push_back(static_cast<int64_t>(array.shape(d)));
    outputs.push_back(std::move(tensor));
  }
  const Placement placement{image_h, image_w, sx, sy, left, top, content_h, content_w};
  const DecodeOptions options{conf, iou, max_det, agnostic, static_cast<MaskMode>(masks)};
  std::unique_lock<std::mutex> guard(decoder.lock(), std::defer_lock);
  const Found* found = nullptr;
  {
    nb::gil_scoped_release release;
    guard.lock();
    found = &decoder.run(outputs, placement, options);
  }
  const size_t n = found->scores.size();
  const bool solved = !found->offsets.empty();
  return nb::make_tuple(
      owned_array(found->boxes.data(), {n, 4}), owned_array(found->scores.data(), {n}),
      owned_array(found->classes.data(), {n}), owned_array(found->anchors.data(), {n}),
      solved ? owned_array(found->spans.data(), {static_cast<size_t>(found->spans.count()), 3}) : nb::none(),
      solved ? owned_array(found->offsets.data(), {found->offsets.size()}) : nb::none());
}

}  // namespace

void register_decoder(nb::module_& m) {
  nb::exception<NonFinite>(m, "NonFinite", PyExc_ValueError);
  nb::exception<OutOfContract>(m, "OutOfContract", PyExc_ValueError);
  nb::class_<Decoder>(m, "Decoder", "Decodes the raw outputs of one head; keeps its scratch memory between frames.")
      .def(
          "__init__",
          [](Decoder* self, const std::string& kind, int classes, int coefficients, int input_h, int input_w,
             std::vector<int> strides, int reg_max) {
            new (self) Decoder(
                HeadLayout{kind_of(kind), classes, coefficients, input_h, input_w, std::move(strides), reg_max});
          },
          "kind"_a, "classes"_a, "coefficients"_a, "input_h"_a, "input_w"_a, "strides"_a, "reg_max"_a)
      .def("run", &run, "outputs"_a, "conf"_a, "iou"_a, "max_det"_a, "agnostic"_a, "image_h"_a, "image_w"_a, "sx"_a,
           "sy"_a, "left"_a, "top"_a, "content_h"_a, "content_w"_a, "masks"_a,
           "Returns (boxes, scores, classes, anchors, spans or None, offsets or None).");
}

}  // namespace lineside
