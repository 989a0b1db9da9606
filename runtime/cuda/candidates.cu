// From raw head outputs to candidates in order of their score: the rules of runtime/native/decode.cpp, anchor by anchor.
//
// Three kernels, so that the order of the candidates never depends on which thread comes first: `scan` counts the
// survivors of each block of anchors, `gather` puts each behind all survivors before it and decodes its box, `rank` sorts.
#include "frame.cuh"

// The score of a logit: in double precision, rounded once to float32.
LINESIDE_DEVICE float sigmoid(float logit) {
  return static_cast<float>(1.0 / (1.0 + exp(-static_cast<double>(logit))));
}

// e^x for x <= 0, as runtime/native/scalar.hpp has it: the same operations in the same order.
LINESIDE_DEVICE float exp_negative(float x) {
  x = x < -87.0f ? -87.0f : x;
  const float shifter = 12582912.0f;
  const float shifted = x * 1.44269504f + shifter;
  const float n = shifted - shifter;
  const float r = (x - n * 0.693359375f) - n * -2.12194440e-4f;
  float p = 1.0f / 5040;
  p = p * r + 1.0f / 720;
  p = p * r + 1.0f / 120;
  p = p * r + 1.0f / 24;
  p = p * r + 1.0f / 6;
  p = p * r + 0.5f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  return p * __uint_as_float((__float_as_uint(shifted) + 127u) << 23);
}

// NaN can be no score, and an infinite one no candidate. Minus infinity is below every threshold.
LINESIDE_DEVICE bool is_broken(float score) { return !is_finite(score) && !(score < 0); }

LINESIDE_KERNEL void scan(const FrameParameters* parameters, const Plan* plan, const Level* levels, float* best, int* counts,
                          int* errors) {
  __shared__ int worst;
  if (threadIdx.x == 0) worst = kSound;
  __syncthreads();
  const int anchor = static_cast<int>(blockIdx.x * kScan + threadIdx.x);
  bool survives = false;
  if (anchor < plan->anchors) {
    const Level* level = level_of(plan, levels, anchor);
    const float* values = level->cls + static_cast<long long>(anchor - level->first) * level->step;
    const int classes = plan->kind == 2 ? 1 : plan->classes;
    float top = values[0];
    bool broken = is_broken(top);
    for (int c = 1; c < classes; ++c) {
      const float value = values[c * level->plane];
      broken = broken || is_broken(value);
      top = top < value ? value : top;
    }
    best[anchor] = top;
    survives = top > parameters->floor;
    if (broken) atomicMin(&worst, 4 * anchor + kBadScore);
  }
  const int count = __syncthreads_count(survives);
  if (threadIdx.x == 0) {
    counts[blockIdx.x] = count;
    errors[blockIdx.x] = worst;
  }
}

// The lowest class that reaches the best score of an anchor. Different logits can share one float32 score.
LINESIDE_DEVICE int class_of_logit(const float* logits, long long plane, int classes, float best, float score) {
  const float near = best < 8.0f ? best - 1e-3f : 7.9f;  // below this no logit can round to the same score
  int c = 0;
  for (; c + 1 < classes; ++c) {
    const float logit = logits[c * plane];
    if (logit == best || (logit >= near && sigmoid(logit) == score)) break;
  }
  return c;
}

LINESIDE_DEVICE int class_of_score(const float* scores, long long plane, int classes, float best) {
  int c = 0;
  while (c + 1 < classes && scores[c * plane] != best) ++c;
  return c;
}

// Distance from a cell's centre to a side of its box, in cells: the expected bin of the softmax of its logits.
LINESIDE_DEVICE float side_distance(const float* bins, long long plane, int reg_max) {
  if (reg_max == 1) return bins[0];
  float top = bins[0];
  for (int i = 1; i < reg_max; ++i) {
    const float value = bins[i * plane];
    top = top < value ? value : top;
  }
  float sum = 0, weighted = 0;
  for (int i = 0; i < reg_max; ++i) {
    const float share = exp_negative(bins[i * plane] - top);
    sum += share;
    weighted += share * static_cast<float>(i);
  }
  return weighted / sum;
}

LINESIDE_DEVICE Record levels_record(const Plan* plan, const Level* level, int anchor, float logit) {
  const int cell = anchor - level->first;
  const float* box = level->box + cell;
  const long long side = plan->reg_max * level->plane;
  const float left = side_distance(box, level->plane, plan->reg_max);
  const float top = side_distance(box + side, level->plane, plan->reg_max);
  const float right = side_distance(box + 2 * side, level->plane, plan->reg_max);
  const float bottom = side_distance(box + 3 * side, level->plane, plan->reg_max);
  const float cx = static_cast<float>(cell % level->columns) + 0.5f;
  const float cy = static_cast<float>(cell / level->columns) + 0.5f;
  const float score = sigmoid(logit);
  const int cls = class_of_logit(level->cls + cell, level->plane, plan->classes, logit, score);
  return {(cx - left) * level->stride,  (cy - top) * level->stride, (cx + right) * level->stride,
          (cy + bottom) * level->stride, score, cls, anchor, 0};
}

