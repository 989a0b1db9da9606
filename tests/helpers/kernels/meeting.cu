// Blocks and threads that write to one place, with and without an atomic.
#include "portable.cuh"

LINESIDE_KERNEL void meeting(unsigned* place, int blocks_meet, int threads_meet) {
  if (threads_meet) {
    place[blockIdx.x + 1] = threadIdx.x;
  } else if (blocks_meet) {
    if (threadIdx.x == 0) place[0] = place[0] + 1;
  } else {
    atomicAdd(place, 1u);
  }
}
