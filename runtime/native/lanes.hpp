// Four pixels at a time: the few vector operations of the letterbox, for SSSE3 (x86-64-v2) and NEON (aarch64).
//
// Every operation is exact integer arithmetic followed by one float multiplication, so each form gives the same
// bits as the plain loops in letterbox.cpp, which do all the work where neither instruction set is there.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#if defined(LINESIDE_NO_SIMD)
#define LINESIDE_SIMD 0
#elif defined(__SSSE3__)
#define LINESIDE_SIMD 1
#include <tmmintrin.h>
#elif defined(__ARM_NEON) && defined(__aarch64__)
#define LINESIDE_SIMD 1
#include <arm_neon.h>
#else
#define LINESIDE_SIMD 0
#endif

namespace lineside {

// Factor from a pixel value to an element of the input tensor.
constexpr float kPixelScale = 1.0f / 255.0f;

// Weights of the left and the right source column of one output column, as pairs: {256 - w, w} four times.
struct alignas(16) ColumnWeights {
  std::uint16_t pairs[8];
};

namespace lanes {

inline std::uint64_t load8(const std::uint8_t* at) {
  std::uint64_t value;
  std::memcpy(&value, at, sizeof value);
  return value;
}

inline std::uint32_t load4(const std::uint8_t* at) {
  std::uint32_t value;
  std::memcpy(&value, at, sizeof value);
  return value;
}

inline std::uint32_t load2(const std::uint8_t* at) {
  std::uint16_t value;
  std::memcpy(&value, at, sizeof value);
  return value;
}

// Asks for a byte that is needed soon.
inline void prefetch(const std::uint8_t* at) { __builtin_prefetch(at); }

#if LINESIDE_SIMD && defined(__SSSE3__)

// Four weighted sums, each 2^16 times a pixel value less 2^23: what signed multiplication leaves behind.
using Sums = __m128i;

// Weights of the two source rows, and how the bytes of two neighbouring pixels of both rows are paired.
// A weight has to fit in a byte: where the lower row counts nothing, both rows are the same one, weighted 128.
struct Blender {
  __m128i weights, pairing;

  Blender(int lower, int pixel_step) {
    const int low = lower ? lower : 128;
    weights = _mm_set1_epi16(static_cast<short>((256 - low) | (low << 8)));
    const auto p = static_cast<char>(pixel_step);
    const auto q = static_cast<char>(p + 8);
    const char none = -1;
    pairing = _mm_setr_epi8(0, 8, p, q, 1, 9, static_cast<char>(p + 1), static_cast<char>(q + 1), 2, 10,
                            static_cast<char>(p + 2), static_cast<char>(q + 2), none, none, none, none);
  }
};

inline __m128i blend_rows(__m128i paired, __m128i weights) {
  return _mm_maddubs_epi16(weights, _mm_xor_si128(paired, _mm_set1_epi8(-128)));
}

// The three channels of one output pixel; reads 8 bytes of each row.
inline Sums blend(const std::uint8_t* top, const std::uint8_t* bottom, const Blender& rows,
                  const ColumnWeights& column) {
  const __m128i both = _mm_set_epi64x(static_cast<long long>(load8(bottom)), static_cast<long long>(load8(top)));
  const __m128i lines = blend_rows(_mm_shuffle_epi8(both, rows.pairing), rows.weights);
  return _mm_madd_epi16(lines, _mm_load_si128(reinterpret_cast<const __m128i*>(column.pairs)));
}

// Four grey output pixels; reads 2 bytes of each row per pixel.
inline Sums blend_grey(const std::uint8_t* top, const std::uint8_t* bottom, const std::int32_t* index,
                       const Blender& rows, const ColumnWeights* columns) {
  const auto both = [&](int i) { return static_cast<int>(load2(top + index[i]) | load2(bottom + index[i]) << 16); };
  const __m128i pixels = _mm_setr_epi32(both(0), both(1), both(2), both(3));
  const __m128i pairing = _mm_setr_epi8(0, 2, 1, 3, 4, 6, 5, 7, 8, 10, 9, 11, 12, 14, 13, 15);
  const __m128i lines = blend_rows(_mm_shuffle_epi8(pixels, pairing), rows.weights);
  const auto weights = [&](int i) { return static_cast<int>(columns[i].pairs[0] | columns[i].pairs[1] << 16); };
  return _mm_madd_epi16(lines, _mm_setr_epi32(weights(0), weights(1), weights(2), weights(3)));
}

inline void store_scaled(__m128i pixels, float* out) {
  _mm_storeu_ps(out, _mm_mul_ps(_mm_cvtepi32_ps(pixels), _mm_set1_ps(kPixelScale)));
}

// Rounds four sums of one channel to pixels and stores them scaled.
inline void store_plane(Sums sums, float* out) {
  store_scaled(_mm_srli_epi32(_mm_add_epi32(sums, _mm_set1_epi32((1 << 23) + (1 << 15))), 16), out);
}

// Stores four pixels, each the sums of three channels, into three planes.
inline void store_planes(const Sums (&pixel)[4], float* const (&plane)[3], std::ptrdiff_t at) {
  const __m128i first = _mm_unpacklo_epi32(pixel[0], pixel[1]), second = _mm_unpacklo_epi32(pixel[2], pixel[3]);
  const __m128i third = _mm_unpackhi_epi32(pixel[0], pixel[1]), fourth = _mm_unpackhi_epi32(pixel[2], pixel[3]);
  store_plane(_mm_unpacklo_epi64(first, second), plane[0] + at);
  store_plane(_mm_unpackhi_epi64(first, second), plane[1] + at);
  store_plane(_mm_unpacklo_epi64(third, fourth), plane[2] + at);
}

// Stores four source pixels as they are into three planes; reads 4 bytes of each.
inline void store_samples(const std::uint8_t* a, const std::uint8_t* b, const std::uint8_t* c, const std::uint8_t* d,
                          float* const (&plane)[3], std::ptrdiff_t at) {
  const __m128i pixels = _mm_setr_epi32(static_cast<int>(load4(a)), static_cast<int>(load4(b)),
                                        static_cast<int>(load4(c)), static_cast<int>(load4(d)));
  const __m128i byte = _mm_set1_epi32(255);
  store_scaled(_mm_and_si128(pixels, byte), plane[0] + at);
  store_scaled(_mm_and_si128(_mm_srli_epi32(pixels, 8), byte), plane[1] + at);
  store_scaled(_mm_and_si128(_mm_srli_epi32(pixels, 16), byte), plane[2] + at);
}

#elif LINESIDE_SIMD

// Four weighted sums, each 2^16 times a pixel value.
using Sums = uint32x4_t;

// Weights of the two source rows, and where the second of two neighbouring pixels starts.
struct Blender {
  uint8x8_t upper, lower;
  uint8x16_t right;

