// Runs the threads of a block on one thread of the processor: each has a stack of its own and runs until it returns or
// comes to a barrier, where the next one goes on. A switch costs some nanoseconds where a real thread costs microseconds,
// and a kernel without barriers is a plain loop. The order is fixed, so a race does not show here: host_threads.cuh with
// ThreadSanitizer finds those.
#pragma once

#include <setjmp.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <ucontext.h>

static uint3 threadIdx, blockIdx;
static dim3 blockDim, gridDim;

namespace lineside_host {

constexpr size_t kStack = 128 << 10, kGuard = 16 << 10;

struct Fibre {
  jmp_buf here;
  char* stack;
  uint3 place;  // of the thread whose turn it is when it goes on
  int vote;     // what that thread brings to the barrier
  bool started;
};

struct Block {
  jmp_buf scheduler;
  void (*begin)();
  unsigned threads, next;  // of the block; the first that has not begun
  uint3 place;             // and where that one is
  Fibre* running;
  bool waits;  // why the fibre came back: at a barrier, or with nothing left to do
  int votes;  // that were not 0 at the last barrier
};

static Block block;
static Fibre fibres[1024];

// Where a fibre begins: one thread after the other, for as long as none waits; after a wait, nothing new. The body is
// known here, so that for a kernel without barriers this becomes the loop that one would write.
template <void (*Body)()>
static void run_threads() {
  for (;;) {
    while (block.next < block.threads) {
      ++block.next;
      block.running->place = threadIdx = block.place;
      if (++block.place.x == blockDim.x) {
        block.place.x = 0;
        if (++block.place.y == blockDim.y) {
          block.place.y = 0;
          ++block.place.z;
        }
      }
      Body();
    }
    block.waits = false;
    if (!_setjmp(block.running->here)) _longjmp(block.scheduler, 1);
  }
}

static bool begin(Fibre& fibre) {
  if (fibre.started) return true;
  if (!fibre.stack) {
    const int kind = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    void* memory = mmap(nullptr, kGuard + kStack, PROT_READ | PROT_WRITE, kind, -1, 0);
    if (memory == MAP_FAILED) return false;
    mprotect(memory, kGuard, PROT_NONE);
    fibre.stack = static_cast<char*>(memory);
  }
  return true;
}

// Lets a fibre run until it waits or is through.
static __attribute__((noinline)) void resume(Fibre* fibre) {
  block.running = fibre;
  if (_setjmp(block.scheduler)) return;
  if (fibre->started) {
    threadIdx = fibre->place;
    _longjmp(fibre->here, 1);
  }
  fibre->started = true;
  ucontext_t context;
  getcontext(&context);
  context.uc_stack.ss_sp = fibre->stack + kGuard;
  context.uc_stack.ss_size = kStack;
  context.uc_link = nullptr;
  makecontext(&context, block.begin, 0);
  setcontext(&context);
}

static __attribute__((noinline)) void wait(int vote) {
  Fibre* mine = block.running;
  mine->vote = vote;
  block.waits = true;
  if (!_setjmp(mine->here)) _longjmp(block.scheduler, 1);
}

// Runs one block; false when there is no memory for its stacks.
template <void (*Body)()>
static bool run_block(unsigned threads) {
  block.begin = run_threads<Body>;
  block.threads = threads;
  block.next = 0;
  block.place = {0, 0, 0};
  unsigned waiting = 0;  // fibres 0 to waiting-1 stand at the barrier
  while (block.next < threads) {
    if (!begin(fibres[waiting])) {
      for (Fibre& fibre : fibres) fibre.started = false;  // what the others were at is forgotten
      return false;
    }
    resume(&fibres[waiting]);
    if (block.waits) ++waiting;
  }
  while (waiting) {  // all that have not returned are here: the barrier opens
    block.votes = 0;
    for (unsigned i = 0; i < waiting; ++i) block.votes += fibres[i].vote != 0;
    unsigned still = 0;
    for (unsigned i = 0; i < waiting; ++i) {
      resume(&fibres[i]);
      if (!block.waits) continue;
      if (i != still) {
        const Fibre through = fibres[still];
        fibres[still] = fibres[i];
        fibres[i] = through;
      }
      ++still;
    }
    waiting = still;
  }
  return true;
}

}  // namespace lineside_host

static inline void __syncthreads() { lineside_host::wait(0); }
static inline int __syncthreads_or(int vote) {
  lineside_host::wait(vote);
  return lineside_host::block.votes != 0;
}
static inline int __syncthreads_count(int vote) {
  lineside_host::wait(vote);
  return lineside_host::block.votes;
}
