// The letterbox: one thread for each pixel of the input. All arithmetic on pixels is exact and rounded once, as in
// runtime/native/letterbox.cpp, so the same bits come out.
//
// `rows` and `columns` hold, for each row and column of the content, the source coordinate before it times 256, plus the
// weight (0 to 255) of the next one.
#include "frame.cuh"

constexpr float kPixelScale = 1.0f / 255.0f;
constexpr float kPadding = 114.0f * kPixelScale;

LINESIDE_DEVICE int blend(int a, int b, int c, int d, int u, int v) {
  const int upper = a * (256 - u) + b * u, lower = c * (256 - u) + d * u;
  return (upper * (256 - v) + lower * v + 32768) >> 16;
}

// The pixel of the input that a thread writes, if there is one; whether the picture covers it.
struct Place {
  bool inside, covered;
  int x, y;         // within the content
  long long pixel;  // within a plane of the input
};

LINESIDE_DEVICE Place place_of(int content_h, int content_w, int left, int top, int input_h, int input_w) {
  const int x = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  const int y = static_cast<int>(blockIdx.y * blockDim.y + threadIdx.y);
  Place place;
  place.inside = x < input_w && y < input_h;
  place.x = x - left;
  place.y = y - top;
  place.covered = place.x >= 0 && place.x < content_w && place.y >= 0 && place.y < content_h;
  place.pixel = static_cast<long long>(y) * input_w + x;
  return place;
}

LINESIDE_DEVICE void store(float* input, long long pixel, long long plane, float red, float green, float blue) {
  input[pixel] = red;
  input[pixel + plane] = green;
  input[pixel + 2 * plane] = blue;
}

LINESIDE_KERNEL void letterbox_packed(const FrameParameters* parameters, const int* rows, const int* columns, float* input,
                                      int content_h, int content_w, int left, int top, int input_h, int input_w) {
  const Place place = place_of(content_h, content_w, left, top, input_h, input_w);
  if (!place.inside) return;
  const long long plane = static_cast<long long>(input_h) * input_w;
  if (!place.covered) return store(input, place.pixel, plane, kPadding, kPadding, kPadding);
  const int row = rows[place.y], column = columns[place.x], u = column & 255, v = row & 255;
  const unsigned char* at = reinterpret_cast<const unsigned char*>(parameters->plane[0]) +
                            (row >> 8) * parameters->row[0] + (column >> 8) * parameters->step[0];
  const long long right = u ? parameters->step[0] : 0, below = v ? parameters->row[0] : 0;
  const long long channel = parameters->channel;
  float values[3];
  for (int c = 0; c < 3; ++c) {
    if (c && !channel) {
      values[c] = values[0];
      continue;
    }
    const int pixel = blend(at[0], at[right], at[below], at[below + right], u, v);
    values[c] = static_cast<float>(pixel) * kPixelScale;
    at += channel;
  }
  store(input, place.pixel, plane, values[2], values[1], values[0]);
}

// 2^20 times the factors of a matrix and a range: see lineside.runtime.yuv.
struct Rule {
  int black, luma, v_red, u_green, v_green, u_blue;
};

struct Colour {
  int blue, green, red;
};

LINESIDE_DEVICE int clamped(int sum) { return min(max(sum >> 20, 0), 255); }

LINESIDE_DEVICE Colour colour_at(const FrameParameters* p, const Rule& rule, int x, int y) {
  const unsigned char* luma_at = reinterpret_cast<const unsigned char*>(p->plane[0]);
  const unsigned char* u_at = reinterpret_cast<const unsigned char*>(p->plane[1]);
  const unsigned char* v_at = reinterpret_cast<const unsigned char*>(p->plane[2]);
  const int luma = max(luma_at[y * p->row[0] + x * p->step[0]] - rule.black, 0) * rule.luma + (1 << 19);
  const int u = u_at[(y / 2) * p->row[1] + (x / 2) * p->step[1]] - 128;
  const int v = v_at[(y / 2) * p->row[2] + (x / 2) * p->step[2]] - 128;
  return {clamped(luma + rule.u_blue * u), clamped(luma + rule.u_green * u + rule.v_green * v),
          clamped(luma + rule.v_red * v)};
}

LINESIDE_KERNEL void letterbox_yuv(const FrameParameters* parameters, const int* rows, const int* columns, float* input,
                                   int content_h, int content_w, int left, int top, int input_h, int input_w, int black,
                                   int luma, int v_red, int u_green, int v_green, int u_blue) {
  const Place place = place_of(content_h, content_w, left, top, input_h, input_w);
  if (!place.inside) return;
  const long long plane = static_cast<long long>(input_h) * input_w;
  if (!place.covered) return store(input, place.pixel, plane, kPadding, kPadding, kPadding);
  const Rule rule = {black, luma, v_red, u_green, v_green, u_blue};
  const int row = rows[place.y], column = columns[place.x], u = column & 255, v = row & 255;
  const int x = column >> 8, y = row >> 8, right = u ? x + 1 : x, below = v ? y + 1 : y;
  const Colour a = colour_at(parameters, rule, x, y), b = colour_at(parameters, rule, right, y);
  const Colour c = colour_at(parameters, rule, x, below), d = colour_at(parameters, rule, right, below);
  store(input, place.pixel, plane, static_cast<float>(blend(a.red, b.red, c.red, d.red, u, v)) * kPixelScale,
        static_cast<float>(blend(a.green, b.green, c.green, d.green, u, v)) * kPixelScale,
        static_cast<float>(blend(a.blue, b.blue, c.blue, d.blue, u, v)) * kPixelScale);
}
