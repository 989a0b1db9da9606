#include "masks.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "errors.hpp"
#include "scalar.hpp"

namespace lineside {
namespace {

constexpr int32_t kLane = 8;  // rows of values are padded to whole groups of columns

// out[0 .. N) = the sum over m of coefficients[m] * protos[m * plane + 0 .. N), in the order of m.
template <int N>
void dot_columns(const float* protos, int64_t plane, const float* coefficients, int count, float* out) {
  float sum[N] = {};
  for (int m = 0; m < count; ++m) {
    const float* p = protos + m * plane;
    const float c = coefficients[m];
    for (int x = 0; x < N; ++x) sum[x] += c * p[x];
  }
  std::memcpy(out, sum, sizeof sum);
}

// Calls `change(x)` for every x in [begin, end) where flags[x] != flags[x + 1]; 8 flags past the end are readable.
template <class Change>
void for_changes(const uint8_t* flags, int32_t begin, int32_t end, Change change) {
  for (int32_t x = begin; x < end; x += 8) {
    uint64_t here, next;
    std::memcpy(&here, flags + x, 8);
    std::memcpy(&next, flags + x + 1, 8);
    if (here == next) continue;
    for (int32_t k = x; k < std::min(x + 8, end); ++k) {
      if (flags[k] != flags[k + 1]) change(k);
    }
  }
}

// The same for any number of columns.
void dot_row(const float* protos, int64_t plane, const float* coefficients, int count, int32_t columns, float* out) {
  int32_t x = 0;
  for (; x + 32 <= columns; x += 32) dot_columns<32>(protos + x, plane, coefficients, count, out + x);
  for (; x + 16 <= columns; x += 16) dot_columns<16>(protos + x, plane, coefficients, count, out + x);
  for (; x + 8 <= columns; x += 8) dot_columns<8>(protos + x, plane, coefficients, count, out + x);
  for (; x < columns; ++x) dot_columns<1>(protos + x, plane, coefficients, count, out + x);
}

// row = a * upper + b * lower and above = row > 0, over whole groups of columns.
void blend(const float* a, const float* b, float upper, float lower, int32_t columns, float* row, uint8_t* above) {
  for (int32_t x = 0; x < columns; x += kLane) {
    float mixed[kLane];
    for (int k = 0; k < kLane; ++k) mixed[k] = a[x + k] * upper + b[x + k] * lower;
    for (int k = 0; k < kLane; ++k) row[x + k] = mixed[k];
    for (int k = 0; k < kLane; ++k) above[x + k] = mixed[k] > 0;
  }
}

}  // namespace

void AxisTable::build(int pixels, double scale, int pad, int content, int input, int cells, MaskMode mode) {
  const int64_t begin = static_cast<int64_t>(pad) * cells, end = static_cast<int64_t>(pad + content) * cells;
  low = static_cast<int32_t>(begin / input);
  high = static_cast<int32_t>((end + input - 1) / input);
  const double ratio = static_cast<double>(cells) / input;
  const double shift = mode == MaskMode::native ? 0.5 : 0.0;
  pixels_per_cell = static_cast<float>(1.0 / (scale * ratio));
  cell.resize(pixels);
  weight.resize(pixels);
  first.assign(cells + 1, pixels);
  int32_t filled = 0;
  for (int p = 0; p < pixels; ++p) {
    const double u = std::clamp(((p + 0.5) * scale + pad) * ratio - shift, double(low), double(high - 1));
    const int32_t c = static_cast<int32_t>(u);
    cell[p] = c;
    weight[p] = static_cast<float>(u - c);
    while (filled <= c) first[filled++] = p;
  }
}

void MaskSolver::place(const Placement& placement, MaskMode mode, int input_h, int input_w, int protos_h,
                       int protos_w) {
  if (mode_ == mode && placed_ == placement) return;
  protos_h_ = protos_h;
  protos_w_ = protos_w;
  across_.build(placement.image_w, placement.scale_x, placement.left, placement.content_w, input_w, protos_w, mode);
  down_.build(placement.image_h, placement.scale_y, placement.top, placement.content_h, input_h, protos_h, mode);
  placed_ = placement;
  mode_ = mode;
}

bool MaskSolver::region_of(const PictureBox& box, Region& r) const {
  r.x1 = static_cast<int32_t>(std::ceil(box.x1));
  r.y1 = static_cast<int32_t>(std::ceil(box.y1));
  r.x2 = std::min(static_cast<int32_t>(std::ceil(box.x2)), placed_.image_w);
  r.y2 = std::min(static_cast<int32_t>(std::ceil(box.y2)), placed_.image_h);
  if (r.x1 >= r.x2 || r.y1 >= r.y2) return false;
  const int32_t next = mode_ == MaskMode::native ? 1 : 0;
  r.u1 = across_.cell[r.x1];
  r.v1 = down_.cell[r.y1];
  r.u2 = std::min(across_.cell[r.x2 - 1] + next, across_.high - 1);
  r.v2 = std::min(down_.cell[r.y2 - 1] + next, down_.high - 1);
  return true;
}

void MaskSolver::dot(const float* protos, const float* coefficients, int count, const Region& r) {
  origin_ = r.u1 / kLane * kLane;
  pitch_ = (r.u2 - origin_) / kLane * kLane + kLane;
  const int32_t rows = r.v2 - r.v1 + 1, columns = std::min(pitch_, protos_w_ - origin_);
  const int64_t plane = static_cast<int64_t>(protos_h_) * protos_w_;
  values_.assign(static_cast<size_t>(pitch_) * rows, 0.0f);
  for (int32_t v = 0; v < rows; ++v) {
    const float* from = protos + static_cast<int64_t>(r.v1 + v) * protos_w_ + origin_;
    float* to = values_.data() + static_cast<int64_t>(v) * pitch_;
    dot_row(from, plane, coefficients, count, columns, to);
    if (any_non_finite(to + (r.u1 - origin_), r.u2 - r.u1 + 1)) {
      throw NonFinite("the mask of a detection holds NaN or infinity");
    }
  }
}

// The first pixel between the centres of `cell` (value a) and the next one (value b) at which the sign is no longer
// `on`. The blend is monotone there, so the solved crossing, rounded up, is a guess that the pixels beside it settle
// exactly.
int32_t MaskSolver::crossing(float a, float b, int32_t cell, bool on, int32_t x1, int32_t x2) const {
  const int32_t begin = std::max(across_.first[cell], x1), end = std::min(across_.first[cell + 1], x2);
  if (begin >= end) return std::min(begin, x2);
  const float* weight = across_.weight.data();
  const auto flipped = [&](int32_t x) { return (a * (1.0f - weight[x]) + b * weight[x] > 0) != on; };
  const float guess = (a / (a - b) - weight[begin]) * across_.pixels_per_cell + 1.0f;
  int32_t x = begin + static_cast<int32_t>(std::clamp(guess, 0.0f, static_cast<float>(end - begin)));
  while (x > begin && flipped(x - 1)) --x;
  while (x < end && !flipped(x)) ++x;
  return x;
}

void MaskSolver::native_rows(const Region& r, SpanBuffer& spans) {
  row_.resize(pitch_);
  above_.assign(pitch_ + 16, 0);
  float* row = row_.data();
  uint8_t* above = above_.data();
  const int32_t first = r.u1 - origin_, last = r.u2 - origin_;
  for (int32_t y = r.y1; y < r.y2; ++y) {
    const int32_t v = down_.cell[y] - r.v1, next = std::min(v + 1, r.v2 - r.v1);
    const float lower = down_.weight[y];
    const float* values = values_.data();
    blend(values + int64_t{v} * pitch_, values + int64_t{next} * pitch_, 1.0f - lower, lower, pitch_, row, above);
    spans.begin_row(y, (last - first) / 2 + 1);
    bool on = above[first] != 0;
    int32_t start = r.x1;
    for_changes(above, first, last, [&](int32_t k) {
      const int32_t x = crossing(row[k], row[k + 1], origin_ + k, on, r.x1, r.x2);
      if (on) spans.add(start, x);
      start = x;
      on = !on;
    });
    if (on) spans.add(start, r.x2);
  }
}

void MaskSolver::proto_rows(const Region& r, SpanBuffer& spans) {
  const int32_t count = r.u2 - r.u1 + 1;
  for (int32_t y = r.y1; y < r.y2; ++y) {
    const float* values = values_.data() + int64_t{down_.cell[y] - r.v1} * pitch_ + (r.u1 - origin_);
    spans.begin_row(y, count / 2 + 1);
    for (int32_t x = 0; x < count; ++x) {
      if (!(values[x] > 0)) continue;
      const int32_t* first = across_.first.data() + r.u1 + x;
      spans.add(std::max(first[0], r.x1), std::min(first[1], r.x2));
    }
  }
}

void MaskSolver::solve(const float* protos, const float* coefficients, int count, const PictureBox& box,
                       SpanBuffer& spans) {
  Region region{};
  if (!region_of(box, region)) return;
  dot(protos, coefficients, count, region);
  mode_ == MaskMode::native ? native_rows(region, spans) : proto_rows(region, spans);
}

}  // namespace lineside