  Blender(int low, int pixel_step) {
    const int fitting = low ? low : 128;  // see the other form: with weight 0 both rows are the same one
    upper = vdup_n_u8(static_cast<std::uint8_t>(256 - fitting));
    lower = vdup_n_u8(static_cast<std::uint8_t>(fitting));
    std::uint8_t bytes[16] = {};
    for (int i = 0; i < 6; ++i) bytes[i] = static_cast<std::uint8_t>(2 * pixel_step + i);
    right = vld1q_u8(bytes);
  }
};

inline uint16x8_t blend_rows(uint8x8_t top, uint8x8_t bottom, const Blender& rows) {
  return vmlal_u8(vmull_u8(top, rows.upper), bottom, rows.lower);
}

// The three channels of one output pixel; reads 8 bytes of each row.
inline Sums blend(const std::uint8_t* top, const std::uint8_t* bottom, const Blender& rows,
                  const ColumnWeights& column) {
  const uint16x8_t lines = blend_rows(vld1_u8(top), vld1_u8(bottom), rows);
  const uint16x4_t right = vreinterpret_u16_u8(vget_low_u8(vqtbl1q_u8(vreinterpretq_u8_u16(lines), rows.right)));
  return vmlal_n_u16(vmull_n_u16(vget_low_u16(lines), column.pairs[0]), right, column.pairs[1]);
}

// Four grey output pixels; reads 2 bytes of each row per pixel.
inline Sums blend_grey(const std::uint8_t* top, const std::uint8_t* bottom, const std::int32_t* index,
                       const Blender& rows, const ColumnWeights* columns) {
  const auto four = [&](const std::uint8_t* row) {
    std::uint64_t bytes = 0;
    for (int i = 0; i < 4; ++i) bytes |= static_cast<std::uint64_t>(load2(row + index[i])) << (16 * i);
    return vcreate_u8(bytes);
  };
  const uint16x8_t lines = blend_rows(four(top), four(bottom), rows);
  std::uint16_t pairs[8];
  for (int i = 0; i < 4; ++i) std::memcpy(pairs + 2 * i, columns[i].pairs, 4);
  const uint16x8_t weights = vld1q_u16(pairs);
  return vpaddq_u32(vmull_u16(vget_low_u16(lines), vget_low_u16(weights)), vmull_high_u16(lines, weights));
}

inline void store_scaled(uint32x4_t pixels, float* out) {
  vst1q_f32(out, vmulq_n_f32(vcvtq_f32_u32(pixels), kPixelScale));
}

// Rounds four sums of one channel to pixels and stores them scaled.
inline void store_plane(Sums sums, float* out) { store_scaled(vrshrq_n_u32(sums, 16), out); }

// Stores four pixels, each the sums of three channels, into three planes.
inline void store_planes(const Sums (&pixel)[4], float* const (&plane)[3], std::ptrdiff_t at) {
  const auto pair = [](uint32x4_t a, uint32x4_t b) { return vreinterpretq_u64_u32(vzip1q_u32(a, b)); };
  const auto rest = [](uint32x4_t a, uint32x4_t b) { return vreinterpretq_u64_u32(vzip2q_u32(a, b)); };
  const uint64x2_t first = pair(pixel[0], pixel[1]), second = pair(pixel[2], pixel[3]);
  store_plane(vreinterpretq_u32_u64(vzip1q_u64(first, second)), plane[0] + at);
  store_plane(vreinterpretq_u32_u64(vzip2q_u64(first, second)), plane[1] + at);
  store_plane(vreinterpretq_u32_u64(vzip1q_u64(rest(pixel[0], pixel[1]), rest(pixel[2], pixel[3]))), plane[2] + at);
}

// Stores four source pixels as they are into three planes; reads 4 bytes of each.
inline void store_samples(const std::uint8_t* a, const std::uint8_t* b, const std::uint8_t* c, const std::uint8_t* d,
                          float* const (&plane)[3], std::ptrdiff_t at) {
  const std::uint32_t values[4] = {load4(a), load4(b), load4(c), load4(d)};
  const uint32x4_t pixels = vld1q_u32(values), byte = vdupq_n_u32(255);
  store_scaled(vandq_u32(pixels, byte), plane[0] + at);
  store_scaled(vandq_u32(vshrq_n_u32(pixels, 8), byte), plane[1] + at);
  store_scaled(vandq_u32(vshrq_n_u32(pixels, 16), byte), plane[2] + at);
}

#endif

}  // namespace lanes
}  // namespace lineside
