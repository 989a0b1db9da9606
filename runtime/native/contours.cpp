// Outer contours: components found on the spans, each border walked once on a bitmap of the mask's tight box.
#include <algorithm>
#include <numeric>

#include "spans.hpp"

namespace lineside {
namespace {

int64_t root_of(std::vector<int64_t>& parent, int64_t i) {
  while (parent[i] != i) i = parent[i] = parent[parent[i]];
  return i;
}

// Index of the first span of each 8-connected component: its leftmost pixel is the component's first in reading order.
std::vector<int64_t> component_starts(SpanView spans) {
  std::vector<int64_t> parent(spans.count);
  std::iota(parent.begin(), parent.end(), int64_t{0});
  int64_t above = 0;  // walks the row before
  for (int64_t i = 0; i < spans.count; ++i) {
    while (spans[above].y < spans[i].y - 1) ++above;
    // Spans of the row before are sorted: skip those that end left of this one, diagonal contact included.
    while (spans[above].y == spans[i].y - 1 && spans[above].x1 < spans[i].x0) ++above;
    for (int64_t k = above; spans[k].y == spans[i].y - 1 && spans[k].x0 <= spans[i].x1; ++k) {
      const int64_t a = root_of(parent, k), b = root_of(parent, i);
      parent[std::max(a, b)] = std::min(a, b);
    }
  }
  std::vector<int64_t> starts;
  for (int64_t i = 0; i < spans.count; ++i) {
    if (parent[i] == i) starts.push_back(i);
  }
  return starts;
}

// The mask's tight box with a border of one empty pixel around it, so that a walk never leaves the table.
struct Bitmap {
  std::vector<uint8_t> cells;
  int64_t pitch;
  int32_t x0, y0;

  explicit Bitmap(SpanView spans) {
    const Extent box = extent_of(spans);
    pitch = box.width + 2;
    x0 = box.x0 - 1;
    y0 = box.y0 - 1;
    cells.assign(static_cast<size_t>(pitch) * (box.height + 2), 0);
    fill(spans, x0, y0, pitch, cells.data());
  }
  int64_t at(int32_t x, int32_t y) const { return (y - y0) * pitch + (x - x0); }
};

// Directions clockwise on the screen: east, south-east, south, ...
constexpr int kDx[8] = {1, 1, 0, -1, -1, -1, 0, 1};
constexpr int kDy[8] = {0, 1, 1, 1, 0, -1, -1, -1};

// Walks the outer border from its first pixel in reading order (nothing of the component lies above or left of it),
// turning clockwise around each pixel from the way it came, until the first step is about to be repeated.
std::vector<int32_t> walk(const Bitmap& map, int32_t start_x, int32_t start_y) {
  int64_t step[8];
  for (int d = 0; d < 8; ++d) step[d] = kDy[d] * map.pitch + kDx[d];
  std::vector<int32_t> points;
  const int64_t start = map.at(start_x, start_y);
  int64_t here = start;
  int32_t x = start_x, y = start_y;
  int from = 4, first = -1, last = -1;  // the background pixel to look from; west of the start
  for (;;) {
    int d = -1;
    for (int k = 1; k < 8; ++k) {
      const int turn = (from + k) & 7;
      if (map.cells[here + step[turn]]) {
        d = turn;
        break;
      }
    }
    if (d < 0) {  // a single pixel
      points = {x, y};
      break;
    }
    if (here == start && d == first) {  // a full round; the start is a corner only if the walk turns there
      if (last == first && points.size() > 2) points.erase(points.begin(), points.begin() + 2);
      break;
    }
    if (first < 0) first = d;
    if (d != last) points.insert(points.end(), {x, y});
    here += step[d];
    x += kDx[d];
    y += kDy[d];
    last = d;
    // The last background pixel seen before (x, y), as a direction from (x, y).
    from = (d & 1) ? (d + 5) & 7 : (d + 6) & 7;
  }
  while (points.size() < 6) points.insert(points.end(), {points[points.size() - 2], points[points.size() - 1]});
  return points;
}

}  // namespace

std::vector<std::vector<int32_t>> contours_of(SpanView spans) {
  std::vector<std::vector<int32_t>> contours;
  if (spans.count == 0) return contours;
  const Bitmap map(spans);
  for (const int64_t i : component_starts(spans)) contours.push_back(walk(map, spans[i].x0, spans[i].y));
  return contours;
}

}  // namespace lineside
