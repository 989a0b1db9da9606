// The whole way from raw outputs to detections in picture pixels, with scratch that is kept from frame to frame.
#pragma once

#include <mutex>
#include <vector>

#include "decode.hpp"
#include "masks.hpp"
#include "nms.hpp"

namespace lineside {

struct DecodeOptions {
  float conf, iou;
  int64_t max_det;
  bool agnostic;
  MaskMode masks;
};

// What one frame yields, best score first.
struct Found {
  std::vector<float> boxes;      // x1, y1, x2, y2 in picture pixels, clipped
  std::vector<float> scores;
  std::vector<int32_t> classes, anchors;
  SpanBuffer spans;
  std::vector<int64_t> offsets;  // spans of detection i: offsets[i] .. offsets[i + 1]

  void clear();
};

class Decoder {
 public:
  explicit Decoder(HeadLayout head);

  const HeadLayout& head() const { return head_; }

  // Not for two threads at once: the caller holds `lock()` from before until it has read the answer.
  const Found& run(const std::vector<Tensor>& outputs, const Placement& placement, const DecodeOptions& options);

  std::mutex& lock() { return mutex_; }

 private:
  void solve_masks(const std::vector<Tensor>& outputs, const Placement& placement, MaskMode mode);

  HeadLayout head_;
  std::mutex mutex_;
  Candidates candidates_;
  ScanScratch scan_;
  NmsScratch nms_;
  std::vector<int64_t> kept_;
  MaskSolver solver_;
  std::vector<float> coefficients_;
  Found found_;
};

}  // namespace lineside
