// Sixteen pixels at a time from luma and chroma to BGR, for SSSE3 and NEON: the same sums of whole numbers as the plain
// loop in yuv.cpp.
#pragma once

#include <cstdint>

#include "lanes.hpp"
#include "yuv.hpp"

#if LINESIDE_SIMD

namespace lineside {
namespace lanes {

#if defined(__SSSE3__)

// Eight U and eight V, less 128.
struct Chroma {
  __m128i u, v;
};

// Sixteen values of each channel, 8 bits each.
struct Bgr {
  __m128i blue, green, red;
};

// Terms of one channel for sixteen pixels, 32 bits each.
struct Terms {
  __m128i four[4];
};

// There is no fast product of 32-bit numbers here, but one of pairs of 16-bit numbers with their sum. So a factor is
// split into low + high * 2^shift, and each value lies beside itself times 2^shift.
inline __m128i split(int factor, int shift) {
  const int high = factor >> shift, low = factor - high * (1 << shift);
  return _mm_set1_epi32(static_cast<int>(static_cast<std::uint32_t>(low) | static_cast<std::uint32_t>(high) << 16));
}

constexpr int kLumaSplit = 7, kChromaSplit = 8;  // 255 * 2^7 and -128 * 2^8 are just within 16 bits

struct YuvFactors {
  __m128i black, luma, v_red, u_green, v_green, u_blue;

  explicit YuvFactors(const YuvRule& rule)
      : black(_mm_set1_epi8(static_cast<char>(rule.black))),
        luma(split(rule.luma, kLumaSplit)),
        v_red(split(rule.v_red, kChromaSplit)),
        u_green(split(rule.u_green, kChromaSplit)),
        v_green(split(rule.v_green, kChromaSplit)),
        u_blue(split(rule.u_blue, kChromaSplit)) {}
};

// Eight U and V that alternate; reads 16 bytes.
inline Chroma chroma_alternating(const std::uint8_t* at) {
  const __m128i both = _mm_loadu_si128(reinterpret_cast<const __m128i*>(at)), middle = _mm_set1_epi16(128);
  return {_mm_sub_epi16(_mm_and_si128(both, _mm_set1_epi16(255)), middle),
          _mm_sub_epi16(_mm_srli_epi16(both, 8), middle)};
}

// Eight U and eight V of a plane each; reads 8 bytes of both.
inline Chroma chroma_apart(const std::uint8_t* u, const std::uint8_t* v) {
  const auto eight = [](const std::uint8_t* at) {
    const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(at));
    return _mm_sub_epi16(_mm_unpacklo_epi8(bytes, _mm_setzero_si128()), _mm_set1_epi16(128));
  };
  return {eight(u), eight(v)};
}

// Values 0 to 3 and 4 to 7 of eight, each beside itself shifted.
template <int shift>
struct Pairs {
  __m128i first, second;

  explicit Pairs(__m128i eight)
      : first(_mm_unpacklo_epi16(eight, _mm_slli_epi16(eight, shift))),
        second(_mm_unpackhi_epi16(eight, _mm_slli_epi16(eight, shift))) {}
};

inline Terms luma_terms(const std::uint8_t* at, const YuvFactors& factors) {
  const __m128i bytes = _mm_subs_epu8(_mm_loadu_si128(reinterpret_cast<const __m128i*>(at)), factors.black);
  const Pairs<kLumaSplit> low(_mm_unpacklo_epi8(bytes, _mm_setzero_si128()));
  const Pairs<kLumaSplit> high(_mm_unpackhi_epi8(bytes, _mm_setzero_si128()));
  const auto term = [&](__m128i pairs) {
    return _mm_add_epi32(_mm_madd_epi16(pairs, factors.luma), _mm_set1_epi32(1 << (kYuvShift - 1)));
  };
  return {{term(low.first), term(low.second), term(high.first), term(high.second)}};
}

// Eight terms, each for two pixels that are neighbours.
inline Terms doubled(__m128i first, __m128i second) {
  return {{_mm_unpacklo_epi32(first, first), _mm_unpackhi_epi32(first, first), _mm_unpacklo_epi32(second, second),
           _mm_unpackhi_epi32(second, second)}};
}

inline __m128i channel(const Terms& luma, const Terms& chroma) {
  const auto value = [&](int i) { return _mm_srai_epi32(_mm_add_epi32(luma.four[i], chroma.four[i]), kYuvShift); };
  return _mm_packus_epi16(_mm_packs_epi32(value(0), value(1)), _mm_packs_epi32(value(2), value(3)));
}

// Sixteen pixels; reads 16 bytes of luma.
inline Bgr to_bgr(const std::uint8_t* luma_at, const Chroma& chroma, const YuvFactors& factors) {
  const Terms luma = luma_terms(luma_at, factors);
  const Pairs<kChromaSplit> u(chroma.u), v(chroma.v);
  const auto green = [&](__m128i us, __m128i vs) {
    return _mm_add_epi32(_mm_madd_epi16(us, factors.u_green), _mm_madd_epi16(vs, factors.v_green));
  };
  return {channel(luma, doubled(_mm_madd_epi16(u.first, factors.u_blue), _mm_madd_epi16(u.second, factors.u_blue))),
          channel(luma, doubled(green(u.first, v.first), green(u.second, v.second))),
          channel(luma, doubled(_mm_madd_epi16(v.first, factors.v_red), _mm_madd_epi16(v.second, factors.v_red)))};
}

// Stores sixteen pixels, `step` bytes each: 48 or 64 bytes.
template <int step>
inline void store_bgr(const Bgr& pixels, std::uint8_t* out) {
  const __m128i zero = _mm_setzero_si128();
  const __m128i left = _mm_unpacklo_epi8(pixels.blue, pixels.green), right = _mm_unpackhi_epi8(pixels.blue, pixels.green);
  const __m128i left_red = _mm_unpacklo_epi8(pixels.red, zero), right_red = _mm_unpackhi_epi8(pixels.red, zero);
  const __m128i four[4] = {_mm_unpacklo_epi16(left, left_red), _mm_unpackhi_epi16(left, left_red),
                           _mm_unpacklo_epi16(right, right_red), _mm_unpackhi_epi16(right, right_red)};
  __m128i* const to = reinterpret_cast<__m128i*>(out);
  if (step == 4) {
    for (int i = 0; i < 4; ++i) _mm_storeu_si128(to + i, four[i]);
    return;
  }
  const __m128i closer = _mm_setr_epi8(0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14, -1, -1, -1, -1);
  __m128i twelve[4];  // bytes
  for (int i = 0; i < 4; ++i) twelve[i] = _mm_shuffle_epi8(four[i], closer);
  _mm_storeu_si128(to, _mm_or_si128(twelve[0], _mm_slli_si128(twelve[1], 12)));
  _mm_storeu_si128(to + 1, _mm_or_si128(_mm_srli_si128(twelve[1], 4), _mm_slli_si128(twelve[2], 8)));
  _mm_storeu_si128(to + 2, _mm_or_si128(_mm_srli_si128(twelve[2], 8), _mm_slli_si128(twelve[3], 4)));
}

#else

// Eight U and eight V, less 128.
struct Chroma {
  int16x8_t u, v;
};

// Sixteen values of each channel, 8 bits each.
struct Bgr {
  uint8x16_t blue, green, red;
};

// Terms of one channel for sixteen pixels, 32 bits each.
struct Terms {
  int32x4_t four[4];
};

struct YuvFactors {
  uint8x16_t black;
  int luma, v_red, u_green, v_green, u_blue;

