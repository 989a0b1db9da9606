// Python face of the letterbox.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <new>
#include <stdexcept>

#include "bindings.hpp"
#include "letterbox.hpp"

namespace nb = nanobind;

namespace lineside {
namespace {

using FrameArray = nb::ndarray<const std::uint8_t, nb::device::cpu>;
using InputArray = nb::ndarray<float, nb::shape<3, -1, -1>, nb::c_contig, nb::device::cpu>;

FrameView view_of(const Resampler& plan, const FrameArray& frame) {
  const bool colour = frame.ndim() == 3 && frame.shape(2) == 3;
  if (!colour && frame.ndim() != 2) {
    throw std::invalid_argument("letterbox: a frame has shape (H, W, 3) or (H, W)");
  }
  const LetterboxGeometry& g = plan.geometry();
  if (frame.shape(0) != static_cast<std::size_t>(g.image_h) || frame.shape(1) != static_cast<std::size_t>(g.image_w)) {
    throw std::invalid_argument("letterbox: the frame's size is not the one this resampler was made for");
  }
  return {frame.data(), frame.stride(0), frame.stride(1), colour ? frame.stride(2) : 0};
}

float* planes_of(const Resampler& plan, const InputArray& out) {
  const LetterboxGeometry& g = plan.geometry();
  if (out.shape(1) != static_cast<std::size_t>(g.input_h) || out.shape(2) != static_cast<std::size_t>(g.input_w)) {
    throw std::invalid_argument("letterbox: the output's size is not the one this resampler was made for");
  }
  return out.data();
}

}  // namespace

void register_letterbox(nb::module_& m) {
  nb::class_<Resampler>(m, "Resampler", "Plan of one letterbox geometry; immutable and safe to share between threads.")
      .def(
          "__init__",
          [](Resampler* self, int image_h, int image_w, int content_h, int content_w, int input_h, int input_w,
             int left, int top) {
            new (self) Resampler({image_h, image_w, content_h, content_w, input_h, input_w, left, top});
          },
          nb::kw_only(), nb::arg("image_h"), nb::arg("image_w"), nb::arg("content_h"), nb::arg("content_w"),
          nb::arg("input_h"), nb::arg("input_w"), nb::arg("left"), nb::arg("top"))
      .def(
          "run",
          [](const Resampler& self, const FrameArray& frame, const InputArray& out) {
            const FrameView view = view_of(self, frame);
            float* planes = planes_of(self, out);
            nb::gil_scoped_release unlocked;
            self.run(view, planes);
          },
          nb::arg("frame").noconvert(), nb::arg("out").noconvert(),
          "Writes the content window of out (3, h, w) float32 RGB from frame (H, W, 3) uint8 BGR or (H, W) grey.")
      .def(
          "fill_padding",
          [](const Resampler& self, const InputArray& out) {
            float* planes = planes_of(self, out);
            nb::gil_scoped_release unlocked;
            self.fill_padding(planes);
          },
          nb::arg("out").noconvert(), "Writes 114 / 255 everywhere outside the content window of out.");
}

}  // namespace lineside
