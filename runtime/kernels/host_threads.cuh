// Runs every thread of a block on a thread of the processor, with a real barrier: as freely ordered as on a GPU, so that
// ThreadSanitizer sees what is not ordered. Slow; blocks run one after the other.
#pragma once

#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

static thread_local uint3 threadIdx, blockIdx;
static dim3 blockDim, gridDim;

namespace lineside_host {

// A barrier at which threads that have returned count as arrived.
class Barrier {
 public:
  void reset(unsigned threads) {
    live_ = threads;
    arrived_ = votes_ = 0;
  }

  int wait(int vote) {
    std::unique_lock<std::mutex> lock(mutex_);
    votes_ += vote != 0;
    const unsigned mine = generation_;
    if (++arrived_ == live_) open();
    changed_.wait(lock, [&] { return generation_ != mine; });
    return result_;  // the next barrier opens only after every thread has come here
  }

  void leave() {
    std::lock_guard<std::mutex> lock(mutex_);
    if (--live_ && arrived_ == live_) open();
  }

 private:
  void open() {
    result_ = votes_;
    arrived_ = votes_ = 0;
    ++generation_;
    changed_.notify_all();
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  unsigned live_ = 0, arrived_ = 0, generation_ = 0;
  int votes_ = 0, result_ = 0;
};

static Barrier barrier;

static bool run_block(void (*body)(), unsigned threads) {
  const uint3 here = blockIdx;
  barrier.reset(threads);
  std::vector<std::thread> all;
  for (unsigned thread = 0; thread < threads; ++thread) {
    all.emplace_back([=] {
      const unsigned row = thread / blockDim.x;
      threadIdx = {thread % blockDim.x, row % blockDim.y, row / blockDim.y};
      blockIdx = here;
      body();
      barrier.leave();
    });
  }
  for (std::thread& one : all) one.join();
  return true;
}

}  // namespace lineside_host

static inline void __syncthreads() { lineside_host::barrier.wait(0); }
static inline int __syncthreads_or(int vote) { return lineside_host::barrier.wait(vote) != 0; }
static inline int __syncthreads_count(int vote) { return lineside_host::barrier.wait(vote); }
