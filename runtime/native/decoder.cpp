#include "decoder.hpp"

#include <algorithm>
#include <stdexcept>
#include <utility>

namespace lineside {
namespace {

// x_image = (x_input - pad) / scale in float32, then clipped to the picture.
float to_image(float value, int pad, double scale, int side) {
  const float moved = (value - static_cast<float>(pad)) / static_cast<float>(scale);
  return std::clamp(moved, 0.0f, static_cast<float>(side));
}

}  // namespace

void Found::clear() {
  boxes.clear();
  scores.clear();
  classes.clear();
  anchors.clear();
  spans.clear();
  offsets.clear();
}

Decoder::Decoder(HeadLayout head) : head_(std::move(head)) {
  const bool sides = head_.input_h >= 4 && head_.input_w >= 4;
  const bool counts = head_.classes > 0 && head_.coefficients >= 0 && head_.reg_max > 0 && !head_.strides.empty();
  const bool steps = std::all_of(head_.strides.begin(), head_.strides.end(), [](int s) { return s > 0; });
  if (!sides || !counts || !steps) throw std::invalid_argument("this head layout cannot be decoded");
  coefficients_.resize(head_.coefficients);
}

const Found& Decoder::run(const std::vector<Tensor>& outputs, const Placement& placement,
                          const DecodeOptions& options) {
  check_tensors(head_, outputs);
  found_.clear();
  find_candidates(head_, outputs, options.conf, scan_, candidates_);
  if (head_.kind == HeadKind::end2end) {
    sort_by_score(candidates_, options.max_det, nms_, kept_);
  } else {
    suppress(candidates_, options.iou, options.max_det, options.agnostic, nms_, kept_);
  }
  for (const int64_t i : kept_) {
    const float box[4] = {to_image(candidates_.x1[i], placement.left, placement.scale_x, placement.image_w),
                          to_image(candidates_.y1[i], placement.top, placement.scale_y, placement.image_h),
                          to_image(candidates_.x2[i], placement.left, placement.scale_x, placement.image_w),
                          to_image(candidates_.y2[i], placement.top, placement.scale_y, placement.image_h)};
    found_.boxes.insert(found_.boxes.end(), box, box + 4);
    found_.scores.push_back(candidates_.score[i]);
    found_.classes.push_back(candidates_.cls[i]);
    found_.anchors.push_back(candidates_.anchor[i]);
  }
  const MaskMode mode = head_.coefficients ? options.masks : MaskMode::none;
  if (mode != MaskMode::none) solve_masks(outputs, placement, mode);
  return found_;
}

void Decoder::solve_masks(const std::vector<Tensor>& outputs, const Placement& placement, MaskMode mode) {
  solver_.place(placement, mode, head_.input_h, head_.input_w, head_.protos_h(), head_.protos_w());
  found_.offsets.push_back(0);
  for (size_t k = 0; k < found_.scores.size(); ++k) {
    gather_coefficients(head_, outputs, found_.anchors[k], coefficients_.data());
    const float* b = &found_.boxes[4 * k];
    solver_.solve(outputs.back().data, coefficients_.data(), head_.coefficients, {b[0], b[1], b[2], b[3]},
                  found_.spans);
    found_.offsets.push_back(found_.spans.count());
  }
}

}  // namespace lineside
