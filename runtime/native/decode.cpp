#include "decode.hpp"

#include <algorithm>
#include <cfloat>
#include <cmath>

#include "errors.hpp"
#include "scalar.hpp"

namespace lineside {
namespace {

constexpr int64_t kBlock = 512;  // anchors scanned together: the running maxima stay in the first-level cache

// Best class value of n anchors, read class by class; returns the largest magnitude's bits, to detect NaN and infinity.
int32_t scan_classes(const float* scores, int64_t plane, int classes, int64_t n, float* best) {
  int32_t top = 0;
  for (int64_t j = 0; j < n; ++j) best[j] = scores[j];
  for (int64_t j = 0; j < n; ++j) top = std::max(top, static_cast<int32_t>(bits_of(scores[j]) & 0x7fffffffu));
  int c = 1;
  for (; c + 1 < classes; c += 2) {
    const float* a = scores + c * plane;
    const float* b = a + plane;
    for (int64_t j = 0; j < n; ++j) {
      const float higher = a[j] < b[j] ? b[j] : a[j];
      const int32_t bits_a = static_cast<int32_t>(bits_of(a[j]) & 0x7fffffffu);
      const int32_t bits_b = static_cast<int32_t>(bits_of(b[j]) & 0x7fffffffu);
      best[j] = best[j] < higher ? higher : best[j];
      top = std::max(top, std::max(bits_a, bits_b));
    }
  }
  if (c < classes) {
    const float* a = scores + c * plane;
    for (int64_t j = 0; j < n; ++j) {
      best[j] = best[j] < a[j] ? a[j] : best[j];
      top = std::max(top, static_cast<int32_t>(bits_of(a[j]) & 0x7fffffffu));
    }
  }
  return top;
}

// NaN can be no score, and an infinite one no candidate. Minus infinity is below every threshold: "never this class".
bool is_broken(float score) { return std::isnan(score) || score == INFINITY; }

bool any_broken(const float* scores, int64_t plane, int classes, int64_t n) {
  for (int c = 0; c < classes; ++c) {
    if (std::any_of(scores + c * plane, scores + c * plane + n, is_broken)) return true;
  }
  return false;
}

// Calls `keep(cells, n)` for the cells of a (classes, plane) table whose best value is above `floor`, block by block
// and in rising order; scratch.best holds their best values.
template <class Keep>
void scan_table(const float* scores, int64_t plane, int classes, float floor, ScanScratch& scratch, Keep keep) {
  scratch.best.resize(kBlock);
  scratch.cells.resize(kBlock);
  float* best = scratch.best.data();
  int32_t* cells = scratch.cells.data();
  for (int64_t begin = 0; begin < plane; begin += kBlock) {
    const int64_t n = std::min(kBlock, plane - begin);
    if (scan_classes(scores + begin, plane, classes, n, best) >= 0x7f800000 &&
        any_broken(scores + begin, plane, classes, n)) {
      throw NonFinite("class scores hold NaN or infinity");
    }
    int64_t count = 0;
    for (int64_t first = 0; first < n; first += 64) {  // most groups hold nothing: one comparison tells
      const int64_t last = std::min(first + 64, n);
      int32_t any = 0;
      for (int64_t j = first; j < last; ++j) any |= best[j] > floor;
      if (!any) continue;
      for (int64_t j = first; j < last; ++j) {
        if (!(best[j] > floor)) continue;
        best[count] = best[j];
        cells[count++] = static_cast<int32_t>(begin + j);
      }
    }
    if (count) keep(cells, count);
  }
}

// The largest float32 logit whose score is not above conf: `logit > floor` is then the same as `sigmoid(logit) > conf`.
float logit_floor(float conf) {
  float low = -200.0f, high = 200.0f;  // scores 0 and 1
  if (!(sigmoid(high) > conf)) return FLT_MAX;
  for (;;) {
    const float middle = low + (high - low) / 2;
    if (middle <= low || middle >= high) break;
    (sigmoid(middle) > conf ? high : low) = middle;
  }
  return low;
}

// The lowest class that reaches the best score of an anchor. Different logits can share one float32 score.
int class_of_logit(const float* logits, int64_t plane, int classes, float best, float score) {
  // Below this no logit can round to the same score: the sigmoid is too steep there.
  const float near = best < 8.0f ? best - 1e-3f : 7.9f;
  int c = 0;
  for (; c + 1 < classes; ++c) {
    const float logit = logits[c * plane];
    if (logit == best || (logit >= near && sigmoid(logit) == score)) break;
  }
  return c;
}

// The lowest class with the best score of an anchor.
int class_of_score(const float* scores, int64_t plane, int classes, float best) {
  int c = 0;
  while (c + 1 < classes && scores[c * plane] != best) ++c;
  return c;
}

// Distances from the centres of `n` cells to the sides of their boxes, in grid cells: left, top, right, bottom.
// Each side is the expected bin of a distribution over 0 .. reg_max - 1, the softmax of its logits (the "distribution
// focal loss" head, arXiv:2006.04388); a head with one bin predicts the distance itself. The four sides are
// neighbours in `bins`, so that they are worked on together.
void side_distances(const float* sides, int64_t plane, int reg_max, const int32_t* cells, int64_t n,
                    std::vector<float>& bins, std::vector<float>& distances) {
  const int width = 4 * reg_max;
  bins.resize(static_cast<size_t>(n) * width);
  distances.resize(static_cast<size_t>(n) * 4);
  for (int side = 0; side < 4; ++side) {
    for (int bin = 0; bin < reg_max; ++bin) {
      const float* from = sides + (side * reg_max + bin) * plane;
      float* to = bins.data() + 4 * bin + side;
      for (int64_t k = 0; k < n; ++k) to[k * width] = from[cells[k]];
    }
  }
  if (reg_max == 1) {
    distances = bins;
    return;
  }
  for (int64_t k = 0; k < n; ++k) {
    float* values = bins.data() + k * width;
    float top[4], sum[4] = {}, weighted[4] = {};
    for (int side = 0; side < 4; ++side) top[side] = values[side];
    for (int i = 4; i < width; i += 4) {
      for (int side = 0; side < 4; ++side) top[side] = std::max(top[side], values[i + side]);
    }
    for (int i = 0; i < width; i += 4) {
      for (int side = 0; side < 4; ++side) values[i + side] = exp_negative(values[i + side] - top[side]);
    }
    for (int i = 0; i < width; i += 4) {
      const float bin = static_cast<float>(i / 4);
      for (int side = 0; side < 4; ++side) {
        sum[side] += values[i + side];
        weighted[side] += values[i + side] * bin;
      }
    }
    for (int side = 0; side < 4; ++side) distances[4 * k + side] = weighted[side] / sum[side];
  }
}

void levels_candidates(const HeadLayout& head, const std::vector<Tensor>& outputs, float conf, ScanScratch& scratch,
                       Candidates& found) {
  const float floor = logit_floor(conf);
  const int per_level = head.coefficients ? 3 : 2;
  int32_t offset = 0;
  for (size_t level = 0; level < head.strides.size(); ++level) {
    const int stride = head.strides[level];
    const int32_t columns = head.input_w / stride, plane = columns * (head.input_h / stride);
    const float* boxes = outputs[level * per_level].data;
    const float* logits = outputs[level * per_level + 1].data;
    const float step = static_cast<float>(stride);
    scan_table(logits, plane, head.classes, floor, scratch, [&](const int32_t* cells, int64_t n) {
      side_distances(boxes, plane, head.reg_max, cells, n, scratch.bins, scratch.distances);
      for (int64_t k = 0; k < n; ++k) {
        const int32_t cell = cells[k];
        const float score = sigmoid(scratch.best[k]);
        const int cls = class_of_logit(logits + cell, plane, head.classes, scratch.best[k], score);
        const float* d = &scratch.distances[4 * k];
        const float cx = static_cast<float>(cell % columns) + 0.5f, cy = static_cast<float>(cell / columns) + 0.5f;
        found.add(score, cls, offset + cell);
        found.set_last_box((cx - d[0]) * step, (cy - d[1]) * step, (cx + d[2]) * step, (cy + d[3]) * step);
      }
    });
    offset += plane;
  }
}

void flat_candidates(const HeadLayout& head, const std::vector<Tensor>& outputs, float conf, ScanScratch& scratch,
                     Candidates& found) {
  const float* table = outputs[0].data;
  const int64_t plane = outputs[0].shape[2];
  const float* scores = table + 4 * plane;
  scan_table(scores, plane, head.classes, conf, scratch, [&](const int32_t* cells, int64_t n) {
    for (int64_t k = 0; k < n; ++k) {
      const float* column = table + cells[k];
      const float score = scratch.best[k];
      found.add(score, class_of_score(scores + cells[k], plane, head.classes, score), cells[k]);
      const float cx = column[0], cy = column[plane];
      const float half_w = column[2 * plane] * 0.5f, half_h = column[3 * plane] * 0.5f;
      found.set_last_box(cx - half_w, cy - half_h, cx + half_w, cy + half_h);
    }
  });
}

void end2end_candidates(const HeadLayout& head, const std::vector<Tensor>& outputs, float conf, Candidates& found) {
  const int64_t rows = outputs[0].shape[1], width = outputs[0].shape[2];
  for (int64_t r = 0; r < rows; ++r) {
    const float* row = outputs[0].data + r * width;
    if (is_broken(row[4])) throw NonFinite("class scores hold NaN or infinity");
    if (!(row[4] > conf)) continue;
    if (!(row[5] >= 0 && row[5] < static_cast<float>(head.classes))) {
      throw OutOfContract("row " + std::to_string(r) + " names class " + std::to_string(row[5]) + " of " +
                          std::to_string(head.classes));
    }
    found.add(row[4], static_cast<int32_t>(row[5]), static_cast<int32_t>(r));
    found.set_last_box(row[0], row[1], row[2], row[3]);
  }
}

void require_shape(const Tensor& tensor, const std::vector<int64_t>& want, const std::string& name) {
  if (tensor.shape != want) throw OutOfContract("output " + name + " has a shape that the head contract does not allow");
}

}  // namespace

void Candidates::clear() {
  for (auto* column : {&x1, &y1, &x2, &y2, &score}) column->clear();
  cls.clear();
  anchor.clear();
}

void Candidates::add(float value, int32_t kind, int32_t index) {
  score.push_back(value);
  cls.push_back(kind);
  anchor.push_back(index);
}

void Candidates::set_last_box(float left, float top, float right, float bottom) {
  const float box[4] = {left, top, right, bottom};
  if (any_non_finite(box, 4)) {
    throw NonFinite("the box of the candidate at anchor " + std::to_string(anchor.back()) + " is NaN or infinite");
  }
  x1.push_back(left);
  y1.push_back(top);
  x2.push_back(right);
  y2.push_back(bottom);
}

void check_tensors(const HeadLayout& head, const std::vector<Tensor>& outputs) {
  const size_t tail = head.coefficients ? 1 : 0;
  const size_t per_level = head.coefficients ? 3 : 2;
  const size_t count = (head.kind == HeadKind::levels ? per_level * head.strides.size() : 1) + tail;
  if (outputs.size() != count) throw OutOfContract("expected " + std::to_string(count) + " output tensors");
  if (tail) require_shape(outputs.back(), {1, head.coefficients, head.protos_h(), head.protos_w()}, "protos");
  if (head.kind == HeadKind::levels) {
    for (size_t level = 0; level < head.strides.size(); ++level) {
      const int64_t stride = head.strides[level], h = head.input_h / stride, w = head.input_w / stride;
      const int64_t channels[3] = {4 * head.reg_max, head.classes, head.coefficients};
      for (size_t k = 0; k < per_level; ++k) {
        require_shape(outputs[level * per_level + k], {1, channels[k], h, w}, std::to_string(level * per_level + k));
      }
    }
    return;
  }
  const bool flat = head.kind == HeadKind::flat;
  const int64_t channels = head.coefficients + (flat ? 4 + head.classes : 6);
  const auto& shape = outputs[0].shape;
  if (shape.size() != 3 || shape[0] != 1 || shape[flat ? 1 : 2] != channels || (flat && shape[2] < 1)) {
    throw OutOfContract("output 0 has a shape that the head contract does not allow");
  }
}

void find_candidates(const HeadLayout& head, const std::vector<Tensor>& outputs, float conf, ScanScratch& scratch,
                     Candidates& found) {
  found.clear();
  switch (head.kind) {
    case HeadKind::levels: return levels_candidates(head, outputs, conf, scratch, found);
    case HeadKind::flat: return flat_candidates(head, outputs, conf, scratch, found);
    case HeadKind::end2end: return end2end_candidates(head, outputs, conf, found);
  }
}

void gather_coefficients(const HeadLayout& head, const std::vector<Tensor>& outputs, int32_t anchor, float* out) {
  const int n = head.coefficients;
  if (head.kind == HeadKind::end2end) {
    const float* row = outputs[0].data + anchor * outputs[0].shape[2] + 6;
    std::copy(row, row + n, out);
    return;
  }
  const float* column = nullptr;
  int64_t plane = 0;
  if (head.kind == HeadKind::flat) {
    plane = outputs[0].shape[2];
    column = outputs[0].data + (4 + head.classes) * plane + anchor;
  } else {
    int64_t cell = anchor;
    size_t level = 0;
    for (;; ++level) {
      plane = static_cast<int64_t>(head.input_h / head.strides[level]) * (head.input_w / head.strides[level]);
      if (cell < plane) break;
      cell -= plane;
    }
    column = outputs[level * 3 + 2].data + cell;
  }
  for (int m = 0; m < n; ++m) out[m] = column[m * plane];
}

}  // namespace lineside
