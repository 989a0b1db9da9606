// Bilinear resampling with 8-bit weights, the rule of OpenCV's INTER_LINEAR_EXACT: all arithmetic on pixels is exact
// and rounded once, so every path below (vector or plain, any strides) gives the same bits on every machine.
#include "letterbox.hpp"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <stdexcept>

namespace lineside {
namespace {

constexpr float kPadding = 114.0f * kPixelScale;

// Source coordinate (d + 0.5) / (target / source) - 0.5 in double, as OpenCV computes it: a reciprocal, then a product.
Axis linear_axis(int source, int target) {
  Axis axis{std::vector<std::int32_t>(target), std::vector<std::int32_t>(target)};
  const double scale = 1.0 / (static_cast<double>(target) / source);
  for (int d = 0; d < target; ++d) {
    const double at = (d + 0.5) * scale - 0.5;
    int index = static_cast<int>(std::floor(at));
    int weight = 0;
    if (index < 0) {
      index = 0;
    } else if (index >= source - 1) {
      index = source - 1;
    } else {
      weight = static_cast<int>(std::nearbyint((at - index) * 256.0));  // half to even: the default rounding mode
      if (weight == 256) {
        ++index;
        weight = 0;
      }
    }
    axis.index[d] = index;
    axis.weight[d] = weight;
  }
  return axis;
}

RowPair row_pair(const FrameView& frame, const Axis& rows, int y) {
  const std::uint8_t* top = frame.data + rows.index[y] * frame.row;
  return {top, rows.weight[y] ? top + frame.row : top, rows.weight[y]};
}

int blend_plain(const RowPair& rows, std::ptrdiff_t left, std::ptrdiff_t right, int weight) {
  const int upper = rows.top[left] * (256 - weight) + rows.top[right] * weight;
  const int lower = rows.bottom[left] * (256 - weight) + rows.bottom[right] * weight;
  return (upper * (256 - rows.weight) + lower * rows.weight + 32768) >> 16;
}

// Columns [first, last) of one row, one value at a time: any strides, no byte read but the pixels that count.
void row_plain(const RowPair& rows, const FrameView& frame, const Axis& columns, int first, int last,
               float* const (&plane)[3]) {
  const int channels = frame.channel == 0 ? 1 : 3;
  for (int x = first; x < last; ++x) {
    const int weight = columns.weight[x];
    const std::ptrdiff_t left = columns.index[x] * frame.pixel;
    const std::ptrdiff_t right = weight ? left + frame.pixel : left;
    for (int c = 0; c < channels; ++c) {
      const std::ptrdiff_t channel = c * frame.channel;
      plane[c][x] = static_cast<float>(blend_plain(rows, left + channel, right + channel, weight)) * kPixelScale;
    }
    if (channels == 1) plane[1][x] = plane[2][x] = plane[0][x];
  }
}

#if LINESIDE_SIMD

// Calls `four(x)` so that [0, last) is covered by groups of four; the last group may overlap the one before it.
template <typename Function>
int in_fours(int last, Function&& four) {
  if (last < 4) return 0;
  for (int x = 0; x < last - 4; x += 4) four(x);
  four(last - 4);
  return last;
}

// One row of packed pixels, channels next to each other in the order of `plane`, `step` bytes from pixel to pixel.
// A picture that shrinks by more than two skips rows, which the hardware does not foresee: `next` is asked for early.
template <int step>
int row_packed(const RowPair& rows, const RowPair& next, const std::int32_t* index, const ColumnWeights* weights,
               int last, float* const (&plane)[3]) {
  const lanes::Blender blender(rows.weight, step);
  const auto offset = [index](int x) { return static_cast<std::ptrdiff_t>(index[x]) * step; };
  return in_fours(last, [&](int x) {
    lanes::prefetch(next.top + offset(x));
    lanes::prefetch(next.bottom + offset(x));
    lanes::Sums pixel[4];
    for (int i = 0; i < 4; ++i) {
      const std::ptrdiff_t at = offset(x + i);
      pixel[i] = lanes::blend(rows.top + at, rows.bottom + at, blender, weights[x + i]);
    }
    lanes::store_planes(pixel, plane, x);
  });
}

// The same where all weights are 0: each output pixel is a source pixel.
template <int step>
int row_sampled(const RowPair& rows, const RowPair& next, const std::int32_t* index, int last,
                float* const (&plane)[3]) {
  const auto offset = [index](int x) { return static_cast<std::ptrdiff_t>(index[x]) * step; };
  return in_fours(last, [&](int x) {
    lanes::prefetch(next.top + offset(x));
    lanes::store_samples(rows.top + offset(x), rows.top + offset(x + 1), rows.top + offset(x + 2),
                         rows.top + offset(x + 3), plane, x);
  });
}

int row_grey(const RowPair& rows, const RowPair& next, const std::int32_t* index, const ColumnWeights* weights,
             int last, float* const (&plane)[3]) {
  const lanes::Blender blender(rows.weight, 1);
  return in_fours(last, [&](int x) {
    lanes::prefetch(next.top + index[x]);
    lanes::prefetch(next.bottom + index[x]);
    const lanes::Sums pixels = lanes::blend_grey(rows.top, rows.bottom, index + x, blender, weights + x);
    for (float* out : plane) lanes::store_plane(pixels, out + x);
  });
}

#endif

}  // namespace

Resampler::Resampler(const LetterboxGeometry& g) : geometry_(g), columns_sampled_(true), whole_columns_(0) {
  if (g.image_h < 1 || g.image_w < 1 || g.content_h < 1 || g.content_w < 1) {
    throw std::invalid_argument("letterbox: picture and content sizes must be at least 1 pixel");
  }
  if (g.left < 0 || g.top < 0 || g.left > g.input_w - g.content_w || g.top > g.input_h - g.content_h) {
    throw std::invalid_argument("letterbox: the content window does not lie inside the input");
  }
  rows_ = linear_axis(g.image_h, g.content_h);
  columns_ = linear_axis(g.image_w, g.content_w);
  column_weights_.resize(g.content_w);
  for (int x = 0; x < g.content_w; ++x) {
    const int weight = columns_.weight[x];
    for (int i = 0; i < 8; ++i) {
      column_weights_[x].pairs[i] = static_cast<std::uint16_t>(i % 2 ? weight : 256 - weight);
    }
    columns_sampled_ = columns_sampled_ && weight == 0;
    if (columns_.index[x] < g.image_w - 2) whole_columns_ = x + 1;
  }
}

int Resampler::run_fast(const RowPair& rows, const RowPair& next, const FrameView& frame,
                        float* const (&plane)[3]) const {
#if LINESIDE_SIMD
  const std::int32_t* index = columns_.index.data();
  const ColumnWeights* weights = column_weights_.data();
  const int last = whole_columns_;
  if (frame.pixel == 1 && frame.channel == 0) return row_grey(rows, next, index, weights, last, plane);
  if ((frame.pixel != 3 && frame.pixel != 4) || std::abs(frame.channel) != 1) return 0;

  // A channel stride of -1 is a picture whose memory runs red, green, blue: start at its red, swap two planes.
  const bool reversed = frame.channel < 0;
  const RowPair from = rows.moved(reversed ? -2 : 0), soon = next.moved(reversed ? -2 : 0);
  float* const order[3] = {plane[reversed ? 2 : 0], plane[1], plane[reversed ? 0 : 2]};
  if (columns_sampled_ && rows.weight == 0) {
    return frame.pixel == 3 ? row_sampled<3>(from, soon, index, last, order)
                            : row_sampled<4>(from, soon, index, last, order);
  }
  return frame.pixel == 3 ? row_packed<3>(from, soon, index, weights, last, order)
                          : row_packed<4>(from, soon, index, weights, last, order);
#else
  (void)rows, (void)next, (void)frame, (void)plane;
  return 0;
#endif
}

void Resampler::run_row(int y, const RowPair& rows, const RowPair& next, const FrameView& layout, float* out) const {
  const LetterboxGeometry& g = geometry_;
  const std::ptrdiff_t plane_size = static_cast<std::ptrdiff_t>(g.input_h) * g.input_w;
  float* const red = out + static_cast<std::ptrdiff_t>(g.top + y) * g.input_w + g.left;
  float* const plane[3] = {red + 2 * plane_size, red + plane_size, red};  // blue, green, red: the frame's order
  const int done = run_fast(rows, next, layout, plane);
  row_plain(rows, layout, columns_, done, g.content_w, plane);
}

void Resampler::run(const FrameView& frame, float* out) const {
  const int last = geometry_.content_h - 1;
  for (int y = 0; y <= last; ++y) {
    run_row(y, row_pair(frame, rows_, y), row_pair(frame, rows_, std::min(y + 1, last)), frame, out);
  }
}

void Resampler::run(const YuvView& picture, const YuvRule& rule, float* out, std::uint8_t* rows) const {
  const FrameView layout{rows, 0, kConvertedStep, 1};
  int held[2] = {-1, -1};  // an even row lies in the first half, an odd one in the second: neighbours never clash
  const auto converted = [&](int index) {
    std::uint8_t* const row = rows + static_cast<std::size_t>(index % 2) * (row_bytes() / 2);
    if (held[index % 2] != index) yuv_row(picture, rule, index, kConvertedStep, row);
    held[index % 2] = index;
    return static_cast<const std::uint8_t*>(row);
  };
  for (int y = 0; y < geometry_.content_h; ++y) {
    const int weight = rows_.weight[y];
    const std::uint8_t* const top = converted(rows_.index[y]);
    const RowPair pair{top, weight ? converted(rows_.index[y] + 1) : top, weight};
    run_row(y, pair, pair, layout, out);
  }
}

void Resampler::fill_padding(float* out) const {
  const LetterboxGeometry& g = geometry_;
  for (int c = 0; c < 3; ++c) {
    for (int y = 0; y < g.input_h; ++y) {
      float* row = out + (static_cast<std::ptrdiff_t>(c) * g.input_h + y) * g.input_w;
      const bool outside = y < g.top || y >= g.top + g.content_h;
      const int left = outside ? g.input_w : g.left;
      std::fill(row, row + left, kPadding);
      if (!outside) std::fill(row + g.left + g.content_w, row + g.input_w, kPadding);
    }
  }
}

}  // namespace lineside
