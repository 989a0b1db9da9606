// Masks at the picture's resolution, inside their boxes, as rows of spans: the rule of runtime/native/masks.hpp.
//
// The pixel rows of a detection that lie between two neighbouring rows of prototypes are a band; the work is cut into items
// of a few bands that follow each other. A block computes coefficients . prototypes for their rows, in shared memory, and
// then each thread solves pixel rows: it finds the cells between which the sign changes, and in them the pixel, as
// runtime/native/masks.cpp does, to the bit.
//
// A row of a mask becomes one word or more of 32 bits. The low half is where a span begins, the high half where it ends
// (exclusive). A span that follows another in its row is written end first, so a row needs no head; a row with no span is 0.
//
// `place` makes the records and counts the items, `masks` counts the words of each item, `offsets` says where the words of
// each begin, and `masks` again writes them.
#include "frame.cuh"

constexpr int kPlace = 256;  // threads of the blocks that work alone
constexpr int kRows = 64;    // pixel rows that a block solves at a time

// Where each pixel of one axis falls among the prototype cells; see lineside.runtime.cuda.tables.
struct Axis {
  const int* cell;
  const float* weight;
  const int* first;
};

LINESIDE_DEVICE Axis axis_of(const int* table, int pixels, int cells, int mode) {
  const int* at = table + (mode == 2 ? 2 * pixels + cells + 1 : 0);
  return {at, reinterpret_cast<const float*>(at + pixels), at + 2 * pixels};
}

// Pixels under a box, and the cells that they touch.
struct Region {
  int x1, x2, y1, y2, u1, u2, v1, v2;
  int items;
};

LINESIDE_DEVICE Region region_of(const Record& box, const Plan* plan, const Axis& across, const Axis& down, int mode) {
  Region r;
  r.x1 = __float2int_ru(box.x1);
  r.y1 = __float2int_ru(box.y1);
  r.x2 = min(__float2int_ru(box.x2), plan->image_w);
  r.y2 = min(__float2int_ru(box.y2), plan->image_h);
  r.u1 = r.u2 = r.v1 = r.v2 = r.items = 0;
  if (r.x1 >= r.x2 || r.y1 >= r.y2) return r;
  const int next = mode == 1 ? 1 : 0;
  const int last = down.cell[r.y2 - 1];
  r.u1 = across.cell[r.x1];
  r.v1 = down.cell[r.y1];
  r.u2 = min(across.cell[r.x2 - 1] + next, plan->last_u);
  r.v2 = min(last + next, plan->last_v);
  r.items = (last - r.v1 + plan->bands) / plan->bands;
  return r;
}

LINESIDE_DEVICE float to_image(float value, int pad, float scale, int side) {
  const float moved = (value - static_cast<float>(pad)) / scale, most = static_cast<float>(side);
  return moved < 0.0f ? 0.0f : (most < moved ? most : moved);
}

LINESIDE_DEVICE int places_taken(const Header* header) { return header->beyond ? 0 : header->detections; }

LINESIDE_DEVICE Record* records_of(Header* header) { return reinterpret_cast<Record*>(header + 1); }

LINESIDE_KERNEL void place(const Plan* plan, const int* across_table, const int* down_table, const Record* sorted,
                           const int* kept, int* items, Header* header) {
  __shared__ int sums[kPlace];
  const int thread = static_cast<int>(threadIdx.x), count = places_taken(header), mode = header->masks;
  const Axis across = axis_of(across_table, plan->image_w, plan->protos_w, mode);
  const Axis down = axis_of(down_table, plan->image_h, plan->protos_h, mode);
  const int share = (count + kPlace - 1) / kPlace, begin = min(thread * share, count), end = min(begin + share, count);
  int sum = 0;
  for (int k = begin; k < end; ++k) {
    Record record = sorted[kept[k]];
    record.x1 = to_image(record.x1, plan->left, plan->scale_x, plan->image_w);
    record.y1 = to_image(record.y1, plan->top, plan->scale_y, plan->image_h);
    record.x2 = to_image(record.x2, plan->left, plan->scale_x, plan->image_w);
    record.y2 = to_image(record.y2, plan->top, plan->scale_y, plan->image_h);
    records_of(header)[k] = record;
    items[k] = sum;
    if (mode) sum += region_of(record, plan, across, down, mode).items;
  }
  sums[thread] = sum;
  __syncthreads();
  int before = 0;
  for (int i = 0; i < thread; ++i) before += sums[i];
  for (int k = begin; k < end; ++k) items[k] += before;
  if (thread == kPlace - 1) items[count] = before + sum;
}

