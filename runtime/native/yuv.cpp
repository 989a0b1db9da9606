// Every output value is the floor of one sum of whole numbers, clamped to 8 bits, so the vector and the plain form
// below give the same bits on every machine. Each chroma value counts for all pixels of its square: no interpolation.
#include "yuv.hpp"

#include <algorithm>

#include "lanes.hpp"
#include "yuv_lanes.hpp"

namespace lineside {
namespace {

// 2^20 times the factors of the standards, rounded; for BT.601 with limited range the three decimals that OpenCV uses
// (1.164, 1.596, -0.391, -0.813, 2.018), so that both give the same picture.
constexpr YuvRule kRules[2][2] = {
    {{16, 1220542, 1673527, -409993, -852492, 2116026}, {0, 1048576, 1470104, -360853, -748826, 1858077}},
    {{16, 1220945, 1879825, -223607, -558796, 2215014}, {0, 1048576, 1651297, -196424, -490864, 1945738}},
};

// One row of a picture: where its first luma, U and V lie.
struct YuvRow {
  const std::uint8_t *luma, *u, *v;
};

std::uint8_t clamped(int sum) { return static_cast<std::uint8_t>(std::clamp(sum >> kYuvShift, 0, 255)); }

// Pixels [first, width) of one row, one at a time: any strides, no byte read but those that count.
void row_plain(const YuvRow& row, const YuvView& picture, const YuvRule& rule, int first, int step, std::uint8_t* out) {
  for (int x = first; x < picture.width; ++x) {
    const int luma = std::max(row.luma[x * picture.luma_step] - rule.black, 0) * rule.luma + (1 << (kYuvShift - 1));
    const int u = row.u[x / 2 * picture.u_step] - 128;
    const int v = row.v[x / 2 * picture.v_step] - 128;
    std::uint8_t* const pixel = out + static_cast<std::ptrdiff_t>(x) * step;
    pixel[0] = clamped(luma + rule.u_blue * u);
    pixel[1] = clamped(luma + rule.u_green * u + rule.v_green * v);
    pixel[2] = clamped(luma + rule.v_red * v);
    if (step == 4) pixel[3] = 0;
  }
}

#if LINESIDE_SIMD

// Pixels [0, result) of one row, sixteen at a time; the last group may overlap the one before it, and starts at an even
// pixel like all, where a chroma value starts. Luma lies packed, chroma too: alternating, or each in its own plane.
template <int step, bool alternating>
int row_sixteens(const YuvRow& row, int width, const YuvRule& rule, std::uint8_t* out) {
  const int even = width & ~1;
  if (even < 16) return 0;
  const lanes::YuvFactors factors(rule);
  const auto sixteen = [&](int x) {
    const lanes::Chroma chroma =
        alternating ? lanes::chroma_alternating(row.u + x) : lanes::chroma_apart(row.u + x / 2, row.v + x / 2);
    lanes::store_bgr<step>(lanes::to_bgr(row.luma + x, chroma, factors), out + static_cast<std::ptrdiff_t>(x) * step);
  };
  for (int x = 0; x < even - 16; x += 16) sixteen(x);
  sixteen(even - 16);
  return even;
}

template <int step>
int row_fast(const YuvRow& row, const YuvView& picture, const YuvRule& rule, std::uint8_t* out) {
  if (picture.luma_step != 1 || picture.u_step != picture.v_step) return 0;
  if (picture.u_step == 1) return row_sixteens<step, false>(row, picture.width, rule, out);
  if (picture.u_step == 2 && row.v == row.u + 1) return row_sixteens<step, true>(row, picture.width, rule, out);
  return 0;
}

#else

template <int step>
int row_fast(const YuvRow&, const YuvView&, const YuvRule&, std::uint8_t*) {
  return 0;
}

#endif

}  // namespace

const YuvRule& yuv_rule(bool bt709, bool full) { return kRules[bt709][full]; }

void yuv_row(const YuvView& picture, const YuvRule& rule, int y, int step, std::uint8_t* out) {
  const YuvRow row{picture.luma + y * picture.luma_row, picture.u + y / 2 * picture.u_row,
                   picture.v + y / 2 * picture.v_row};
  const int done = step == 4 ? row_fast<4>(row, picture, rule, out) : row_fast<3>(row, picture, rule, out);
  row_plain(row, picture, rule, done, step, out);
}

}  // namespace lineside
