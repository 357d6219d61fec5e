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

class Block {
 public:
  template <class Kernel>
  void run(unsigned n_threads, Kernel kernel) {
    call_ = [](void* it) { (*static_cast<Kernel*>(it))(); };
    kernel_ = &kernel;
    if (contexts_.size() < n_threads) {
      contexts_.resize(n_threads);
      while (stacks_.size() < n_threads) stacks_.push_back(std::unique_ptr<char[]>(new char[kStack]));
    }
    done_.assign(n_threads, false);
    for (unsigned i = 0; i < n_threads; i++) {
      getcontext(&contexts_[i]);
      contexts_[i].uc_stack.ss_sp = stacks_[i].get();
      contexts_[i].uc_stack.ss_size = kStack;
      contexts_[i].uc_link = &home_;
      makecontext(&contexts_[i], &Block::enter, 0);
    }
    unsigned left = n_threads;
    while (left) {
      unsigned waiting = 0;
      next_any_ = 0;
      for (unsigned step = 0; step < n_threads; step++) {
        current_ = cuda_on_host_reversed ? n_threads - 1 - step : step;
        if (done_[current_]) continue;
        threadIdx.x = current_;
        arrived_ = false;
        swapcontext(&home_, &contexts_[current_]);
        if (arrived_) {
          waiting++;
        } else {
          done_[current_] = true;
          left--;
        }
      }
      // A barrier that some threads of a block never come to hangs a device.
      if (waiting && waiting != n_threads) std::abort();
      any_ = next_any_;
    }
  }

  void wait() {
    arrived_ = true;
    swapcontext(&contexts_[current_], &home_);
  }

  int wait_any(int holds) {
    next_any_ |= holds != 0;
    wait();
    return any_;
  }

 private:
  static constexpr size_t kStack = 64 * 1024;
  static void enter();

  ucontext_t home_;
  std::vector<ucontext_t> contexts_;
  std::vector<std::unique_ptr<char[]>> stacks_;
  std::vector<bool> done_;
  unsigned current_ = 0;
  bool arrived_ = false;
  int any_ = 0, next_any_ = 0;
  void (*call_)(void*) = nullptr;
  void* kernel_ = nullptr;
};

static Block cuda_on_host_block;
void Block::enter() { cuda_on_host_block.call_(cuda_on_host_block.kernel_); }

static inline void __syncthreads() { cuda_on_host_block.wait(); }
static inline int __syncthreads_or(int holds) { return cuda_on_host_block.wait_any(holds); }

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