// Collects the spans of one row: those that touch become one. Writes nothing where there is no room given.
struct Row {
  unsigned* words;
  int count, x0, x1;  // x0 == x1: no span waits
};

LINESIDE_DEVICE void finish(Row& row) {
  if (row.x0 == row.x1 && row.count) return;
  const unsigned low = static_cast<unsigned>(row.count ? row.x1 : row.x0);
  const unsigned high = static_cast<unsigned>(row.count ? row.x0 : row.x1);
  if (row.words) row.words[row.count] = low | high << 16;
  ++row.count;
}

LINESIDE_DEVICE void add(Row& row, int x0, int x1) {
  if (x1 <= x0) return;
  if (row.x0 != row.x1 && row.x1 == x0) {
    row.x1 = x1;
    return;
  }
  if (row.x0 != row.x1) finish(row);
  row.x0 = x0;
  row.x1 = x1;
}

LINESIDE_DEVICE bool flipped(float a, float b, float weight, bool on) {
  return (a * (1.0f - weight) + b * weight > 0) != on;
}

// The first pixel between the centres of a cell (value a) and of the next one (value b) at which the sign is no longer
// `on`. The blend is monotone there, so the solved crossing is a guess that the pixels beside it settle exactly.
LINESIDE_DEVICE int crossing(float a, float b, int cell, bool on, const Region& r, const Axis& across, float per_cell) {
  const int begin = max(across.first[cell], r.x1), end = min(across.first[cell + 1], r.x2);
  if (begin >= end) return min(begin, r.x2);
  const float guess = (a / (a - b) - across.weight[begin]) * per_cell + 1.0f;
  int x = begin + min(max(__float2int_rz(guess), 0), end - begin);
  while (x > begin && flipped(a, b, across.weight[x - 1], on)) --x;
  while (x < end && !flipped(a, b, across.weight[x], on)) ++x;
  return x;
}

LINESIDE_DEVICE int native_row(const float* upper, const float* lower, float share, const Region& r, const Axis& across,
                               float per_cell, unsigned* words) {
  Row row = {words, 0, 0, 0};
  float left = upper[0] * (1.0f - share) + lower[0] * share;
  bool on = left > 0;
  int start = r.x1;
  for (int k = 0; k < r.u2 - r.u1; ++k) {
    const float right = upper[k + 1] * (1.0f - share) + lower[k + 1] * share;
    if ((right > 0) != on) {
      const int x = crossing(left, right, r.u1 + k, on, r, across, per_cell);
      if (on) add(row, start, x);
      start = x;
      on = !on;
    }
    left = right;
  }
  if (on) add(row, start, r.x2);
  finish(row);
  return row.count;
}

LINESIDE_DEVICE int proto_row(const float* values, const Region& r, const Axis& across, unsigned* words) {
  Row row = {words, 0, 0, 0};
  for (int k = 0; k <= r.u2 - r.u1; ++k) {
    if (values[k] > 0) add(row, max(across.first[r.u1 + k], r.x1), min(across.first[r.u1 + k + 1], r.x2));
  }
  finish(row);
  return row.count;
}

// The detection that an item belongs to: the last one whose first item is not behind it, and that has any.
LINESIDE_DEVICE int detection_of(const int* items, int count, int item) {
  int low = 0, high = count - 1;
  while (low < high) {
    const int middle = (low + high + 1) / 2;
    if (items[middle] <= item) {
      low = middle;
    } else {
      high = middle - 1;
    }
  }
  return low;
}

