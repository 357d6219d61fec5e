// The kernels of `bitscan-gpu` as functions of the host, for `cuda_on_host.py`.
#include "cuda_on_host.h"
#include "nearest.cu"

#define LAUNCH(name, call) \
  extern "C" void launch_##name(const unsigned* grid, unsigned threads, unsigned shared, void** given) { \
    cuda_on_host_launch(grid, threads, shared, [=] { call; }); \
  }
#define GIVEN(type, i) (*static_cast<type*>(given[i]))

LAUNCH(filter_count, filter_count(GIVEN(Search, 0)))
LAUNCH(filter_weighted, filter_weighted(GIVEN(Search, 0), GIVEN(u32, 1)))
LAUNCH(filter_weighted_long, filter_weighted_long(GIVEN(Search, 0), GIVEN(u32, 1)))
LAUNCH(settle, settle(GIVEN(Search, 0), GIVEN(u32, 1)))
LAUNCH(settle_many, settle_many(GIVEN(Search, 0), GIVEN(u32, 1)))
LAUNCH(start, start(GIVEN(Search, 0), GIVEN(u32, 1)))
LAUNCH(tabulate, tabulate(GIVEN(const int*, 0), GIVEN(u32*, 1), GIVEN(u32, 2), GIVEN(u32, 3)))
LAUNCH(pack, pack(GIVEN(Pack, 0)))
LAUNCH(transpose, transpose(GIVEN(const u32*, 0), GIVEN(u32*, 1), GIVEN(u32, 2)))

extern "C" void reverse_threads(int reversed) { cuda_on_host_reversed = reversed; }
