// Greedy non-maximum suppression over candidates.
#pragma once

#include <cstdint>
#include <vector>

#include "decode.hpp"

namespace lineside {

// Scratch that suppression reuses from frame to frame.
struct NmsScratch {
  std::vector<uint64_t> order;
  std::vector<float> x1, y1, x2, y2, area;
  std::vector<int32_t> cls;
};

// Indices into `found` by falling score, ties by lower anchor, at most max_det of them, no suppression.
void sort_by_score(const Candidates& found, int64_t max_det, NmsScratch& scratch, std::vector<int64_t>& kept);

// The same order, less those whose IoU with a better kept box of the same class (of any class if agnostic) is > iou.
// All arithmetic is float32: IoU = intersection / ((area_a + area_b) - intersection).
void suppress(const Candidates& found, float iou, int64_t max_det, bool agnostic, NmsScratch& scratch,
              std::vector<int64_t>& kept);

}  // namespace lineside
