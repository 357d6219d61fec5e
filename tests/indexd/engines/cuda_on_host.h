// Runs a CUDA kernel's own source on the host: every CUDA thread of a block is a context of its own, which runs until
// it comes to a barrier. Threads run in the order of their numbers or in the reverse (`cuda_on_host_reversed`): what
// one thread reads before another has written it, without a barrier between them, shows as a difference between both.
#include <ucontext.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

using std::max;
using std::min;

struct uint2 {
  unsigned x, y;
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};
struct Dim3 {
  unsigned x = 0, y = 0, z = 0;
};

static thread_local Dim3 threadIdx, blockIdx, blockDim, gridDim;
static int cuda_on_host_reversed = 0;

#define __device__
#define __global__
#define __grid_constant__
#define __launch_bounds__(...)
// Blocks run one after the other, so that what a block shares may be static.
#define __shared__ static
#define __ldg(address) (*(address))

alignas(16) static unsigned char cuda_on_host_dynamic[1 << 18];
#define DYNAMIC_SHARED(type, name) type* name = reinterpret_cast<type*>(cuda_on_host_dynamic)

static inline int __popc(unsigned x) { return __builtin_popcount(x); }
static inline float __int_as_float(int x) {
  float y;
  std::memcpy(&y, &x, sizeof y);
  return y;
}
template <class T>
static inline T atomicAdd(T* address, T value) {
  T old = *address;
  *address = old + value;
  return old;
}

enum class State { kReady, kAtWarp, kAtBlock, kDone };

// One block at a time: contexts that run in turn, each until it waits for its warp or for all.
class Block {
 public:
  template <class Kernel>
  void run(unsigned n_threads, Kernel kernel) {
    call_ = [](void* it) { (*static_cast<Kernel*>(it))(); };
    kernel_ = &kernel;
    while (stacks_.size() < n_threads) stacks_.push_back(std::unique_ptr<char[]>(new char[kStack]));
    contexts_.resize(n_threads);
    states_.assign(n_threads, State::kReady);
    slots_.assign(n_threads, 0);
    any_ = next_any_ = 0;
    for (unsigned i = 0; i < n_threads; i++) {
      getcontext(&contexts_[i]);
      contexts_[i].uc_stack.ss_sp = stacks_[i].get();
      contexts_[i].uc_stack.ss_size = kStack;
      contexts_[i].uc_link = &home_;
      makecontext(&contexts_[i], &Block::enter, 0);
    }
    while (step(n_threads)) {
    }
  }

  void wait_for_warp() { wait(State::kAtWarp); }
  void wait_for_block() { wait(State::kAtBlock); }

  int wait_for_any(int holds) {
    next_any_ |= holds != 0;
    wait_for_block();
    return any_;
  }

  // What every thread of the warp brings, once all have brought it.
  const unsigned* shown_to_warp(unsigned value) {
    slots_[current_] = value;
    wait_for_warp();
    return &slots_[current_ / kWarp * kWarp];
  }

  static constexpr unsigned kWarp = 32;

 private:
  static constexpr size_t kStack = 64 * 1024;
  static void enter();

  void wait(State state) {
    states_[current_] = state;
    swapcontext(&contexts_[current_], &home_);
  }

  // Runs every thread that may go on; false when all have ended.
  bool step(unsigned n_threads) {
    bool ran = false;
    for (unsigned i = 0; i < n_threads; i++) {
      current_ = cuda_on_host_reversed ? n_threads - 1 - i : i;
      if (states_[current_] != State::kReady) continue;
      ran = true;
      threadIdx.x = current_;
      states_[current_] = State::kDone;
      swapcontext(&home_, &contexts_[current_]);
    }
    for (unsigned begin = 0; begin < n_threads; begin += kWarp) {
      const auto first = states_.begin() + begin, last = states_.begin() + std::min(begin + kWarp, n_threads);
      if (std::all_of(first, last, [](State state) { return state == State::kAtWarp; })) {
        std::fill(first, last, State::kReady);
        ran = true;
      }
    }
    if (std::all_of(states_.begin(), states_.end(), [](State state) { return state == State::kAtBlock; })) {
      std::fill(states_.begin(), states_.end(), State::kReady);
      any_ = next_any_;
      next_any_ = 0;
      ran = true;
    }
    const bool over = std::all_of(states_.begin(), states_.end(), [](State state) { return state == State::kDone; });
    // A barrier that some threads never come to hangs a device.
    if (!ran && !over) std::abort();
    return !over;
  }

  ucontext_t home_;
  std::vector<ucontext_t> contexts_;
  std::vector<std::unique_ptr<char[]>> stacks_;
  std::vector<State> states_;
  std::vector<unsigned> slots_;
  unsigned current_ = 0;
  int any_ = 0, next_any_ = 0;
  void (*call_)(void*) = nullptr;
  void* kernel_ = nullptr;
};

static Block cuda_on_host_block;
void Block::enter() { cuda_on_host_block.call_(cuda_on_host_block.kernel_); }

static inline void __syncthreads() { cuda_on_host_block.wait_for_block(); }
static inline int __syncthreads_or(int holds) { return cuda_on_host_block.wait_for_any(holds); }
static inline void __syncwarp() { cuda_on_host_block.wait_for_warp(); }

// Collectives of whole warps; they wait twice, so that nobody brings the next value before all have read this one.
static inline unsigned __ballot_sync(unsigned, bool holds) {
  const unsigned* shown = cuda_on_host_block.shown_to_warp(holds);
  unsigned lanes = 0;
  for (unsigned i = 0; i < Block::kWarp; i++) lanes |= shown[i] << i;
  __syncwarp();
  return lanes;
}
static inline unsigned __reduce_min_sync(unsigned, unsigned value) {
  const unsigned* shown = cuda_on_host_block.shown_to_warp(value);
  const unsigned least = *std::min_element(shown, shown + Block::kWarp);
  __syncwarp();
  return least;
}

template <class Kernel>
static void cuda_on_host_launch(const unsigned* grid, unsigned n_threads, unsigned shared_bytes, Kernel kernel) {
  gridDim = {grid[0], grid[1], grid[2]};
  blockDim = {n_threads, 1, 1};
  for (blockIdx.z = 0; blockIdx.z < grid[2]; blockIdx.z++)
    for (blockIdx.y = 0; blockIdx.y < grid[1]; blockIdx.y++)
      for (blockIdx.x = 0; blockIdx.x < grid[0]; blockIdx.x++) {
        std::memset(cuda_on_host_dynamic, 0xA5, shared_bytes);
        cuda_on_host_block.run(n_threads, kernel);
      }
}
