// From raw head outputs to candidates: the class scan and the box decode of the survivors.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace lineside {

enum class HeadKind { levels, flat, end2end };

// What the head contract says about the tensors (design: head contract).
struct HeadLayout {
  HeadKind kind;
  int classes;
  int coefficients;
  int input_h, input_w;
  std::vector<int> strides;
  int reg_max;

  int protos_h() const { return input_h / 4; }
  int protos_w() const { return input_w / 4; }
};

// One contiguous float32 tensor of the model, batch 1, not owned.
struct Tensor {
  const float* data;
  std::vector<int64_t> shape;
};

// What passed the confidence threshold, in anchor order. Boxes are xyxy in input pixels, not clipped.
struct Candidates {
  std::vector<float> x1, y1, x2, y2, score;
  std::vector<int32_t> cls, anchor;

  int64_t size() const { return static_cast<int64_t>(score.size()); }
  void clear();
  void add(float score, int32_t cls, int32_t anchor);
  void set_last_box(float left, float top, float right, float bottom);  // throws NonFinite
};

// Scratch that a scan reuses from frame to frame.
struct ScanScratch {
  std::vector<float> best, bins, distances;
  std::vector<int32_t> cells;
};

// Throws OutOfContract when the tensors' shapes do not fit the layout: memory safety, checked before any read.
void check_tensors(const HeadLayout& head, const std::vector<Tensor>& outputs);

// Fills `found` with every anchor whose best class has float32 score > conf (strictly), the lowest class on a tie.
// Throws NonFinite for NaN or plus infinity in any class score, or NaN or infinity in the box of a candidate.
void find_candidates(const HeadLayout& head, const std::vector<Tensor>& outputs, float conf, ScanScratch& scratch,
                     Candidates& found);

// Copies the mask coefficients of one anchor to out[0 .. head.coefficients).
void gather_coefficients(const HeadLayout& head, const std::vector<Tensor>& outputs, int32_t anchor, float* out);

}  // namespace lineside
