#include "masks.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "errors.hpp"
#include "scalar.hpp"

namespace lineside {
namespace {

constexpr int32_t kLane = 4;  // dot products run over whole groups of columns where the row is long enough

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

// Writes spans of one pixel row after each other, joining those that touch.
class RowWriter {
 public:
  RowWriter(std::vector<int32_t>& spans, int32_t y) : spans_(spans), begin_(spans.size()), y_(y) {}

  void add(int32_t x0, int32_t x1) {
    if (x1 <= x0) return;
    if (spans_.size() > begin_ && spans_.back() == x0) {
      spans_.back() = x1;
      return;
    }
    const int32_t span[3] = {y_, x0, x1};
    spans_.insert(spans_.end(), span, span + 3);
  }

 private:
  std::vector<int32_t>& spans_;
  size_t begin_;
  int32_t y_;
};

// Calls `change(x)` for every x in [0, n) where flags[x] != flags[x + 1]; flags has 8 readable bytes past n.
template <class Change>
void for_changes(const uint8_t* flags, int32_t n, Change change) {
  for (int32_t x = 0; x < n; x += 8) {
    uint64_t here, next;
    std::memcpy(&here, flags + x, 8);
    std::memcpy(&next, flags + x + 1, 8);
    if (here == next) continue;
    for (int32_t k = x; k < std::min(x + 8, n); ++k) {
      if (flags[k] != flags[k + 1]) change(k);
    }
  }
}

}  // namespace

void AxisTable::build(int pixels, double scale, int pad, int content, int input, int cells, MaskMode mode) {
  const int64_t begin = static_cast<int64_t>(pad) * cells, end = static_cast<int64_t>(pad + content) * cells;
  low = static_cast<int32_t>(begin / input);
  high = static_cast<int32_t>((end + input - 1) / input);
  const double ratio = static_cast<double>(cells) / input;
  const double shift = mode == MaskMode::native ? 0.5 : 0.0;
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
  pitch_ = std::min((r.u2 - origin_) / kLane * kLane + kLane, protos_w_ - origin_);
  const int32_t rows = r.v2 - r.v1 + 1;
  const int64_t plane = static_cast<int64_t>(protos_h_) * protos_w_;
  values_.resize(static_cast<size_t>(pitch_) * rows);
  for (int32_t v = 0; v < rows; ++v) {
    const float* from = protos + static_cast<int64_t>(r.v1 + v) * protos_w_ + origin_;
    float* to = values_.data() + static_cast<int64_t>(v) * pitch_;
    int32_t x = 0;
    for (; x + 32 <= pitch_; x += 32) dot_columns<32>(from + x, plane, coefficients, count, to + x);
    for (; x + 16 <= pitch_; x += 16) dot_columns<16>(from + x, plane, coefficients, count, to + x);
    for (; x + kLane <= pitch_; x += kLane) dot_columns<kLane>(from + x, plane, coefficients, count, to + x);
    for (; x < pitch_; ++x) dot_columns<1>(from + x, plane, coefficients, count, to + x);
  }
  for (int32_t v = 0; v < rows; ++v) {
    if (any_non_finite(values_.data() + static_cast<int64_t>(v) * pitch_ + (r.u1 - origin_), r.u2 - r.u1 + 1)) {
      throw NonFinite("the mask of a candidate holds NaN or infinity");
    }
  }
}

// The first pixel between the centres of `cell` and the next one at which the sign is no longer `on`. The blend is
// monotone there, so the solved crossing is a guess that the pixels beside it settle exactly.
int32_t MaskSolver::crossing(const float* row, int32_t u1, int32_t cell, bool on, int32_t x1, int32_t x2) const {
  const int32_t begin = std::max(across_.first[cell], x1), end = std::min(across_.first[cell + 1], x2);
  if (begin >= end) return std::min(std::max(across_.first[cell], x1), x2);
  const float a = row[cell - u1], b = row[cell - u1 + 1];
  const float* weight = across_.weight.data();
  const auto flipped = [&](int32_t x) { return (a * (1.0f - weight[x]) + b * weight[x] > 0) != on; };
  const float span = weight[end - 1] - weight[begin];
  int32_t x = begin;
  if (span > 0) {
    const float per_weight = static_cast<float>(end - 1 - begin) / span;
    const float guess = (a / (a - b) - weight[begin]) * per_weight;
    x = begin + static_cast<int32_t>(std::clamp(guess, 0.0f, static_cast<float>(end - begin)));
  }
  while (x > begin && flipped(x - 1)) --x;
  while (x < end && !flipped(x)) ++x;
  return x;
}

void MaskSolver::native_rows(const Region& r, std::vector<int32_t>& spans) {
  const int32_t count = r.u2 - r.u1 + 1;
  row_.resize(count + 16);
  above_.assign(count + 16, 0);
  float* row = row_.data();
  uint8_t* above = above_.data();
  for (int32_t y = r.y1; y < r.y2; ++y) {
    const int32_t v = down_.cell[y], next = std::min(v + 1, r.v2);
    const float lower = down_.weight[y], upper = 1.0f - lower;
    const float* a = values_.data() + static_cast<int64_t>(v - r.v1) * pitch_ + (r.u1 - origin_);
    const float* b = values_.data() + static_cast<int64_t>(next - r.v1) * pitch_ + (r.u1 - origin_);
    for (int32_t x = 0; x < count; ++x) row[x] = a[x] * upper + b[x] * lower;
    for (int32_t x = 0; x < count; ++x) above[x] = row[x] > 0;
    RowWriter writer(spans, y);
    bool on = above[0] != 0;
    int32_t start = r.x1;
    for_changes(above, count - 1, [&](int32_t k) {
      const int32_t x = crossing(row, r.u1, r.u1 + k, on, r.x1, r.x2);
      if (on) writer.add(start, x);
      start = x;
      on = !on;
    });
    if (on) writer.add(start, r.x2);
  }
}

void MaskSolver::proto_rows(const Region& r, std::vector<int32_t>& spans) {
  const int32_t count = r.u2 - r.u1 + 1;
  above_.assign(count + 16, 0);
  for (int32_t y = r.y1; y < r.y2; ++y) {
    const float* a = values_.data() + static_cast<int64_t>(down_.cell[y] - r.v1) * pitch_ + (r.u1 - origin_);
    RowWriter writer(spans, y);
    for (int32_t x = 0; x < count; ++x) {
      if (!(a[x] > 0)) continue;
      const int32_t begin = std::max(across_.first[r.u1 + x], r.x1), end = std::min(across_.first[r.u1 + x + 1], r.x2);
      writer.add(begin, end);
    }
  }
}

void MaskSolver::solve(const float* protos, const float* coefficients, int count, const PictureBox& box,
                       std::vector<int32_t>& spans) {
  Region region{};
  if (!region_of(box, region)) return;
  dot(protos, coefficients, count, region);
  mode_ == MaskMode::native ? native_rows(region, spans) : proto_rows(region, spans);
}

}  // namespace lineside
