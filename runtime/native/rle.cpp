// COCO run lengths. The picture is read column by column; runs alternate between zeros and ones and start with zeros.
// Each run is written as its difference to the run two before it (from the fourth run on), in groups of five bits,
// lowest first: bit 5 says that another group follows, the sign is that of the last group, and 48 makes it printable.
#include <algorithm>
#include <stdexcept>

#include "spans.hpp"

namespace lineside {
namespace {

// Pixels (x, y) at which the mask differs from the row above it, appended as x * (image_h + 1) + y: in column order
// these are the ends of the runs. A merge of two sorted rows; where both begin or end together nothing changes.
class ToggleRows {
 public:
  explicit ToggleRows(const Extent& box) : box_(box), counts_(box.width + 1, 0) {}

  void between(const Span* above, const Span* above_end, const Span* here, const Span* here_end, int32_t y) {
    edges_.clear();
    merge(above, above_end, here, here_end);
    for (size_t i = 0; i + 1 < edges_.size(); i += 2) {
      for (int32_t x = edges_[i]; x < edges_[i + 1]; ++x) {
        toggles_.push_back({x, y});
        ++counts_[x - box_.x0 + 1];
      }
    }
  }

  // The toggles as positions in column order; rows came in order, so a stable counting sort by column is enough.
  std::vector<int64_t> positions(int32_t image_h) {
    for (size_t i = 1; i < counts_.size(); ++i) counts_[i] += counts_[i - 1];
    std::vector<int64_t> sorted(toggles_.size());
    for (const auto& [x, y] : toggles_) sorted[counts_[x - box_.x0]++] = static_cast<int64_t>(x) * image_h + y;
    return sorted;
  }

 private:
  // Edges of the symmetric difference: all edges of both rows in order, less those that occur twice.
  void merge(const Span* a, const Span* a_end, const Span* b, const Span* b_end) {
    bool a_inside = false, b_inside = false;
    while (a != a_end || b != b_end) {
      const int64_t none = INT64_MAX;
      const int64_t next_a = a == a_end ? none : (a_inside ? a->x1 : a->x0);
      const int64_t next_b = b == b_end ? none : (b_inside ? b->x1 : b->x0);
      const bool step_a = next_a <= next_b, step_b = next_b <= next_a;
      if (step_a != step_b) edges_.push_back(static_cast<int32_t>(step_a ? next_a : next_b));
      if (step_a) {
        if (a_inside) ++a;
        a_inside = !a_inside;
      }
      if (step_b) {
        if (b_inside) ++b;
        b_inside = !b_inside;
      }
    }
  }

  Extent box_;
  std::vector<int64_t> counts_;
  std::vector<std::pair<int32_t, int32_t>> toggles_;
  std::vector<int32_t> edges_;
};

std::vector<int64_t> runs_of(SpanView spans, int32_t image_h, int32_t image_w) {
  ToggleRows toggles(extent_of(spans));
  const Span *above = spans.begin(), *above_end = spans.begin(), *here = spans.begin();
  while (here != spans.end() || above != above_end) {
    const bool gap = here == spans.end() || (above != above_end && here->y > (above_end - 1)->y + 1);
    const int32_t y = gap ? (above_end - 1)->y + 1 : here->y;
    const Span* here_end = here;
    while (here_end != spans.end() && here_end->y == y) ++here_end;
    toggles.between(above, above_end, here, here_end, y);
    above = here;
    above_end = here_end;
    here = here_end;
  }
  std::vector<int64_t> runs;
  int64_t last = 0;
  const std::vector<int64_t> ends = toggles.positions(image_h);
  for (size_t i = 0; i < ends.size(); ++i) {
    if (i + 1 < ends.size() && ends[i] == ends[i + 1]) {  // a run over the foot of a column goes on at the next head
      ++i;
      continue;
    }
    runs.push_back(ends[i] - last);
    last = ends[i];
  }
  const int64_t size = static_cast<int64_t>(image_h) * image_w;
  if (last < size) runs.push_back(size - last);
  return runs;
}

}  // namespace

std::string rle_of(SpanView spans, int32_t image_h, int32_t image_w) {
  const std::vector<int64_t> runs = runs_of(spans, image_h, image_w);
  std::string text;
  text.reserve(runs.size() * 2);
  for (size_t i = 0; i < runs.size(); ++i) {
    int64_t value = i > 2 ? runs[i] - runs[i - 2] : runs[i];
    for (;;) {
      const int64_t group = value & 31;
      value >>= 5;
      const bool last = value == ((group & 16) ? -1 : 0);
      text.push_back(static_cast<char>(48 + group + (last ? 0 : 32)));
      if (last) break;
    }
  }
  return text;
}

std::vector<Span> spans_of_rle(const std::string& counts, int32_t image_h, int32_t image_w) {
  const int64_t size = static_cast<int64_t>(image_h) * image_w;
  std::vector<int64_t> runs;
  int64_t covered = 0;
  for (size_t i = 0; i < counts.size();) {
    int64_t value = 0;
    for (int shift = 0;; shift += 5) {
      if (i >= counts.size() || shift > 45) throw std::invalid_argument("run lengths end in the middle of a number");
      const int group = static_cast<unsigned char>(counts[i++]) - 48;
      if (group < 0 || group > 63) throw std::invalid_argument("run lengths hold a character that does not belong");
      value |= static_cast<int64_t>(group & 31) << shift;
      if (group & 32) continue;
      if (group & 16) value -= int64_t{1} << (shift + 5);
      break;
    }
    if (runs.size() > 2) value += runs[runs.size() - 2];
    covered += value;
    if (value < 0 || covered > size) throw std::invalid_argument("run lengths do not fit the picture");
    runs.push_back(value);
  }
  if (covered != size) throw std::invalid_argument("run lengths do not cover the picture");

  // Runs of ones as pieces of columns, turned into rows on a bitmap of the columns that they touch.
  int64_t low = size, high = 0;
  for (size_t i = 0, at = 0; i < runs.size(); at += runs[i], ++i) {
    if (i % 2 == 0 || runs[i] == 0) continue;
    low = std::min<int64_t>(low, at);
    high = std::max<int64_t>(high, at + runs[i]);
  }
  if (low >= high) return {};
  const int64_t x0 = low / image_h, width = (high - 1) / image_h - x0 + 1;
  std::vector<uint8_t> table(static_cast<size_t>(width) * image_h, 0);
  for (size_t i = 0, at = 0; i < runs.size(); at += runs[i], ++i) {
    if (i % 2 == 0) continue;
    for (int64_t p = at; p < static_cast<int64_t>(at) + runs[i]; ++p) {
      table[(p % image_h) * width + (p / image_h - x0)] = 1;
    }
  }
  std::vector<Span> spans = spans_of(table.data(), image_h, static_cast<int32_t>(width));
  for (Span& s : spans) {
    s.x0 += static_cast<int32_t>(x0);
    s.x1 += static_cast<int32_t>(x0);
  }
  return spans;
}

}  // namespace lineside
