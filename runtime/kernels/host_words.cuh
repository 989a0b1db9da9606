// Words of CUDA C that need no other thread: as the GPU computes them, to the bit.
#pragma once

#define LINESIDE_KERNEL extern "C"
#define LINESIDE_DEVICE static inline
#define __global__
#define __device__
#define __host__
#define __constant__ static const
#define __forceinline__ inline
#define __launch_bounds__(...)
// All of a block's static shared memory lies in one section, so that its size is known and each block finds it unset.
#define __shared__ static __attribute__((section("lineside_shared")))

struct uint3 {
  unsigned x, y, z;
};
typedef uint3 dim3;

struct int2 {
  int x, y;
};
struct alignas(16) int4 {
  int x, y, z, w;
};
struct alignas(8) float2 {
  float x, y;
};
struct alignas(16) float4 {
  float x, y, z, w;
};
struct uchar3 {
  unsigned char x, y, z;
};
struct alignas(4) uchar4 {
  unsigned char x, y, z, w;
};

static inline int2 make_int2(int x, int y) { return {x, y}; }
static inline int4 make_int4(int x, int y, int z, int w) { return {x, y, z, w}; }
static inline float2 make_float2(float x, float y) { return {x, y}; }
static inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
static inline uchar3 make_uchar3(unsigned char x, unsigned char y, unsigned char z) { return {x, y, z}; }
static inline uchar4 make_uchar4(unsigned char x, unsigned char y, unsigned char z, unsigned char w) {
  return {x, y, z, w};
}

template <typename To, typename From>
static inline To lineside_bits(From value) {
  static_assert(sizeof(To) == sizeof(From), "only between types of one size");
  To result;
  memcpy(&result, &value, sizeof result);
  return result;
}

static inline int __float_as_int(float value) { return lineside_bits<int>(value); }
static inline unsigned __float_as_uint(float value) { return lineside_bits<unsigned>(value); }
static inline float __int_as_float(int value) { return lineside_bits<float>(value); }
static inline float __uint_as_float(unsigned value) { return lineside_bits<float>(value); }
static inline long long __double_as_longlong(double value) { return lineside_bits<long long>(value); }
static inline double __longlong_as_double(long long value) { return lineside_bits<double>(value); }

// Numbers: each rounded once, nothing fused but where it says so.
static inline float __fadd_rn(float a, float b) { return a + b; }
static inline float __fsub_rn(float a, float b) { return a - b; }
static inline float __fmul_rn(float a, float b) { return a * b; }
static inline float __fdiv_rn(float a, float b) { return a / b; }
static inline float __fsqrt_rn(float a) { return sqrtf(a); }
static inline float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
static inline double __dadd_rn(double a, double b) { return a + b; }
static inline double __dmul_rn(double a, double b) { return a * b; }
static inline double __ddiv_rn(double a, double b) { return a / b; }
static inline double __fma_rn(double a, double b, double c) { return fma(a, b, c); }
static inline float __int2float_rn(int a) { return static_cast<float>(a); }
static inline float __uint2float_rn(unsigned a) { return static_cast<float>(a); }
static inline float __saturatef(float a) { return a > 0.0f ? (a < 1.0f ? a : 1.0f) : 0.0f; }  // NaN becomes 0

// Float to int saturates on a GPU, and NaN becomes 0.
static inline int lineside_to_int(float whole) {
  if (whole != whole) return 0;
  if (whole >= 2147483648.0f) return 2147483647;
  if (whole < -2147483648.0f) return -2147483647 - 1;
  return static_cast<int>(whole);
}
static inline unsigned lineside_to_uint(float whole) {
  if (!(whole > 0.0f)) return 0;
  return whole >= 4294967296.0f ? 4294967295u : static_cast<unsigned>(whole);
}
static inline int __float2int_rn(float a) { return lineside_to_int(rintf(a)); }
static inline int __float2int_rd(float a) { return lineside_to_int(floorf(a)); }
static inline int __float2int_ru(float a) { return lineside_to_int(ceilf(a)); }
static inline int __float2int_rz(float a) { return lineside_to_int(truncf(a)); }
static inline unsigned __float2uint_rn(float a) { return lineside_to_uint(rintf(a)); }
static inline unsigned __float2uint_rz(float a) { return lineside_to_uint(truncf(a)); }

