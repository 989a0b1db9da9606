// Python face of the letterbox, and of the conversion of pictures that are luma and chroma.
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
using RowsArray = nb::ndarray<std::uint8_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using PlaneArray = nb::ndarray<const std::uint8_t, nb::ndim<2>, nb::device::cpu>;
using BgrArray = nb::ndarray<std::uint8_t, nb::shape<-1, -1, 3>, nb::c_contig, nb::device::cpu>;
using FloatArray = nb::ndarray<const float, nb::device::cpu>;
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

constexpr std::size_t kLongest = 1 << 24;  // pixels a side: byte offsets in a row stay within an int

YuvView view_of(const PlaneArray& luma, const PlaneArray& u, const PlaneArray& v) {
  const std::size_t height = luma.shape(0), width = luma.shape(1);
  if (height < 1 || width < 1 || height > kLongest || width > kLongest) {
    throw std::invalid_argument("yuv: a picture has at least 1 pixel and at most 2^24 a side");
  }
  for (const PlaneArray* plane : {&u, &v}) {
    if (plane->shape(0) != (height + 1) / 2 || plane->shape(1) != (width + 1) / 2) {
      throw std::invalid_argument("yuv: chroma has a value for every 2 x 2 pixels, rounded up at odd sides");
    }
  }
  return {luma.data(),    u.data(),    v.data(),    luma.stride(0),           luma.stride(1),         u.stride(0),
          u.stride(1),    v.stride(0), v.stride(1), static_cast<int>(height), static_cast<int>(width)};
}

YuvView view_of(const Resampler& plan, const PlaneArray& luma, const PlaneArray& u, const PlaneArray& v) {
  const YuvView view = view_of(luma, u, v);
  if (view.height != plan.geometry().image_h || view.width != plan.geometry().image_w) {
    throw std::invalid_argument("letterbox: the frame's size is not the one this resampler was made for");
  }
  return view;
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
          "run_yuv",
          [](const Resampler& self, const PlaneArray& luma, const PlaneArray& u, const PlaneArray& v, bool bt709,
             bool full, const InputArray& out, const RowsArray& rows) {
            const YuvView view = view_of(self, luma, u, v);
            float* planes = planes_of(self, out);
            if (rows.size() < self.row_bytes()) {
              throw std::invalid_argument("letterbox: the memory for converted rows is smaller than row_bytes");
            }
            nb::gil_scoped_release unlocked;
            self.run(view, yuv_rule(bt709, full), planes, rows.data());
          },
          nb::arg("luma").noconvert(), nb::arg("u").noconvert(), nb::arg("v").noconvert(), nb::arg("bt709"),
          nb::arg("full"), nb::arg("out").noconvert(), nb::arg("rows").noconvert(),
          "The same from luma (H, W) and chroma ((H + 1) // 2, (W + 1) // 2); rows is memory to work in.")
      .def_prop_ro("row_bytes", &Resampler::row_bytes, "Bytes that run_yuv needs to work in.")
      .def(
          "fill_padding",
          [](const Resampler& self, const InputArray& out) {
            float* planes = planes_of(self, out);
            nb::gil_scoped_release unlocked;
            self.fill_padding(planes);
          },
          nb::arg("out").noconvert(), "Writes 114 / 255 everywhere outside the content window of out.");
  m.def(
      "address", [](const FloatArray& array) { return reinterpret_cast<std::uintptr_t>(array.data()); },
      nb::arg("array").noconvert(), "Where the first element of a float32 array lies in memory.");
  m.def(
      "yuv_to_bgr",
      [](const PlaneArray& luma, const PlaneArray& u, const PlaneArray& v, bool bt709, bool full, const BgrArray& out) {
        const YuvView view = view_of(luma, u, v);
        if (out.shape(0) != luma.shape(0) || out.shape(1) != luma.shape(1)) {
          throw std::invalid_argument("yuv: the output has another size than the picture");
        }
        std::uint8_t* const pixels = out.data();
        nb::gil_scoped_release unlocked;
        for (int y = 0; y < view.height; ++y) {
          yuv_row(view, yuv_rule(bt709, full), y, 3, pixels + static_cast<std::ptrdiff_t>(y) * view.width * 3);
        }
      },
      nb::arg("luma").noconvert(), nb::arg("u").noconvert(), nb::arg("v").noconvert(), nb::arg("bt709"),
      nb::arg("full"), nb::arg("out").noconvert(), "Writes out (H, W, 3) uint8 BGR from luma and chroma.");
}

}  // namespace lineside
