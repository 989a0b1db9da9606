// Threads that leave before a barrier while the others go on to it, and barriers with a vote.
#include "portable.cuh"

LINESIDE_KERNEL void early(int* out, int stay) {
  const int thread = threadIdx.x;
  if (thread >= stay) {
    out[thread] = -1;
    return;
  }
  __shared__ int board[1024];
  board[thread] = thread;
  const int odd = __syncthreads_count(thread & 1);
  const int any = __syncthreads_or(thread == stay - 1);
  const int none = __syncthreads_or(0);
  if (thread % 3 == 0) {  // a third of them leaves at a later barrier
    out[thread] = -2;
    return;
  }
  __syncthreads();
  out[thread] = board[stay - 1 - thread] + 10000 * odd + 100000000 * (any != 0) + 200000000 * (none != 0);
}