LINESIDE_DEVICE Record flat_record(const Plan* plan, const Level* level, int anchor, float score) {
  const float* column = level->box + anchor;
  const long long plane = level->plane;
  const float cx = column[0], cy = column[plane];
  const float half_w = column[2 * plane] * 0.5f, half_h = column[3 * plane] * 0.5f;
  const int cls = class_of_score(level->cls + anchor, plane, plan->classes, score);
  return {cx - half_w, cy - half_h, cx + half_w, cy + half_h, score, cls, anchor, 0};
}

LINESIDE_DEVICE Record row_record(const Level* level, int anchor, float score) {
  const float* row = level->box + static_cast<long long>(anchor) * level->step;
  return {row[0], row[1], row[2], row[3], score, __float2int_rz(row[5]), anchor, 0};
}

// What breaks the contract about a candidate, kSound where nothing does.
LINESIDE_DEVICE int error_of(const Plan* plan, const Level* level, const Record& record) {
  if (plan->kind == 2) {
    const float cls = level->box[static_cast<long long>(record.anchor) * level->step + 5];
    if (!(cls >= 0 && cls < static_cast<float>(plan->classes))) return 4 * record.anchor + kBadClass;
  }
  const bool sound = is_finite(record.x1) && is_finite(record.y1) && is_finite(record.x2) && is_finite(record.y2);
  return sound ? kSound : 4 * record.anchor + kBadBox;
}

LINESIDE_KERNEL void gather(const FrameParameters* parameters, const Plan* plan, const Level* levels, const float* best,
                            const int* counts, int* errors, Record* found, float* scores, Header* header) {
  __shared__ int before, worst;
  __shared__ int flags[kScan];
  const int thread = static_cast<int>(threadIdx.x), block = static_cast<int>(blockIdx.x);
  const int anchor = block * kScan + thread;
  if (thread == 0) {
    before = 0;
    worst = errors[block];
  }
  const bool survives = anchor < plan->anchors && best[anchor] > parameters->floor;
  flags[thread] = survives;
  __syncthreads();
  int mine = 0;
  for (int i = thread; i < block; i += kScan) mine += counts[i];
  if (mine) atomicAdd(&before, mine);
  __syncthreads();
  if (survives) {
    int place = before;
    for (int i = 0; i < thread; ++i) place += flags[i];
    const Level* level = level_of(plan, levels, anchor);
    const float top = best[anchor];
    const Record record = plan->kind == 0   ? levels_record(plan, level, anchor, top)
                          : plan->kind == 1 ? flat_record(plan, level, anchor, top)
                                            : row_record(level, anchor, top);
    found[place] = record;
    scores[place] = record.score;
    const int error = error_of(plan, level, record);
    if (error != kSound) atomicMin(&worst, error);
  }
  __syncthreads();
  if (thread == 0) {
    errors[block] = worst;
    if (block + 1 == plan->blocks) header->candidates = before + counts[block];
  }
}

// Puts each candidate behind all that are better: of equal scores the lower anchor comes first. The first block also
// finds the first error of all.
LINESIDE_KERNEL void rank(const Plan* plan, const Level* levels, const int* errors, const Record* found, const float* scores,
                          Record* sorted, Header* header) {
  __shared__ int worst;
  const int thread = static_cast<int>(threadIdx.x);
  if (blockIdx.x == 0) {
    if (thread == 0) worst = kSound;
    __syncthreads();
    for (int i = thread; i < plan->blocks; i += kScan) atomicMin(&worst, errors[i]);
    __syncthreads();
    if (thread == 0) {
      header->error = worst;
      const bool named = plan->kind == 2 && worst != kSound;
      header->value = named ? __float_as_int(levels->box[static_cast<long long>(worst / 4) * levels->step + 5]) : 0;
    }
  }
  const int i = static_cast<int>(blockIdx.x) * kScan + thread, count = header->candidates;
  if (i >= count) return;
  const float score = scores[i];
  int place = 0;
  for (int j = 0; j < count; ++j) {
    const float other = scores[j];
    place += other > score || (other == score && j < i);
  }
  if (place < count) sorted[place] = found[i];
}
