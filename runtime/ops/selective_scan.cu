// The selective scan: a block has one channel of one picture, and solves THREADS steps at once.
//
// A step maps a state h to a * h + x. Two steps behind each other are a step again, (a, x) then (b, y) being
// (a * b, b * x + y), so that all beginnings of a stretch are found in log2(THREADS) rounds, each of which doubles how far
// a thread looks back. The state at the end of a stretch goes into the next one. Neighbouring threads have neighbouring
// steps, which is how the tensors lie in memory.
//
// Macros: STATES, THREADS, SOFTPLUS, BIAS, SKIP, GATE, LAST, LINESIDE_HALF.
#include "portable.cuh"

#if LINESIDE_HALF
typedef half number;
#else
typedef float number;
#endif

// From 20 on softplus is the value itself to float32, and exp might overflow.
LINESIDE_DEVICE float step_size(float delta) {
#if SOFTPLUS
  return delta > 20.0f ? delta : log1pf(expf(delta));
#else
  return delta;
#endif
}

LINESIDE_KERNEL void selective_scan(const number* u, const number* delta, const float* A, const number* B,
                                    const number* C,
#if BIAS
                                    const float* delta_bias,
#endif
#if SKIP
                                    const float* D,
#endif
#if GATE
                                    const number* z,
#endif
                                    int channels, int groups, int length, number* y
#if LAST
                                    ,
                                    float* last_state
#endif
) {
  __shared__ float factors[THREADS], sums[THREADS], carried[STATES];

  const int thread = threadIdx.x;
  const int channel = blockIdx.x % channels, image = blockIdx.x / channels;
  const int group = channel / (channels / groups);
  const size_t row = (size_t)blockIdx.x * length;
  const size_t shared_row = ((size_t)image * groups + group) * STATES * length;

  for (int state = thread; state < STATES; state += THREADS) carried[state] = 0.0f;
  __syncthreads();

  for (int start = 0; start < length; start += THREADS) {
    const int step = start + thread, count = length - start < THREADS ? length - start : THREADS;
    const bool there = step < length;
    float input = 0.0f, dt = 0.0f, total = 0.0f;
    if (there) {
      input = to_float(u[row + step]);
      dt = to_float(delta[row + step]);
#if BIAS
      dt += delta_bias[channel];
#endif
      dt = step_size(dt);
    }
    for (int state = 0; state < STATES; ++state) {
      const size_t place = shared_row + (size_t)state * length + step;
      // A thread beyond the end leaves a state as it is.
      float factor = there ? expf(dt * A[channel * STATES + state]) : 1.0f;
      float sum = there ? dt * input * to_float(B[place]) : 0.0f;
      for (int reach = 1; reach < THREADS; reach *= 2) {
        factors[thread] = factor;
        sums[thread] = sum;
        __syncthreads();
        if (thread >= reach) {
          sum += factor * sums[thread - reach];
          factor *= factors[thread - reach];
        }
        __syncthreads();
      }
      const float reached = factor * carried[state] + sum;
      if (there) total += to_float(C[place]) * reached;
      __syncthreads();  // Everybody has read what was carried.
      if (thread == count - 1) carried[state] = reached;
      __syncthreads();
    }
    if (there) {
#if SKIP
      total += D[channel] * input;
#endif
#if GATE
      const float gate = to_float(z[row + step]);
      total *= gate / (1.0f + expf(-gate));
#endif
      y[row + step] = from_float<number>(total);
    }
  }
#if LAST
  for (int state = thread; state < STATES; state += THREADS) {
    last_state[(size_t)blockIdx.x * STATES + state] = carried[state];
  }
#endif
}
