// What the kernels of a frame share: the blocks of memory that the host writes and reads (parameters.py, tables.py and
// results.py describe the same ones), and the little that more than one kernel computes.
#pragma once

#include "portable.cuh"

// What may differ from frame to frame, so that a captured graph serves all of them.
struct FrameParameters {
  long long plane[3];  // addresses: of a packed picture the first; else luma, U, V
  long long row[3];    // bytes from row to row of each plane
  long long step[3];   // bytes from value to value (from pixel to pixel of a packed picture)
  long long channel;   // bytes from channel to channel of a packed picture; 0: grey
  float conf;
  float floor;  // what a raw class value must exceed, so that its score exceeds conf
  float iou;
  int max_det;
  int masks;  // 0 none, 1 native, 2 proto
  int agnostic;
};

// What a model and a picture size fix.
struct Plan {
  int kind;  // 0 levels, 1 flat, 2 end2end
  int classes, coefficients, reg_max;
  int levels, anchors, blocks;  // blocks: of kScan anchors
  int detections, words;        // places for detections, and for words of masks
  int image_h, image_w;
  int protos_h, protos_w;
  int last_u, last_v;  // the last prototype column and row that the picture covers
  int bands;           // of a detection's mask that a block solves together
  int left, top;
  float scale_x, scale_y;
  float pixels_per_cell;
};

// Where the values of a level lie: value c of anchor j at base[c * plane + j * step].
struct Level {
  const float *box, *cls, *mc;
  long long plane;
  int step, first;  // first: the number of its first anchor
  int columns;
  float stride;
};

struct Record {
  float x1, y1, x2, y2, score;
  int cls, anchor;
  int words;  // of its mask
};

// The begin of the result; records follow it, and after them the words of the masks.
struct Header {
  int detections, candidates, words;
  int error, value;  // the first anchor that breaks the contract, times 4, plus how; a value of it
  int beyond;        // 1: more detections than places; 2: more words than places
  int broken;        // a mask holds NaN or infinity
  int masks;
};

constexpr int kScan = 256;            // anchors of a block
constexpr int kSound = 0x7fffffff;    // no error
constexpr int kBadScore = 0, kBadClass = 1, kBadBox = 2;

LINESIDE_DEVICE bool is_finite(float value) { return (__float_as_int(value) & 0x7fffffff) < 0x7f800000; }

// The level that an anchor belongs to.
LINESIDE_DEVICE const Level* level_of(const Plan* plan, const Level* levels, int anchor) {
  int level = 0;
  while (level + 1 < plan->levels && anchor >= levels[level + 1].first) ++level;
  return levels + level;
}
