// Reassembly of features: a thread has one pixel of y and up to CHANNELS channels of one group.
//
// The weights of a pixel are read once for all of the thread's channels. Neighbouring threads have neighbouring pixels:
// they write beside each other, and read the same pixels of x or neighbouring ones. Blocks along x of the grid are slices of
// channels of the same pixels, which share the weights, then groups, then pictures; y and z are rows and columns.
//
// Macros: TAPS along each axis, UP, GROUPS, REFLECT (else zeros lie beyond the border), CHANNELS, LINESIDE_HALF.
#include "portable.cuh"

#if LINESIDE_HALF
typedef half number;
#else
typedef float number;
#endif

// The place of a tap along one axis inside the picture, or -1 beyond its border.
LINESIDE_DEVICE int inside(int place, int side) {
#if REFLECT
  place = place < 0 ? -place : place;
  return place < side ? place : 2 * (side - 1) - place;
#else
  return place >= 0 && place < side ? place : -1;
#endif
}

LINESIDE_KERNEL void carafe(const number* x, const number* mask, int channels, int height, int width, number* y) {
  const int column = blockIdx.z * blockDim.x + threadIdx.x, row = blockIdx.y * blockDim.y + threadIdx.y;
  const int out_height = height * UP, out_width = width * UP;
  if (column >= out_width || row >= out_height) return;

  const int members = channels / GROUPS, slices = (members + CHANNELS - 1) / CHANNELS;
  const int slice = blockIdx.x % slices, group = blockIdx.x / slices % GROUPS, image = blockIdx.x / (slices * GROUPS);
  const int first = slice * CHANNELS;
  const int count = members - first < CHANNELS ? members - first : CHANNELS;
  const size_t plane = (size_t)height * width, out_plane = (size_t)out_height * out_width;
  const size_t pixel = (size_t)row * out_width + column;
  const size_t channel = (size_t)image * channels + (size_t)group * members + first;
  const number* source = x + channel * plane;
  const number* weight = mask + ((size_t)image * GROUPS + group) * (TAPS * TAPS) * out_plane + pixel;

  float sum[CHANNELS];
  for (int c = 0; c < CHANNELS; ++c) sum[c] = 0.0f;
  for (int i = 0; i < TAPS; ++i) {
    const int top = inside(row / UP + i - TAPS / 2, height);
    for (int j = 0; j < TAPS; ++j) {
      const int left = inside(column / UP + j - TAPS / 2, width);
      const float factor = to_float(weight[(size_t)(i * TAPS + j) * out_plane]);
      const bool there = top >= 0 && left >= 0;
      const number* place = source + (there ? (size_t)top * width + left : 0);
      for (int c = 0; c < CHANNELS; ++c) {
        // A weight counts beyond the border too: one that is no number makes the pixel none.
        if (c < count) sum[c] += factor * (there ? to_float(place[c * plane]) : 0.0f);
      }
    }
  }
  number* target = y + channel * out_plane + pixel;
  for (int c = 0; c < CHANNELS; ++c) {
    if (c < count) target[c * out_plane] = from_float<number>(sum[c]);
  }
}
