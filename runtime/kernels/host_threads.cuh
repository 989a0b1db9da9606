// Runs every thread of a block on a thread of the processor, with a real barrier: as freely ordered as on a GPU, so that
// ThreadSanitizer sees what is not ordered. Slow; blocks run one after the other.
#pragma once

#include <pthread.h>
#include <stdlib.h>

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

// A barrier at which threads that have returned count as arrived.
class Barrier {
 public:
  void reset(unsigned threads) {
    live_ = threads;
    arrived_ = 0;
    votes_ = 0;
  }

  int wait(int vote) {
    pthread_mutex_lock(&mutex_);
    votes_ += vote != 0;
    const unsigned mine = generation_;
    if (++arrived_ == live_) open();
    while (generation_ == mine) pthread_cond_wait(&changed_, &mutex_);
    const int result = result_;  // the next barrier opens only after every thread has read it here
    pthread_mutex_unlock(&mutex_);
    return result;
  }

  void leave() {
    pthread_mutex_lock(&mutex_);
    if (--live_ && arrived_ == live_) open();
    pthread_mutex_unlock(&mutex_);
  }

 private:
  void open() {
    result_ = votes_;
    arrived_ = 0;
    votes_ = 0;
    ++generation_;
    pthread_cond_broadcast(&changed_);
  }

  pthread_mutex_t mutex_ = PTHREAD_MUTEX_INITIALIZER;
  pthread_cond_t changed_ = PTHREAD_COND_INITIALIZER;
  unsigned live_ = 0, arrived_ = 0, generation_ = 0;
  int votes_ = 0, result_ = 0;
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
