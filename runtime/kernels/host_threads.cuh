// Runs every thread of a block on a thread of the processor, with a real barrier: as freely ordered as on a GPU, so that
// ThreadSanitizer sees what is not ordered. Slow; blocks run one after the other.
#pragma once

#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifdef __SANITIZE_THREAD__
// With these, ThreadSanitizer does not take the end of a block and the start of the next for an order between them.
extern "C" void AnnotateIgnoreSyncBegin(const char* file, int line);
extern "C" void AnnotateIgnoreSyncEnd(const char* file, int line);
#else
static inline void AnnotateIgnoreSyncBegin(const char*, int) {}
static inline void AnnotateIgnoreSyncEnd(const char*, int) {}
#endif

static thread_local uint3 threadIdx, blockIdx;
static dim3 blockDim, gridDim;

namespace lineside_host {

// A barrier at which threads that have returned count as arrived. No lock, because whoever takes one after another thread
// is ordered behind it, and ThreadSanitizer would miss what the barrier alone does not order.
class Barrier {
 public:
  void reset(unsigned threads) {
    __atomic_store_n(&state_, threads, __ATOMIC_RELEASE);
    __atomic_store_n(&votes_, 0, __ATOMIC_RELEASE);
  }

  int wait(int vote) {
    if (vote) __atomic_fetch_add(&votes_, 1, __ATOMIC_RELAXED);
    const int mine = __atomic_load_n(&generation_, __ATOMIC_RELAXED);
    if (complete(__atomic_add_fetch(&state_, kArrived, __ATOMIC_ACQ_REL))) {
      open();
    } else {
      while (__atomic_load_n(&generation_, __ATOMIC_ACQUIRE) == mine) futex(FUTEX_WAIT_PRIVATE, mine);
    }
    return result_;  // the next barrier opens only after every thread has come there, and has read this
  }

  void leave() {
    if (complete(__atomic_sub_fetch(&state_, 1, __ATOMIC_ACQ_REL))) open();
  }

 private:
  static constexpr uint64_t kArrived = uint64_t{1} << 32;  // above the number of threads, that of those that wait

  static bool complete(uint64_t state) { return state >> 32 && state >> 32 == (state & 0xffffffffu); }

  void open() {  // by the last to come, while all others wait
    result_ = __atomic_exchange_n(&votes_, 0, __ATOMIC_RELAXED);
    __atomic_fetch_and(&state_, kArrived - 1, __ATOMIC_RELAXED);
    __atomic_fetch_add(&generation_, 1, __ATOMIC_RELEASE);
    futex(FUTEX_WAKE_PRIVATE, INT_MAX);
  }

  void futex(int what, int value) { syscall(SYS_futex, &generation_, what, value, nullptr, nullptr, 0); }

  uint64_t state_ = 0;
  int generation_ = 0, votes_ = 0, result_ = 0;
};

struct Slot {
  unsigned thread;
  uint3 block;
  void (*body)();
};

static Barrier barrier;
static Slot slots[1024];
static pthread_t running[1024];
static int begun;  // what was written before the first block is seen by all of them

static void* run_slot(void* given) {
  __atomic_load_n(&begun, __ATOMIC_ACQUIRE);
  const Slot* slot = static_cast<const Slot*>(given);
  const unsigned row = slot->thread / blockDim.x;
  threadIdx = {slot->thread % blockDim.x, row % blockDim.y, row / blockDim.y};
  blockIdx = slot->block;
  slot->body();
  barrier.leave();
  return nullptr;
}

template <void (*Body)()>
static bool run_block(unsigned threads) {
  static const bool unordered = getenv("LINESIDE_BLOCKS_UNORDERED") && *getenv("LINESIDE_BLOCKS_UNORDERED");
  if (!begun || !unordered) __atomic_store_n(&begun, 1, __ATOMIC_RELEASE);
  if (unordered) AnnotateIgnoreSyncBegin(__FILE__, __LINE__);
  barrier.reset(threads);
  unsigned made = 0;
  for (; made < threads; ++made) {
    slots[made] = {made, blockIdx, Body};
    if (pthread_create(&running[made], nullptr, run_slot, &slots[made])) break;
  }
  for (unsigned lacking = made; lacking < threads; ++lacking) barrier.leave();  // let the others end
  for (unsigned thread = 0; thread < made; ++thread) pthread_join(running[thread], nullptr);
  if (unordered) AnnotateIgnoreSyncEnd(__FILE__, __LINE__);
  return made == threads;
}

}  // namespace lineside_host

static inline void __syncthreads() { lineside_host::barrier.wait(0); }
static inline int __syncthreads_or(int vote) { return lineside_host::barrier.wait(vote) != 0; }
static inline int __syncthreads_count(int vote) { return lineside_host::barrier.wait(vote); }
