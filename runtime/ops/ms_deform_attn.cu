// Multi-scale deformable attention: a thread has one channel of one head of one query.
//
// The channels of a head lie beside each other in value and output, and so do their threads: what they read of a pixel
// is one piece of memory, and place and weight come to all of them at once. Places and sums are float32 in any case.
//
// Macros: LEVELS, LINESIDE_HALF.
#include "portable.cuh"

#if LINESIDE_HALF
typedef half number;
#else
typedef float number;
#endif

// A pixel of one channel of a map, and zero outside of it.
LINESIDE_DEVICE float pixel(const number* map, size_t step, int height, int width, int y, int x) {
  if (y < 0 || y >= height || x < 0 || x >= width) return 0.0f;
  return to_float(map[((size_t)y * width + x) * step]);
}

// A channel of a map at a fractional place, in pixels from the centre of the first one.
LINESIDE_DEVICE float bilinear(const number* map, size_t step, int height, int width, float y, float x) {
  // Beyond this no corner lies in the map; a place that is no number goes here too.
  if (!(y > -1.0f && y < (float)height && x > -1.0f && x < (float)width)) return 0.0f;
  const float above = floorf(y), before = floorf(x);
  const int top = (int)above, left = (int)before;
  const float dy = y - above, dx = x - before;
  const float upper = pixel(map, step, height, width, top, left) * (1.0f - dx) +
                      pixel(map, step, height, width, top, left + 1) * dx;
  const float lower = pixel(map, step, height, width, top + 1, left) * (1.0f - dx) +
                      pixel(map, step, height, width, top + 1, left + 1) * dx;
  return upper * (1.0f - dy) + lower * dy;
}

LINESIDE_KERNEL void ms_deform_attn(const number* value, const int* spatial_shapes, const int* level_start_index,
                                    const float* sampling_locations, const number* attention_weights, int batch,
                                    int pixels, int heads, int channels, int queries, int points, number* output) {
  const size_t index = (size_t)blockIdx.x * blockDim.x + threadIdx.x;
  const size_t per_image = (size_t)queries * heads * channels;
  if (index >= batch * per_image) return;

  const int channel = (int)(index % channels), head = (int)(index / channels % heads);
  const size_t image = index / per_image, asked = index / channels;  // asked: query and head, over all images
  const size_t step = (size_t)heads * channels;
  const number* maps = value + image * pixels * step + (size_t)head * channels + channel;
  const float* place = sampling_locations + asked * LEVELS * points * 2;
  const number* weight = attention_weights + asked * LEVELS * points;

  float sum = 0.0f;
  for (int level = 0; level < LEVELS; ++level) {
    const int height = spatial_shapes[2 * level], width = spatial_shapes[2 * level + 1];
    const number* map = maps + level_start_index[level] * step;
    for (int point = 0; point < points; ++point, place += 2, ++weight) {
      const float x = place[0], y = place[1];
      // Zero, or no number where a place is none: a broken model must show.
      const float doubt = (x - x) + (y - y);
      const float sample = bilinear(map, step, height, width, y * (float)height - 0.5f, x * (float)width - 0.5f);
      sum += (to_float(*weight) + doubt) * sample + doubt;
    }
  }
  output[index] = from_float<number>(sum);
}
