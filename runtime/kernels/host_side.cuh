// The words of CUDA C for g++: indices, memory spaces, arithmetic, atomics. Who runs the threads of a block is in
// host_fibres.cuh and host_threads.cuh.
#pragma once

#include <math.h>
#include <stdint.h>
#include <string.h>

struct half {
  unsigned short bits;
};

#include "host_words.cuh"

#ifdef LINESIDE_HOST_THREADS
#include "host_threads.cuh"
#else
#include "host_fibres.cuh"
#endif

#include "host_entry.cuh"
