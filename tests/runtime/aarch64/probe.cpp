// Runs the native core on pictures and outputs from a fixed generator and prints a hash of the bits of each answer:
// two machines agree when they print the same.
#include <cmath>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "decoder.hpp"
#include "letterbox.hpp"
#include "spans.hpp"
#include "yuv.hpp"

using namespace lineside;

static uint64_t state = 88172645463325252ull;

static uint32_t next() {  // xorshift64
  state ^= state << 13;
  state ^= state >> 7;
  state ^= state << 17;
  return static_cast<uint32_t>(state >> 16);
}

static float uniform(float low, float high) { return low + (high - low) * static_cast<float>(next() % 65536) / 65536.0f; }

static uint64_t hash(const void* data, size_t bytes, uint64_t h = 1469598103934665603ull) {  // FNV-1a
  const auto* p = static_cast<const unsigned char*>(data);
  for (size_t i = 0; i < bytes; ++i) h = (h ^ p[i]) * 1099511628211ull;
  return h;
}

template <typename T>
static uint64_t hash(const std::vector<T>& values) {
  return hash(values.data(), values.size() * sizeof(T));
}

static int round_half_even(double x) { return static_cast<int>(std::nearbyint(x)); }

static LetterboxGeometry fit(int image_h, int image_w, int input_h, int input_w) {
  const double s = std::min(static_cast<double>(input_w) / image_w, static_cast<double>(input_h) / image_h);
  const int h = std::max(1, round_half_even(image_h * s)), w = std::max(1, round_half_even(image_w * s));
  return {image_h, image_w, h, w, input_h, input_w, (input_w - w) / 2, (input_h - h) / 2};
}

static void letterboxes() {
  const int inputs[][2] = {{256, 256}, {640, 640}, {320, 512}};
  for (int trial = 0; trial < 36; ++trial) {
    const int* input = inputs[trial % 3];
    const int h = 1 + next() % (trial < 24 ? 900 : 40), w = 1 + next() % (trial < 24 ? 1400 : 40);
    const int channels = trial % 4 == 3 ? 1 : 3;
    std::vector<uint8_t> pixels(static_cast<size_t>(h) * w * channels);
    for (auto& pixel : pixels) pixel = static_cast<uint8_t>(next());
    const Resampler resampler(fit(h, w, input[0], input[1]));
    std::vector<float> out(3ull * input[0] * input[1], -1.0f);
    resampler.fill_padding(out.data());
    resampler.run({pixels.data(), static_cast<ptrdiff_t>(w) * channels, channels, channels == 3 ? 1 : 0}, out.data());
    std::printf("letterbox %dx%dx%d to %dx%d %016llx\n", h, w, channels, input[0], input[1],
                static_cast<unsigned long long>(hash(out)));
  }
}

// Both formats, all rules, sides that are odd: as pixels, and into an input.
static void yuv_pictures() {
  for (int trial = 0; trial < 32; ++trial) {
    const int h = 1 + next() % (trial < 20 ? 500 : 20), w = 1 + next() % (trial < 20 ? 900 : 40);
    const int rows = (h + 1) / 2, columns = (w + 1) / 2, step = trial % 2 ? 2 : 1;
    std::vector<uint8_t> luma(static_cast<size_t>(h) * w), chroma(2ull * rows * columns), bgr(3ull * h * w);
    for (auto& value : luma) value = static_cast<uint8_t>(next());
    for (auto& value : chroma) value = static_cast<uint8_t>(next());
    const uint8_t* const v = chroma.data() + (step == 2 ? 1 : static_cast<ptrdiff_t>(rows) * columns);
    const ptrdiff_t row = static_cast<ptrdiff_t>(step) * columns;
    const YuvView picture{luma.data(), chroma.data(), v, w, 1, row, step, row, step, h, w};
    const YuvRule& rule = yuv_rule(trial % 4 > 1, trial % 8 > 3);
    for (int y = 0; y < h; ++y) yuv_row(picture, rule, y, 3, bgr.data() + 3ull * y * w);
    const Resampler resampler(fit(h, w, 320, 512));
    std::vector<uint8_t> memory(resampler.row_bytes());
    std::vector<float> out(3ull * 320 * 512, -1.0f);
    resampler.run(picture, rule, out.data(), memory.data());
    std::printf("yuv %dx%d pixels %016llx input %016llx\n", h, w, static_cast<unsigned long long>(hash(bgr)),
                static_cast<unsigned long long>(hash(out)));
  }
}

static std::vector<float> noise(size_t count, float low, float high) {
  std::vector<float> values(count);
  for (auto& value : values) value = uniform(low, high);
  return values;
}

static void masks_of(const Found& found, const Placement& placement) {
  for (size_t i = 0; i + 1 < found.offsets.size(); ++i) {
    const auto* first = reinterpret_cast<const Span*>(found.spans.data()) + found.offsets[i];
    const SpanView spans{first, found.offsets[i + 1] - found.offsets[i]};
    const std::string rle = rle_of(spans, placement.image_h, placement.image_w);
    uint64_t contours = 0;
    for (const auto& contour : contours_of(spans)) contours ^= hash(contour);
    std::printf("  mask %lld px rle %016llx contours %016llx\n", static_cast<long long>(area_of(spans)),
                static_cast<unsigned long long>(hash(rle.data(), rle.size())), static_cast<unsigned long long>(contours));
  }
}

static void decodes() {
  const int size = 128, classes = 3, count = 8;
  const HeadLayout head{HeadKind::levels, classes, count, size, size, {8, 16, 32}, 16};
  for (int trial = 0; trial < 6; ++trial) {
    std::vector<std::vector<float>> storage;
    std::vector<Tensor> outputs;
    const auto add = [&](int channels, int side, float low, float high) {
      storage.push_back(noise(static_cast<size_t>(channels) * side * side, low, high));
      outputs.push_back({nullptr, {1, channels, side, side}});
    };
    for (int stride : head.strides) {
      add(4 * head.reg_max, size / stride, -3, 3);
      add(classes, size / stride, -6, 1);
      add(count, size / stride, -1, 1);
    }
    add(count, size / 4, -1, 1);
    for (size_t i = 0; i < outputs.size(); ++i) outputs[i].data = storage[i].data();
    const int image_h = 90 + next() % 600, image_w = 90 + next() % 600;  // one after the other, unlike two arguments
    const LetterboxGeometry g = fit(image_h, image_w, size, size);
    const Placement placement{g.image_h, g.image_w, static_cast<double>(g.content_w) / g.image_w,
                              static_cast<double>(g.content_h) / g.image_h, g.left, g.top, g.content_h, g.content_w};
    Decoder decoder(head);
    const MaskMode mode = trial % 2 ? MaskMode::proto : MaskMode::native;
    const Found& found = decoder.run(outputs, placement, {0.3f, 0.5f, 30, false, mode});
    std::printf("decode %zu boxes %016llx scores %016llx classes %016llx anchors %016llx\n", found.scores.size(),
                static_cast<unsigned long long>(hash(found.boxes)), static_cast<unsigned long long>(hash(found.scores)),
                static_cast<unsigned long long>(hash(found.classes)), static_cast<unsigned long long>(hash(found.anchors)));
    masks_of(found, placement);
  }
}

int main() {
  letterboxes();
  yuv_pictures();
  decodes();
}
