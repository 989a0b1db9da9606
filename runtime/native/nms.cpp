#include "nms.hpp"

#include <algorithm>

#include "scalar.hpp"

namespace lineside {
namespace {

constexpr int64_t kGroup = 32;

// Scores are positive, so their bits grow with them. Candidates lie in anchor order, so an index breaks ties as an
// anchor would. One integer per candidate then sorts by falling score and rising anchor.
void order_of(const Candidates& found, std::vector<uint64_t>& order) {
  const int64_t n = found.size();
  order.resize(n);
  for (int64_t i = 0; i < n; ++i) {
    order[i] = static_cast<uint64_t>(~bits_of(found.score[i])) << 32 | static_cast<uint32_t>(i);
  }
  std::sort(order.begin(), order.end());
}

float overlap(float a1, float a2, float b1, float b2) {
  const float side = (a2 < b2 ? a2 : b2) - (a1 > b1 ? a1 : b1);
  return side > 0 ? side : 0;
}

}  // namespace

void sort_by_score(const Candidates& found, int64_t max_det, NmsScratch& scratch, std::vector<int64_t>& kept) {
  order_of(found, scratch.order);
  kept.clear();
  for (int64_t i = 0; i < found.size() && i < max_det; ++i) kept.push_back(scratch.order[i] & 0xffffffffu);
}

void suppress(const Candidates& found, float iou, int64_t max_det, bool agnostic, NmsScratch& scratch,
              std::vector<int64_t>& kept) {
  order_of(found, scratch.order);
  kept.clear();
  NmsScratch& s = scratch;
  for (auto* column : {&s.x1, &s.y1, &s.x2, &s.y2, &s.area}) column->clear();
  s.cls.clear();
  for (const uint64_t key : s.order) {
    const int64_t count = static_cast<int64_t>(kept.size());
    if (count >= max_det) break;
    const int64_t i = key & 0xffffffffu;
    const float x1 = found.x1[i], y1 = found.y1[i], x2 = found.x2[i], y2 = found.y2[i];
    const float area = (x2 - x1) * (y2 - y1);
    const int32_t cls = agnostic ? 0 : found.cls[i];
    bool suppressed = false;
    for (int64_t begin = 0; begin < count && !suppressed; begin += kGroup) {
      const int64_t end = std::min(begin + kGroup, count);
      int32_t touching = 0;  // most groups touch nothing, and then no division is needed
      for (int64_t j = begin; j < end; ++j) {
        const int32_t left = s.x1[j] < x2, right = x1 < s.x2[j], top = s.y1[j] < y2, bottom = y1 < s.y2[j];
        const int32_t rival = s.cls[j] == cls;
        touching |= left & right & top & bottom & rival;
      }
      if (!touching) continue;
      int32_t over = 0;
      for (int64_t j = begin; j < end; ++j) {
        const float both = overlap(x1, x2, s.x1[j], s.x2[j]) * overlap(y1, y2, s.y1[j], s.y2[j]);
        const int32_t heavy = both / ((s.area[j] + area) - both) > iou, rival = s.cls[j] == cls;
        over |= heavy & rival;
      }
      suppressed = over != 0;
    }
    if (suppressed) continue;
    kept.push_back(i);
    s.x1.push_back(x1);
    s.y1.push_back(y1);
    s.x2.push_back(x2);
    s.y2.push_back(y2);
    s.area.push_back(area);
    s.cls.push_back(cls);
  }
}

}  // namespace lineside
