#include "spans.hpp"

#include <algorithm>
#include <cstring>
#include <stdexcept>

namespace lineside {

void check_spans(SpanView spans, int32_t image_h, int32_t image_w) {
  for (int64_t i = 0; i < spans.count; ++i) {
    const Span& s = spans[i];
    const bool inside = s.y >= 0 && s.y < image_h && s.x0 >= 0 && s.x0 < s.x1 && s.x1 <= image_w;
    const bool after = i == 0 || spans[i - 1].y < s.y || (spans[i - 1].y == s.y && spans[i - 1].x1 < s.x0);
    if (!inside || !after) {
      throw std::invalid_argument("span " + std::to_string(i) + " is empty, outside the picture, out of order or touches the one before it");
    }
  }
}

int64_t area_of(SpanView spans) {
  int64_t area = 0;
  for (const Span& s : spans) area += s.x1 - s.x0;
  return area;
}

Extent extent_of(SpanView spans) {
  if (spans.count == 0) return {};
  int32_t x0 = spans[0].x0, x1 = spans[0].x1;
  for (const Span& s : spans) {
    x0 = std::min(x0, s.x0);
    x1 = std::max(x1, s.x1);
  }
  return {x0, spans[0].y, x1 - x0, spans[spans.count - 1].y - spans[0].y + 1};
}

void fill(SpanView spans, int32_t x0, int32_t y0, int64_t pitch, uint8_t* out) {
  for (const Span& s : spans) std::memset(out + (s.y - y0) * pitch + (s.x0 - x0), 1, s.x1 - s.x0);
}

std::vector<Span> spans_of(const uint8_t* table, int32_t height, int32_t width) {
  std::vector<Span> spans;
  for (int32_t y = 0; y < height; ++y) {
    const uint8_t* row = table + static_cast<int64_t>(y) * width;
    for (int32_t x = 0; x < width;) {
      if (!row[x]) {
        ++x;
        continue;
      }
      const int32_t begin = x;
      while (x < width && row[x]) ++x;
      spans.push_back({y, begin, x});
    }
  }
  return spans;
}

int64_t intersection_of(SpanView a, SpanView b) {
  int64_t shared = 0;
  for (int64_t i = 0, j = 0; i < a.count && j < b.count;) {
    if (a[i].y == b[j].y) {
      shared += std::max(0, std::min(a[i].x1, b[j].x1) - std::max(a[i].x0, b[j].x0));
    }
    const bool a_ends_first = a[i].y != b[j].y ? a[i].y < b[j].y : a[i].x1 <= b[j].x1;
    a_ends_first ? ++i : ++j;
  }
  return shared;
}

}  // namespace lineside
