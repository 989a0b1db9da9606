// What can be made from the spans of one mask: rows [y, x0, x1) sorted by (y, x0), not empty, with a
// gap between two of the same row.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace lineside {

struct Span {
  int32_t y, x0, x1;
};
static_assert(sizeof(Span) == 3 * sizeof(int32_t), "spans are read straight from int32 arrays");

// Spans of one mask, not owned.
struct SpanView {
  const Span* data;
  int64_t count;

  const Span* begin() const { return data; }
  const Span* end() const { return data + count; }
  const Span& operator[](int64_t i) const { return data[i]; }
};

struct Extent {
  int32_t x0 = 0, y0 = 0, width = 0, height = 0;
};

// Throws std::invalid_argument unless the spans are sorted, apart, not empty and inside the picture.
void check_spans(SpanView spans, int32_t image_h, int32_t image_w);

int64_t area_of(SpanView spans);

// The tight box of the mask; all zero for an empty one.
Extent extent_of(SpanView spans);

// Writes ones under the spans: out[(y - y0) * pitch + (x - x0)].
void fill(SpanView spans, int32_t x0, int32_t y0, int64_t pitch, uint8_t* out);

// Spans of a (height, width) table of zero and non-zero bytes.
std::vector<Span> spans_of(const uint8_t* table, int32_t height, int32_t width);

// Pixels that two masks share.
int64_t intersection_of(SpanView a, SpanView b);

// Outer contours through pixel centres, one for each 8-connected component, as x, y pairs; straight runs keep their
// ends only and every contour has at least three points (the last one repeats in a dot or a line).
std::vector<std::vector<int32_t>> contours_of(SpanView spans);

// COCO's compressed run lengths: columns first, starting with zeros.
std::string rle_of(SpanView spans, int32_t image_h, int32_t image_w);

// The reverse. Throws std::invalid_argument when the runs do not cover the picture exactly.
std::vector<Span> spans_of_rle(const std::string& counts, int32_t image_h, int32_t image_w);

}  // namespace lineside