// Fills the rows of cells from v on that an item needs; false where one of the values is no number.
LINESIDE_DEVICE bool fill_values(float* values, const Plan* plan, const Level* levels, const float* protos,
                                 const Region& r, int anchor, int v) {
  const Level* level = level_of(plan, levels, anchor);
  const float* coefficients = level->mc + static_cast<long long>(anchor - level->first) * level->step;
  const long long plane = static_cast<long long>(plan->protos_h) * plan->protos_w;
  const int width = r.u2 - r.u1 + 1, rows = min(v + plan->bands, r.v2) - v + 1;
  bool sound = true;
  for (int i = static_cast<int>(threadIdx.x); i < rows * width; i += static_cast<int>(blockDim.x)) {
    const float* from = protos + static_cast<long long>(v + i / width) * plan->protos_w + r.u1 + i % width;
    float sum = 0;
    for (int m = 0; m < plan->coefficients; ++m) sum += coefficients[m * level->plane] * from[m * plane];
    values[i] = sum;
    sound = sound && is_finite(sum);
  }
  return sound;
}

LINESIDE_KERNEL void masks(const Plan* plan, const Level* levels, const float* protos, const int* across_table,
                           const int* down_table, const int* items, int* places, Header* header, int write) {
  extern __shared__ float values[];
  __shared__ int counts[kRows];
  const int thread = static_cast<int>(threadIdx.x), count = places_taken(header), mode = header->masks;
  const int total = count ? items[count] : 0;
  const Axis across = axis_of(across_table, plan->image_w, plan->protos_w, mode);
  const Axis down = axis_of(down_table, plan->image_h, plan->protos_h, mode);
  const Record* records = records_of(header);
  unsigned* const out = reinterpret_cast<unsigned*>(records_of(header) + count);
  for (int item = static_cast<int>(blockIdx.x); item < total; item += static_cast<int>(gridDim.x)) {
    const int k = detection_of(items, count, item);
    const Region r = region_of(records[k], plan, across, down, mode);
    const int v = r.v1 + (item - items[k]) * plan->bands, width = r.u2 - r.u1 + 1;
    __syncthreads();  // nobody reads the values of the item before any more
    if (!fill_values(values, plan, levels, protos, r, records[k].anchor, v)) atomicOr(&header->broken, 1);
    __syncthreads();
    const int begin = max(down.first[v], r.y1), end = min(down.first[min(v + plan->bands, plan->protos_h)], r.y2);
    int before = write ? places[item] : 0;
    for (int y = begin; y < end; y += kRows) {
      const bool mine = y + thread < end;
      const float share = mine ? down.weight[y + thread] : 0.0f;
      const int cell = mine ? down.cell[y + thread] - v : 0;
      const float* upper = values + cell * width;
      const float* lower = values + min(cell + 1, r.v2 - v) * width;
      unsigned* words = nullptr;
      for (int pass = 0; pass <= write; ++pass) {  // first the counts, and with them where each row begins
        const int found = !mine       ? 0
                          : mode == 1 ? native_row(upper, lower, share, r, across, plan->pixels_per_cell, words)
                                      : proto_row(upper, r, across, words);
        if (pass) break;
        counts[thread] = found;
        __syncthreads();
        words = out + before;
        for (int i = 0; i < thread; ++i) words += counts[i];
        for (int i = 0; i < kRows; ++i) before += counts[i];
        __syncthreads();
      }
    }
    if (!write && thread == 0) places[item] = before;
  }
}

LINESIDE_KERNEL void offsets(const Plan* plan, const int* items, int* places, Header* header) {
  __shared__ long long sums[kPlace];
  const int thread = static_cast<int>(threadIdx.x), count = places_taken(header), total = count ? items[count] : 0;
  const int share = (total + kPlace - 1) / kPlace, begin = min(thread * share, total), end = min(begin + share, total);
  long long sum = 0;
  for (int i = begin; i < end; ++i) sum += places[i];
  sums[thread] = sum;
  __syncthreads();
  long long before = 0, words = 0;
  for (int i = 0; i < kPlace; ++i) {
    before += i < thread ? sums[i] : 0;
    words += sums[i];
  }
  const bool fits = words <= plan->words;
  for (int i = begin; i < end; ++i) {
    const int own = places[i];
    places[i] = static_cast<int>(before);
    before += own;
  }
  __syncthreads();
  Record* records = records_of(header);
  for (int k = thread; fits && k < count; k += kPlace) {
    const int first = items[k] < total ? places[items[k]] : static_cast<int>(words);
    const int next = items[k + 1] < total ? places[items[k + 1]] : static_cast<int>(words);
    records[k].words = next - first;
  }
  if (thread == 0) {
    header->words = fits ? static_cast<int>(words) : 0;
    if (!fits) atomicOr(&header->beyond, 2);
  }
}
