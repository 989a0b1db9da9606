// Conversions: half to float and back, float to int.
#include "portable.cuh"

template <typename T>
LINESIDE_DEVICE void convert(const T* in, float* out, half* back, int count) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= count) return;
  out[i] = to_float(in[i]);
  back[i] = from_float<half>(to_float(in[i]));
}

LINESIDE_KERNEL void widen(const half* in, float* out, half* back, int count) { convert(in, out, back, count); }

LINESIDE_KERNEL void narrow(const float* in, float* out, half* back, int count) { convert(in, out, back, count); }

LINESIDE_KERNEL void whole(const float* in, int* nearest, int* down, int* towards_zero, int count) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= count) return;
  nearest[i] = __float2int_rn(in[i]);
  down[i] = __float2int_rd(in[i]);
  towards_zero[i] = __float2int_rz(in[i]);
}