// The smaller and the larger of two; of a number and NaN, the number.
static inline int min(int a, int b) { return b < a ? b : a; }
static inline int max(int a, int b) { return a < b ? b : a; }
static inline unsigned min(unsigned a, unsigned b) { return b < a ? b : a; }
static inline unsigned max(unsigned a, unsigned b) { return a < b ? b : a; }
static inline long long min(long long a, long long b) { return b < a ? b : a; }
static inline long long max(long long a, long long b) { return a < b ? b : a; }
static inline float min(float a, float b) { return fminf(a, b); }
static inline float max(float a, float b) { return fmaxf(a, b); }
static inline double min(double a, double b) { return fmin(a, b); }
static inline double max(double a, double b) { return fmax(a, b); }

static inline int __popc(unsigned a) { return __builtin_popcount(a); }
static inline int __popcll(unsigned long long a) { return __builtin_popcountll(a); }
static inline int __clz(int a) { return a ? __builtin_clz(static_cast<unsigned>(a)) : 32; }
static inline int __clzll(long long a) { return a ? __builtin_clzll(static_cast<unsigned long long>(a)) : 64; }
static inline int __ffs(int a) { return __builtin_ffs(a); }
static inline int __ffsll(long long a) { return __builtin_ffsll(a); }
template <typename T>
static inline T __ldg(const T* address) {
  return *address;
}

// Half: to nearest even; what is not a number becomes the one that GPUs write.
static inline half to_half(float value) {
  unsigned bits = __float_as_uint(value);
  const unsigned sign = bits >> 16 & 0x8000u;
  bits &= 0x7fffffffu;
  unsigned result;
  if (bits > 0x7f800000u) {
    return {0x7fff};
  } else if (bits >= 0x477ff000u) {  // 65520: from here on infinity is nearer
    result = 0x7c00u;
  } else if (bits < 0x38800000u) {  // below the smallest normal half: in steps of 2^-24, which is also 0.5's last place
    result = __float_as_uint(__uint_as_float(bits) + 0.5f) - 0x3f000000u;
  } else {
    result = (bits + 0xfffu + (bits >> 13 & 1u) - (112u << 23)) >> 13;
  }
  return {static_cast<unsigned short>(sign | result)};
}

static inline float to_float(half value) {
  const unsigned sign = (value.bits & 0x8000u) << 16, exponent = value.bits >> 10 & 31u, fraction = value.bits & 0x3ffu;
  if (exponent == 31) return __uint_as_float(fraction ? 0x7fffffffu : sign | 0x7f800000u);
  if (exponent == 0) {
    const float size = static_cast<float>(fraction) * 5.9604644775390625e-8f;  // 2^-24
    return __uint_as_float(sign | __float_as_uint(size));
  }
  return __uint_as_float(sign | (exponent + 112u) << 23 | fraction << 13);
}

// Atomics: as on the GPU they order nothing but themselves. They return what was there.
template <typename T>
static inline T lineside_replace(T* address, T (*combine)(T, T), T value) {
  T old = __atomic_load_n(address, __ATOMIC_RELAXED);
  while (!__atomic_compare_exchange_n(address, &old, combine(old, value), false, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
  }
  return old;
}
#define LINESIDE_ATOMICS(T)                                                                                      \
  static inline T atomicAdd(T* address, T value) { return __atomic_fetch_add(address, value, __ATOMIC_RELAXED); } \
  static inline T atomicSub(T* address, T value) { return __atomic_fetch_sub(address, value, __ATOMIC_RELAXED); } \
  static inline T atomicOr(T* address, T value) { return __atomic_fetch_or(address, value, __ATOMIC_RELAXED); }   \
  static inline T atomicAnd(T* address, T value) { return __atomic_fetch_and(address, value, __ATOMIC_RELAXED); } \
  static inline T atomicXor(T* address, T value) { return __atomic_fetch_xor(address, value, __ATOMIC_RELAXED); } \
  static inline T atomicExch(T* address, T value) { return __atomic_exchange_n(address, value, __ATOMIC_RELAXED); } \
  static inline T atomicMin(T* address, T value) {                                                              \
    return lineside_replace<T>(address, [](T a, T b) { return b < a ? b : a; }, value);                         \
  }                                                                                                             \
  static inline T atomicMax(T* address, T value) {                                                              \
    return lineside_replace<T>(address, [](T a, T b) { return a < b ? b : a; }, value);                         \
  }                                                                                                             \
  static inline T atomicCAS(T* address, T expected, T value) {                                                  \
    __atomic_compare_exchange_n(address, &expected, value, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);          \
    return expected;                                                                                            \
  }
LINESIDE_ATOMICS(int)
LINESIDE_ATOMICS(unsigned)
LINESIDE_ATOMICS(unsigned long long)
#undef LINESIDE_ATOMICS

static inline void __threadfence() { __atomic_thread_fence(__ATOMIC_SEQ_CST); }
static inline void __threadfence_block() { __atomic_thread_fence(__ATOMIC_SEQ_CST); }
