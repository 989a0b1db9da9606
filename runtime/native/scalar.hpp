// Small number helpers that give the same bits on every machine.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

namespace lineside {

inline uint32_t bits_of(float x) {
  uint32_t u;
  std::memcpy(&u, &x, sizeof u);
  return u;
}

inline float float_of(uint32_t u) {
  float x;
  std::memcpy(&x, &u, sizeof x);
  return x;
}

// True when one of n values is NaN or infinite: integers compare where floats would lose a NaN.
inline bool any_non_finite(const float* values, int64_t n) {
  int32_t top = 0;
  for (int64_t i = 0; i < n; ++i) top = std::max(top, static_cast<int32_t>(bits_of(values[i]) & 0x7fffffffu));
  return top >= 0x7f800000;
}

// The score of a logit: the sigmoid in double precision, rounded once to float32.
inline float sigmoid(float logit) { return static_cast<float>(1.0 / (1.0 + std::exp(-static_cast<double>(logit)))); }

// e^x for x <= 0 to about one unit in the last place; NaN stays NaN. Plain arithmetic, so that a loop over it becomes
// vector code: x = n ln2 + r with |r| <= ln2 / 2, e^r by its Taylor series to the 7th power, 2^n by its exponent bits.
inline float exp_negative(float x) {
  x = std::max(x, -87.0f);
  const float shifter = 12582912.0f;  // 1.5 * 2^23: adding it leaves the rounded integer in the low bits
  const float shifted = x * 1.44269504f + shifter;
  const float n = shifted - shifter;
  const float r = (x - n * 0.693359375f) - n * -2.12194440e-4f;
  float p = 1.0f / 5040;
  p = p * r + 1.0f / 720;
  p = p * r + 1.0f / 120;
  p = p * r + 1.0f / 24;
  p = p * r + 1.0f / 6;
  p = p * r + 0.5f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  return p * float_of((bits_of(shifted) + 127u) << 23);
}

}  // namespace lineside
