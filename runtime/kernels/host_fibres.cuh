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
  unsigned thread;  // whose turn it is when it goes on
  int vote;         // what that thread brings to the barrier
  bool started;
};

struct Block {
  jmp_buf scheduler;
  void (*body)();
  unsigned threads, next;  // of the block; the first that has not begun
  Fibre* running;
  bool waits;  // why the fibre came back: at a barrier, or with nothing left to do
  int any, count;
};

static Block block;
static Fibre fibres[1024];

static inline uint3 place(unsigned thread) {
  const unsigned row = thread / blockDim.x;
  return {thread % blockDim.x, row % blockDim.y, row / blockDim.y};
}

// Where a fibre begins: one thread after the other, for as long as none waits; after a wait, nothing new.
static void run_threads() {
  for (;;) {
    while (block.next < block.threads) {
      Fibre* mine = block.running;
      mine->thread = block.next++;
      threadIdx = place(mine->thread);
      block.body();
    }
    block.waits = false;
    if (!_setjmp(block.running->here)) _longjmp(block.scheduler, 1);
  }
}

static bool begin(Fibre& fibre) {
  if (fibre.started) return true;
  if (!fibre.stack) {
    void* memory = mmap(nullptr, kGuard + kStack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
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
    threadIdx = place(fibre->thread);
    _longjmp(fibre->here, 1);
  }
  fibre->started = true;
  ucontext_t context;
  getcontext(&context);
  context.uc_stack.ss_sp = fibre->stack + kGuard;
  context.uc_stack.ss_size = kStack;
  context.uc_link = nullptr;
  makecontext(&context, run_threads, 0);
  setcontext(&context);
}

static __attribute__((noinline)) void wait(int vote) {
  Fibre* mine = block.running;
  mine->vote = vote;
  block.waits = true;
  if (!_setjmp(mine->here)) _longjmp(block.scheduler, 1);
}

// Runs one block; false when there is no memory for its stacks.
static bool run_block(void (*body)(), unsigned threads) {
  block.body = body;
  block.threads = threads;
  block.next = 0;
  unsigned waiting = 0;  // fibres 0 to waiting-1 stand at the barrier
  while (block.next < threads) {
    if (!begin(fibres[waiting])) return false;
    resume(&fibres[waiting]);
    if (block.waits) ++waiting;
  }
  while (waiting) {  // all that have not returned are here: the barrier opens
    block.any = block.count = 0;
    for (unsigned i = 0; i < waiting; ++i) block.count += fibres[i].vote != 0;
    block.any = block.count != 0;
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
  return lineside_host::block.any;
}
static inline int __syncthreads_count(int vote) {
  lineside_host::wait(vote);
  return lineside_host::block.count;
}
