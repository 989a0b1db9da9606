// Pictures as video decoders give them: luma for every pixel, chroma for every square of 2 x 2, to BGR in whole numbers.
#pragma once

#include <cstddef>
#include <cstdint>

namespace lineside {

// A picture in somebody's memory. Strides are in bytes and may be negative. Chroma has (height + 1) / 2 rows of
// (width + 1) / 2 values; where U and V alternate in one plane, their steps are 2 and v is u + 1.
struct YuvView {
  const std::uint8_t *luma, *u, *v;
  std::ptrdiff_t luma_row, luma_step, u_row, u_step, v_row, v_step;
  int height, width;
};

// Whole numbers that make a pixel of three values, all 2^20 times the factor that they stand for.
struct YuvRule {
  int black;  // the luma that is black, in plain steps
  int luma, v_red, u_green, v_green, u_blue;
};

constexpr int kYuvShift = 20;

// The rule of a matrix (ITU-R BT.709, or else BT.601) and a range (full, or else 16 to 235 and 16 to 240).
const YuvRule& yuv_rule(bool bt709, bool full);

// Writes row `y` as BGR at `out`, `step` bytes from pixel to pixel: 3, or 4 with a 0 behind each.
void yuv_row(const YuvView& picture, const YuvRule& rule, int y, int step, std::uint8_t* out);

}  // namespace lineside
