// What every kernel includes: one source for NVRTC, for nvcc, and for g++ with the processor in the place of the GPU.
//
// A kernel is  LINESIDE_KERNEL void name(const float* in, float* out, int count) { ... }  and takes pointers, int and
// float only. Both sides give the same bits, because neither fuses a multiplication with an addition (NVRTC --fmad=false,
// g++ -ffp-contract=off), and division and square root are IEEE's on both. What differs and must be avoided: expf, logf
// and their kind (each library rounds its own way), the cast of a float beyond the range of int (use __float2int_rz, which
// saturates), and long, which is as wide as the host wants it.
//
//   half                            16 bits of storage: no arithmetic
//   to_float(x)                     float of a half or of a float
//   from_float<T>(x)                T is half or float; to half it rounds to nearest even
//   LINESIDE_DEVICE                 in front of a function that kernels call
//   extern __shared__ float a[];    dynamic shared memory: one such line in a kernel, any type
#pragma once

#if defined(__CUDACC__) || defined(__CUDACC_RTC__)

#define LINESIDE_KERNEL extern "C" __global__
#define LINESIDE_DEVICE static __device__ __forceinline__

#ifdef __CUDACC_RTC__
typedef signed char int8_t;
typedef unsigned char uint8_t;
typedef short int16_t;
typedef unsigned short uint16_t;
typedef int int32_t;
typedef unsigned int uint32_t;
#else
#include <cstdint>
#endif

struct half {
  unsigned short bits;
};

LINESIDE_DEVICE float to_float(half value) {
  float result;
  asm("cvt.f32.f16 %0, %1;" : "=f"(result) : "h"(value.bits));
  return result;
}

LINESIDE_DEVICE half to_half(float value) {
  half result;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(result.bits) : "f"(value));
  return result;
}

#else

#include "host_side.cuh"

#endif

LINESIDE_DEVICE float to_float(float value) { return value; }

LINESIDE_DEVICE float lineside_from(float value, const float*) { return value; }
LINESIDE_DEVICE half lineside_from(float value, const half*) { return to_half(value); }

template <typename T>
LINESIDE_DEVICE T from_float(float value) {
  return lineside_from(value, static_cast<const T*>(nullptr));
}
