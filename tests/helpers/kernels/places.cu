// Every thread writes where it is: three axes of blocks and of threads, no barrier; the sum of all by an atomic.
#include "portable.cuh"

LINESIDE_KERNEL void places(int* out, unsigned* total) {
  const unsigned block = (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
  const unsigned thread = (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
  const unsigned place = block * (blockDim.x * blockDim.y * blockDim.z) + thread;
  out[place] = blockIdx.x + 10 * blockIdx.y + 100 * blockIdx.z + 1000 * threadIdx.x + 100000 * threadIdx.y +
               10000000 * threadIdx.z;
  atomicAdd(total, place);
  atomicMax(total + 1, place);
  atomicMin(total + 2, place);
  atomicCAS(total + 3, 7u, place);
}
