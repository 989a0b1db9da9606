// The letterbox: a picture of 8-bit pixels, scaled and centred in the float32 input tensor of a model.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "lanes.hpp"
#include "yuv.hpp"

namespace lineside {

// A picture in somebody's memory. Strides are in bytes and may be negative; a grey picture has channel stride 0.
struct FrameView {
  const std::uint8_t* data;
  std::ptrdiff_t row, pixel, channel;
};

// The source rows of one output row; `bottom` is `top` where the lower row counts nothing, and is then never past the
// end of the picture.
struct RowPair {
  const std::uint8_t *top, *bottom;
  int weight;

  RowPair moved(std::ptrdiff_t bytes) const { return {top + bytes, bottom + bytes, weight}; }
};

// Sizes of one letterbox: the picture, the model's input, and where the scaled picture lies in it.
struct LetterboxGeometry {
  int image_h, image_w;
  int content_h, content_w;
  int input_h, input_w;
  int left, top;
};

// For each output coordinate along one axis: the source coordinate before it, and the weight (0 to 255, of 256)
// of the next one.
struct Axis {
  std::vector<std::int32_t> index;
  std::vector<std::int32_t> weight;
};

// Everything that depends on the geometry alone. Immutable, so that any number of threads may use one.
class Resampler {
 public:
  // Throws std::invalid_argument where the sizes do not fit each other.
  explicit Resampler(const LetterboxGeometry& geometry);

  const LetterboxGeometry& geometry() const { return geometry_; }

  // Writes the content window of the three planes (red, green, blue) at `out`, input_h * input_w floats each.
  void run(const FrameView& frame, float* out) const;

  // The same from luma and chroma: exactly what BGR pixels made by the rule would give. Only rows that count are
  // converted, each once, into `rows`, which holds row_bytes().
  void run(const YuvView& picture, const YuvRule& rule, float* out, std::uint8_t* rows) const;

  // Bytes for two rows of converted pixels.
  std::size_t row_bytes() const { return 2 * kConvertedStep * static_cast<std::size_t>(geometry_.image_w); }

  // Writes everything outside the content window.
  void fill_padding(float* out) const;

 private:
  static constexpr int kConvertedStep = 4;  // bytes from pixel to pixel: aligned ones are stored faster

  // Writes one content row from two source rows of pixels that lie as those of `layout`; `next` is needed soon.
  void run_row(int y, const RowPair& rows, const RowPair& next, const FrameView& layout, float* out) const;

  // Writes the columns of a content row that the vector forms reach, for packed or grey pixels; returns how many.
  int run_fast(const RowPair& rows, const RowPair& next, const FrameView& layout, float* const (&plane)[3]) const;

  LetterboxGeometry geometry_;
  Axis rows_, columns_;
  std::vector<ColumnWeights> column_weights_;
  bool columns_sampled_;  // every column weight is 0: the picture shrinks by an odd whole number, or not at all
  int whole_columns_;     // output columns whose source pixel has two more to its right: 8 bytes may be read there
};

}  // namespace lineside
