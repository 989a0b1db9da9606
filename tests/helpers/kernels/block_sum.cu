// Sums of blocks by halving: dynamic and static shared memory, a barrier in a loop, threads that leave early.
#include "portable.cuh"

#ifdef WITHOUT_BARRIER
#define BARRIER()
#else
#define BARRIER() __syncthreads()
#endif

LINESIDE_KERNEL void block_sum(const float* __restrict__ in, float* out, int count, float scale) {
  extern __shared__ float part[];
  __shared__ int arrived;
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (threadIdx.x == 0) arrived = 0;
  part[threadIdx.x] = i < count ? in[i] : 0.0f;
  BARRIER();
  atomicAdd(&arrived, 1);
  for (unsigned step = blockDim.x / 2; step; step /= 2) {
    if (threadIdx.x < step) part[threadIdx.x] = part[threadIdx.x] + part[threadIdx.x + step];
    BARRIER();
  }
  if (threadIdx.x) return;
  out[2 * blockIdx.x] = part[0] * scale;
  out[2 * blockIdx.x + 1] = static_cast<float>(arrived);
}
