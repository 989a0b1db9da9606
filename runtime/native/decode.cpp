#include "decode.hpp"

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

// Calls `keep(j)` for every anchor of a (classes, plane) table whose best value is above `floor`.
template <class Keep>
void scan_table(const float* scores, int64_t plane, int classes, float floor, ScanScratch& scratch, Keep keep) {
  scratch.best.resize(kBlock);
  float* best = scratch.best.data();
  for (int64_t begin = 0; begin < plane; begin += kBlock) {
    const int64_t n = std::min(kBlock, plane - begin);
    if (scan_classes(scores + begin, plane, classes, n, best) >= 0x7f800000) {
      throw NonFinite("class scores hold NaN or infinity");
    }
    for (int64_t first = 0; first < n; first += 64) {  // most groups hold nothing: one maximum tells
      const int64_t last = std::min(first + 64, n);
      bool any = false;
      for (int64_t j = first; j < last; ++j) any |= best[j] > floor;
      if (!any) continue;
      for (int64_t j = first; j < last; ++j) {
        if (best[j] > floor) keep(begin + j);
      }
    }
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
int best_class_of_logits(const float* logits, int64_t plane, int classes) {
  float best = logits[0];
  for (int c = 1; c < classes; ++c) best = std::max(best, logits[c * plane]);
  const float score = sigmoid(best);
  // Below this no logit can round to the same score: the sigmoid is too steep there.
  const float near = best < 8.0f ? best - 1e-3f : 7.9f;
  for (int c = 0; c < classes; ++c) {
    const float logit = logits[c * plane];
    if (logit == best || (logit >= near && sigmoid(logit) == score)) return c;
  }
  return 0;
}

int best_class_of_scores(const float* scores, int64_t plane, int classes) {
  int best = 0;
  for (int c = 1; c < classes; ++c) {
    if (scores[c * plane] > scores[best * plane]) best = c;
  }
  return best;
}

// Expected bin of the four side distributions (the "distribution focal loss" head, arXiv:2006.04388): the softmax of
// reg_max logits weighs the bins 0 .. reg_max - 1. A head with one bin predicts the distance itself.
void side_distances(const float* sides, int64_t plane, int reg_max, float* scratch, float out[4]) {
  if (reg_max == 1) {
    for (int side = 0; side < 4; ++side) out[side] = sides[side * plane];
    return;
  }
  const int n = 4 * reg_max;
  for (int i = 0; i < n; ++i) scratch[i] = sides[i * plane];
  for (int side = 0; side < 4; ++side) {
    float* bins = scratch + side * reg_max;
    float top = bins[0];
    for (int i = 1; i < reg_max; ++i) top = std::max(top, bins[i]);
    for (int i = 0; i < reg_max; ++i) bins[i] -= top;
  }
  for (int i = 0; i < n; ++i) scratch[i] = exp_negative(scratch[i]);
  for (int side = 0; side < 4; ++side) {
    const float* bins = scratch + side * reg_max;
    float sum = 0, weighted = 0;
    for (int i = 0; i < reg_max; ++i) {
      sum += bins[i];
      weighted += bins[i] * static_cast<float>(i);
    }
    out[side] = weighted / sum;
  }
}

void require_finite_box(const Candidates& found, int64_t i) {
  const float box[4] = {found.x1[i], found.y1[i], found.x2[i], found.y2[i]};
  if (any_non_finite(box, 4)) {
    throw NonFinite("the box of the candidate at anchor " + std::to_string(found.anchor[i]) + " is NaN or infinite");
  }
}

void levels_candidates(const HeadLayout& head, const std::vector<Tensor>& outputs, float conf, ScanScratch& scratch,
                       Candidates& found) {
  const float floor = logit_floor(conf);
  const int per_level = head.coefficients ? 3 : 2;
  std::vector<float> bins(4 * static_cast<size_t>(head.reg_max));
  int32_t offset = 0;
  for (size_t level = 0; level < head.strides.size(); ++level) {
    const int stride = head.strides[level];
    const int64_t columns = head.input_w / stride, plane = columns * (head.input_h / stride);
    const float* boxes = outputs[level * per_level].data;
    const float* logits = outputs[level * per_level + 1].data;
    const float step = static_cast<float>(stride);
    scan_table(logits, plane, head.classes, floor, scratch, [&](int64_t cell) {
      const int cls = best_class_of_logits(logits + cell, plane, head.classes);
      const int64_t i = found.size();
      found.add(sigmoid(logits[cls * plane + cell]), cls, offset + static_cast<int32_t>(cell));
      float d[4];
      side_distances(boxes + cell, plane, head.reg_max, bins.data(), d);
      const float cx = static_cast<float>(cell % columns) + 0.5f, cy = static_cast<float>(cell / columns) + 0.5f;
      found.set_box(i, (cx - d[0]) * step, (cy - d[1]) * step, (cx + d[2]) * step, (cy + d[3]) * step);
      require_finite_box(found, i);
    });
    offset += static_cast<int32_t>(plane);
  }
}

void flat_candidates(const HeadLayout& head, const std::vector<Tensor>& outputs, float conf, ScanScratch& scratch,
                     Candidates& found) {
  const float* table = outputs[0].data;
  const int64_t plane = outputs[0].shape[2];
  const float* scores = table + 4 * plane;
  scan_table(scores, plane, head.classes, conf, scratch, [&](int64_t anchor) {
    const int cls = best_class_of_scores(scores + anchor, plane, head.classes);
    const int64_t i = found.size();
    found.add(scores[cls * plane + anchor], cls, static_cast<int32_t>(anchor));
    const float cx = table[anchor], cy = table[plane + anchor];
    const float half_w = table[2 * plane + anchor] * 0.5f, half_h = table[3 * plane + anchor] * 0.5f;
    found.set_box(i, cx - half_w, cy - half_h, cx + half_w, cy + half_h);
    require_finite_box(found, i);
  });
}

void end2end_candidates(const HeadLayout& head, const std::vector<Tensor>& outputs, float conf, Candidates& found) {
  const int64_t rows = outputs[0].shape[1], width = outputs[0].shape[2];
  for (int64_t r = 0; r < rows; ++r) {
    const float* row = outputs[0].data + r * width;
    if (any_non_finite(row + 4, 1)) throw NonFinite("class scores hold NaN or infinity");
    if (!(row[4] > conf)) continue;
    if (!(row[5] >= 0 && row[5] < static_cast<float>(head.classes))) {
      throw OutOfContract("row " + std::to_string(r) + " names class " + std::to_string(row[5]) + " of " +
                          std::to_string(head.classes));
    }
    const int64_t i = found.size();
    found.add(row[4], static_cast<int32_t>(row[5]), static_cast<int32_t>(r));
    found.set_box(i, row[0], row[1], row[2], row[3]);
    require_finite_box(found, i);
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
  for (auto* column : {&x1, &y1, &x2, &y2}) column->push_back(0);
}

void Candidates::set_box(int64_t i, float left, float top, float right, float bottom) {
  x1[i] = left;
  y1[i] = top;
  x2[i] = right;
  y2[i] = bottom;
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
  if (shape.size() != 3 || shape[0] != 1 || shape[flat ? 1 : 2] != channels || shape[flat ? 2 : 1] < 1) {
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
