// Masks as spans: the sign of coefficients . prototypes, sampled at picture pixels, solved row by row.
//
// The rule, which tests/oracle/masks.py states pixel by pixel:
//   t(X) = ((X + 0.5) * sx + left) * (pw / w)      prototype coordinate of a pixel centre, in double
//   u(X) = t(X) - 0.5, clamped to [c0, c1 - 1]     c0 = floor(left * pw / w), c1 = ceil((left + nw) * pw / w):
//                                                  the columns that the picture's content covers
//   i = floor(u), b = float32(u - i), a = 1 - b    the two columns i and min(i + 1, c1 - 1) and their weights
//   value = (L[j][i] * a' + L[j'][i] * b') * a + (L[j][i'] * a' + L[j'][i'] * b') * b      in float32
// with L = the sum of coefficient * prototype in float32, in the order of the coefficients. The mask is value > 0.
// Prototype resolution instead takes L[j][i] with i = floor(t), clamped alike.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace lineside {

// Spans [y, x0, x1) as they are found: a buffer that only grows and is reused from frame to frame.
class SpanBuffer {
 public:
  void clear() { used_ = 0; }
  int64_t count() const { return static_cast<int64_t>(used_ / 3); }
  const int32_t* data() const { return data_.data(); }

  // Starts a row of at most `most` spans.
  void begin_row(int32_t y, int64_t most) {
    const size_t need = used_ + 3 * static_cast<size_t>(most);
    if (need > data_.size()) data_.resize(need + need / 2);
    row_ = used_;
    y_ = y;
  }

  // Adds [x0, x1) unless it is empty; joins it to the one before where they touch.
  void add(int32_t x0, int32_t x1) {
    if (x1 <= x0) return;
    int32_t* next = data_.data() + used_;
    if (used_ > row_ && next[-1] == x0) {
      next[-1] = x1;
      return;
    }
    next[0] = y_;
    next[1] = x0;
    next[2] = x1;
    used_ += 3;
  }

 private:
  std::vector<int32_t> data_;
  size_t used_ = 0, row_ = 0;
  int32_t y_ = 0;
};

enum class MaskMode { none = 0, native = 1, proto = 2 };

// How a picture lies in the input: x_input = x_image * scale + pad, per axis; `content` is its size in the input.
struct Placement {
  int image_h, image_w;
  double scale_x, scale_y;
  int left, top;
  int content_h, content_w;

  bool operator==(const Placement& o) const {
    return image_h == o.image_h && image_w == o.image_w && scale_x == o.scale_x && scale_y == o.scale_y &&
           left == o.left && top == o.top && content_h == o.content_h && content_w == o.content_w;
  }
};

// Where each pixel of one axis falls among the prototype cells.
struct AxisTable {
  std::vector<int32_t> cell;   // per pixel: the cell at or before it
  std::vector<float> weight;   // per pixel: the share of the next cell
  std::vector<int32_t> first;  // per cell, and one past: the first pixel whose cell is not before it
  int32_t low = 0, high = 0;   // the cells that the content covers: low <= cell < high
  float pixels_per_cell = 1;

  void build(int pixels, double scale, int pad, int content, int input, int cells, MaskMode mode);
};

// A box in picture pixels, already clipped.
struct PictureBox {
  float x1, y1, x2, y2;
};

class MaskSolver {
 public:
  // Prepares for one picture placement; does nothing when it is the one already prepared.
  void place(const Placement& placement, MaskMode mode, int input_h, int input_w, int protos_h, int protos_w);

  // Appends the spans [y, x0, x1) of one mask to `spans`. Throws NonFinite when a value under the box is not finite.
  void solve(const float* protos, const float* coefficients, int count, const PictureBox& box,
             SpanBuffer& spans);

 private:
  struct Region {  // pixels under the box, and the cells that they touch
    int32_t x1, x2, y1, y2;
    int32_t u1, u2, v1, v2;
  };

  bool region_of(const PictureBox& box, Region& region) const;
  void dot(const float* protos, const float* coefficients, int count, const Region& region);
  void native_rows(const Region& region, SpanBuffer& spans);
  void proto_rows(const Region& region, SpanBuffer& spans);
  int32_t crossing(float a, float b, int32_t cell, bool on, int32_t x1, int32_t x2) const;

  Placement placed_{};
  MaskMode mode_ = MaskMode::none;
  int protos_h_ = 0, protos_w_ = 0;
  AxisTable across_, down_;
  std::vector<float> values_;   // L under the box, rows of `pitch_` columns from `origin_` on
  std::vector<float> row_;      // L blended for one pixel row
  std::vector<uint8_t> above_;  // row_ > 0
  int32_t origin_ = 0, pitch_ = 0;
};

}  // namespace lineside