  explicit YuvFactors(const YuvRule& rule)
      : black(vdupq_n_u8(static_cast<std::uint8_t>(rule.black))),
        luma(rule.luma),
        v_red(rule.v_red),
        u_green(rule.u_green),
        v_green(rule.v_green),
        u_blue(rule.u_blue) {}
};

inline int16x8_t centred(uint8x8_t bytes) {
  return vsubq_s16(vreinterpretq_s16_u16(vmovl_u8(bytes)), vdupq_n_s16(128));
}

// Eight U and V that alternate; reads 16 bytes.
inline Chroma chroma_alternating(const std::uint8_t* at) {
  const uint8x8x2_t both = vld2_u8(at);
  return {centred(both.val[0]), centred(both.val[1])};
}

// Eight U and eight V of a plane each; reads 8 bytes of both.
inline Chroma chroma_apart(const std::uint8_t* u, const std::uint8_t* v) {
  return {centred(vld1_u8(u)), centred(vld1_u8(v))};
}

inline Terms luma_terms(const std::uint8_t* at, const YuvFactors& factors) {
  const uint8x16_t bytes = vqsubq_u8(vld1q_u8(at), factors.black);
  const uint16x8_t low = vmovl_u8(vget_low_u8(bytes)), high = vmovl_high_u8(bytes);
  const auto term = [&](uint32x4_t values) {
    return vmlaq_n_s32(vdupq_n_s32(1 << (kYuvShift - 1)), vreinterpretq_s32_u32(values), factors.luma);
  };
  return {{term(vmovl_u16(vget_low_u16(low))), term(vmovl_high_u16(low)), term(vmovl_u16(vget_low_u16(high))),
           term(vmovl_high_u16(high))}};
}

// Eight terms, each for two pixels that are neighbours.
inline Terms doubled(int32x4_t first, int32x4_t second) {
  return {{vzip1q_s32(first, first), vzip2q_s32(first, first), vzip1q_s32(second, second), vzip2q_s32(second, second)}};
}

inline uint8x16_t channel(const Terms& luma, const Terms& chroma) {
  const auto value = [&](int i) { return vmovn_s32(vshrq_n_s32(vaddq_s32(luma.four[i], chroma.four[i]), kYuvShift)); };
  return vcombine_u8(vqmovun_s16(vcombine_s16(value(0), value(1))), vqmovun_s16(vcombine_s16(value(2), value(3))));
}

// Sixteen pixels; reads 16 bytes of luma.
inline Bgr to_bgr(const std::uint8_t* luma_at, const Chroma& chroma, const YuvFactors& factors) {
  const Terms luma = luma_terms(luma_at, factors);
  const int32x4_t u[2] = {vmovl_s16(vget_low_s16(chroma.u)), vmovl_high_s16(chroma.u)};
  const int32x4_t v[2] = {vmovl_s16(vget_low_s16(chroma.v)), vmovl_high_s16(chroma.v)};
  const auto green = [&](int i) { return vmlaq_n_s32(vmulq_n_s32(u[i], factors.u_green), v[i], factors.v_green); };
  return {channel(luma, doubled(vmulq_n_s32(u[0], factors.u_blue), vmulq_n_s32(u[1], factors.u_blue))),
          channel(luma, doubled(green(0), green(1))),
          channel(luma, doubled(vmulq_n_s32(v[0], factors.v_red), vmulq_n_s32(v[1], factors.v_red)))};
}

// Stores sixteen pixels, `step` bytes each: 48 or 64 bytes.
template <int step>
inline void store_bgr(const Bgr& pixels, std::uint8_t* out) {
  if (step == 4) {
    vst4q_u8(out, uint8x16x4_t{{pixels.blue, pixels.green, pixels.red, vdupq_n_u8(0)}});
  } else {
    vst3q_u8(out, uint8x16x3_t{{pixels.blue, pixels.green, pixels.red}});
  }
}

#endif

}  // namespace lanes
}  // namespace lineside

#endif
