// Greedy non-maximum suppression by one block: the rule of runtime/native/nms.cpp, in float32.
//
// The best candidate that nobody has suppressed is kept, and all threads together suppress what it overlaps; then the
// next one. So the work grows with the number of detections, not of candidates, and no table of pairs is needed.
#include "frame.cuh"

LINESIDE_DEVICE float overlap(float a1, float a2, float b1, float b2) {
  const float side = (a2 < b2 ? a2 : b2) - (a1 > b1 ? a1 : b1);
  return side > 0 ? side : 0;
}

LINESIDE_DEVICE float area_of(const Record& box) { return (box.x2 - box.x1) * (box.y2 - box.y1); }

LINESIDE_DEVICE bool suppresses(const Record& kept, const Record& box, float iou) {
  const float both = overlap(box.x1, box.x2, kept.x1, kept.x2) * overlap(box.y1, box.y2, kept.y1, kept.y2);
  return both / ((area_of(kept) + area_of(box)) - both) > iou;
}

// The first candidate from `from` on whose byte is 0; `count` when there is none. Eight bytes are read at a time.
LINESIDE_DEVICE int next_alive(const unsigned long long* dead, int from, int count) {
  for (int group = from / 8; 8 * group < count; ++group) {
    const unsigned long long bytes = dead[group];
    if (bytes == 0x0101010101010101ull) continue;
    for (int i = max(8 * group, from); i < min(8 * group + 8, count); ++i) {
      if (!(bytes >> (8 * (i % 8)) & 1u)) return i;
    }
  }
  return count;
}

LINESIDE_KERNEL void suppress(const FrameParameters* parameters, const Plan* plan, const Record* sorted, int* kept,
                              unsigned long long* dead, Header* header) {
  unsigned char* const flags = reinterpret_cast<unsigned char*>(dead);  // one per candidate: 1 where it is suppressed
  const int thread = static_cast<int>(threadIdx.x), threads = static_cast<int>(blockDim.x);
  const int count = header->error == kSound ? header->candidates : 0;
  const int most = min(parameters->max_det, plan->detections + 1);  // one more than there are places: too many
  for (int group = thread; 8 * group < count; group += threads) dead[group] = 0;
  __syncthreads();
  int found = 0;
  for (int best = 0; found < most; ++best) {
    best = next_alive(dead, best, count);  // every thread looks for itself and finds the same
    if (best >= count) break;
    if (thread == 0 && found < plan->detections) kept[found] = best;
    ++found;
    if (plan->kind == 2) continue;
    __syncthreads();  // nobody looks any more
    const Record winner = sorted[best];
    for (int i = best + 1 + thread; i < count; i += threads) {
      if (flags[i] || (!parameters->agnostic && sorted[i].cls != winner.cls)) continue;
      if (suppresses(winner, sorted[i], parameters->iou)) flags[i] = 1;
    }
    __syncthreads();
  }
  if (thread == 0) {
    header->detections = found;
    header->words = 0;
    header->beyond = found > plan->detections ? 1 : 0;
    header->broken = 0;
    header->masks = plan->coefficients ? parameters->masks : 0;
  }
}
