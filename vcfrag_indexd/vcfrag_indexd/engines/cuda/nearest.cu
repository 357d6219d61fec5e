// The k nearest of all references to every query in every segment, in the full order of `vcfrag_core.nearest`, exactly.
//
// A search is a ladder of passes over ever more of the references: a pass of `filter` and `settle` over evenly spaced
// rows bounds the k-th nearest from above, the next keeps only what is not beyond that bound, and the last sees all
// rows. A bound is a full key (distance, distance over the enclosing segment, hash, row), so that ties, which are the
// rule, do not make lists long. Should a list of the last pass overflow all the same, what it holds bounds the k-th
// again, closer, and the pass is repeated for that pair.
//
//   transpose   a piece of the panel, as the host has it, to words by site and haplotype
//   pack        the observed sites of a context, 32 to a word, for the references: the strip
//   tabulate    costs of five differing bits, where weights differ
//   start       no bounds, empty lists
//   filter      a block: one segment, QUERIES queries, a run of rows; passes on the rows within the bound
//   settle      a warp: one segment, one query; takes the k nearest of what passed: a bound, or the answer
//   settle_many the same for a large k: a block, which sorts
//
// Distances are whole steps. Where all weights are equal bits are counted; else they are looked up. Strips are
// word-major, row_stride words in a row of the array: the threads of a warp read what lies side by side.

#ifndef DYNAMIC_SHARED
#define DYNAMIC_SHARED(type, name) extern __shared__ type name[]
#endif

typedef unsigned int u32;
typedef unsigned long long u64;

enum {
  WARP = 32,
  FILTER_THREADS = 256,
  ROWS = 4,              // of a thread at a time: one 16-byte load
  QUERIES = 8,           // of a block
  PENDING = 512,         // of a warp: fours of rows that wait for a closer look
  GROUP_BITS = 5,        // of a table: 32 entries lie in 32 banks, so that no look-ups collide
  GROUPS = 7,            // of a word
  TILE_WORDS = 32        // of a piece of the panel
};

struct Segment {
  u32 first, last, first_mask, last_mask;                      // strip words and the bits that count
  u32 wide_first, wide_last, wide_first_mask, wide_last_mask;  // of the enclosing segment
  u64 hash;
};

struct Key {
  u64 near, wide, hash;
  u64 row;
};

struct Search {
  const u32* strip;               // (words, row_stride)
  const uint2* queries;           // (words, query_stride) alleles, and bits that count
  const u32* tables;              // (words, GROUPS, 32) costs; not read where bits are counted
  const Segment* segments;        // (G,)
  const u64* keys;                // (R,) tie-breaking
  const int* ids;                 // (R,) panel haplotypes
  const int* excluded;            // rows, ascending for each query
  const int* excluded_starts;     // (Q + 1,)
  u64* limits;                    // (G, query_stride) distances from here on are beyond the bound; 0: nothing is asked
  Key* bounds;                    // (G, query_stride)
  u32* counts;                    // (G, query_stride) rows that passed
  u64* list_near;                 // (G, query_stride, capacity), as are the next three
  u64* list_wide;
  u64* list_hash;
  u32* list_row;
  int* out_ids;                   // (G, Q, K)
  float* out_distances;           // (G, Q, K)
  u32* n_unsettled;               // pairs whose list overflowed in the last pass
  double unit;                    // steps that a distance of 1 stands for
  u32 n_rows, row_stride, n_queries, query_stride, k, capacity;
  u32 stride;                     // every how-manieth four rows belong to this pass; 1 in the last
  u32 quads_per_block;
};

// Sites of the panel that lie in one word, and where they begin in the strip.
struct Piece {
  u32 word, mask, place;
};

struct Pack {
  const u64* tiles;               // addresses of (TILE_WORDS, n_haplotypes) pieces of the panel
  const int* rows;                // (R,) panel haplotypes
  const Piece* pieces;            // ascending; words count from the first of the first tile
  const u32* first_piece;         // (words + 1,) the piece that holds the first bit of every word of the strip
  u32* strip;                     // (words, row_stride)
  u32 n_haplotypes, n_rows, row_stride, n_pieces;
};

__device__ inline u64 mix(u64 x) {
  u64 z = x + 0x9E3779B97F4A7C15ull;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
  return z ^ (z >> 31);
}

__device__ inline bool before(const Key& a, const Key& b) {
  if (a.near != b.near) return a.near < b.near;
  if (a.wide != b.wide) return a.wide < b.wide;
  if (a.hash != b.hash) return a.hash < b.hash;
  return a.row < b.row;
}

__device__ inline u32 border(u32 word, u32 first, u32 last, u32 first_mask, u32 last_mask) {
  return (word == first ? first_mask : ~0u) & (word == last ? last_mask : ~0u);
}

template <bool WEIGHTED>
__device__ inline u32 cost(u32 differs, const u32* table) {
  if (!WEIGHTED) return __popc(differs);
  u32 total = 0;
#pragma unroll
  for (int i = 0; i < GROUPS; i++) total += table[32 * i + (differs >> (GROUP_BITS * i) & 31)];
  return total;
}

__device__ inline bool excluded(const Search& s, u32 query, u32 row) {
  int low = s.excluded_starts[query], high = s.excluded_starts[query + 1];
  while (low < high) {
    int middle = (low + high) >> 1;
    if ((u32)s.excluded[middle] < row) low = middle + 1; else high = middle;
  }
  return low < s.excluded_starts[query + 1] && (u32)s.excluded[low] == row;
}

// Lists a row whose distance is within the bound, unless its full key is beyond it.
__device__ inline void consider(const Search& s, const Segment& segment, size_t pair, u32 query, const Key& bound, Key key) {
  // Most rows tie with the bound and are further away in the enclosing segment.
  if (key.near == bound.near && key.wide > bound.wide) return;
  key.hash = mix(s.keys[key.row] ^ segment.hash);
  if (before(bound, key) || excluded(s, query, (u32)key.row)) return;
  const u32 at = atomicAdd(&s.counts[pair], 1u);
  if (at >= s.capacity) return;
  const size_t place = pair * s.capacity + at;
  s.list_near[place] = key.near;
  s.list_wide[place] = key.wide;
  s.list_hash[place] = key.hash;
  s.list_row[place] = (u32)key.row;
}

// Considers those of four neighbouring rows that are within a query's bound. Their distances over the segment are made
// again along with those over the enclosing one, whose words are asked for several at a time: what a row waits for is
// memory.
template <class Distance, bool WEIGHTED>
__device__ inline void consider_rows(const Search& s, u32 g, u32 query, u32 quad) {
  constexpr u32 AHEAD = WEIGHTED ? 1 : 4;  // more words of look-ups have no room in registers
  const size_t pair = (size_t)g * s.query_stride + query;
  // Read anew, so that the loop over all rows need not carry it along.
  const Segment segment = s.segments[g];
  const Key bound = s.bounds[pair];
  const u64 limit = s.limits[pair];
  Distance near[ROWS] = {0, 0, 0, 0}, wide[ROWS] = {0, 0, 0, 0};
  for (u32 begin = segment.wide_first; begin <= segment.wide_last; begin += AHEAD) {
    uint4 bits[AHEAD];
    uint2 mine[AHEAD];
#pragma unroll
    for (u32 i = 0; i < AHEAD; i++) {
      const u32 word = min(begin + i, segment.wide_last);
      bits[i] = ((const uint4*)(s.strip + (size_t)word * s.row_stride))[quad];
      mine[i] = s.queries[(size_t)word * s.query_stride + query];
    }
#pragma unroll
    for (u32 i = 0; i < AHEAD; i++) {
      const u32 word = begin + i;
      if (word > segment.wide_last) break;
      const u32 enclosing = mine[i].y & border(word, segment.wide_first, segment.wide_last, segment.wide_first_mask, segment.wide_last_mask);
      const bool inside = word >= segment.first && word <= segment.last;
      const u32 within = inside ? border(word, segment.first, segment.last, segment.first_mask, segment.last_mask) : 0;
      const u32* table = s.tables + (size_t)word * GROUPS * 32;
      const u32 row_bits[ROWS] = {bits[i].x, bits[i].y, bits[i].z, bits[i].w};
#pragma unroll
      for (u32 row = 0; row < ROWS; row++) {
        const u32 differs = (row_bits[row] ^ mine[i].x) & enclosing;
        wide[row] += cost<WEIGHTED>(differs, table);
        if (inside) near[row] += cost<WEIGHTED>(differs & within, table);
      }
    }
  }
#pragma unroll
  for (u32 i = 0; i < ROWS; i++) {
    const u32 row = ROWS * quad + i;
    const Key key = {near[i], wide[i], 0, row};
    if (near[i] < limit && row < s.n_rows) consider(s, segment, pair, query, bound, key);
  }
}

// Adds what QUERIES queries and four neighbouring rows differ by in one word.
template <class Distance, bool WEIGHTED>
__device__ inline void add_word(const Search& s, u32 word, u32 counted, u32 first_query, u32 quad, const u32* table, Distance (&near)[QUERIES][ROWS]) {
  const uint4 bits = ((const uint4*)(s.strip + (size_t)word * s.row_stride))[quad];
  const uint4* queries = (const uint4*)(s.queries + (size_t)word * s.query_stride + first_query);
#pragma unroll
  for (int j = 0; j < QUERIES; j += 2) {
    const uint4 two = queries[j / 2];
    const u32 mask = two.y & counted, other = two.w & counted;
    near[j][0] += cost<WEIGHTED>((bits.x ^ two.x) & mask, table);
    near[j][1] += cost<WEIGHTED>((bits.y ^ two.x) & mask, table);
    near[j][2] += cost<WEIGHTED>((bits.z ^ two.x) & mask, table);
    near[j][3] += cost<WEIGHTED>((bits.w ^ two.x) & mask, table);
    near[j + 1][0] += cost<WEIGHTED>((bits.x ^ two.z) & other, table);
    near[j + 1][1] += cost<WEIGHTED>((bits.y ^ two.z) & other, table);
    near[j + 1][2] += cost<WEIGHTED>((bits.z ^ two.z) & other, table);
    near[j + 1][3] += cost<WEIGHTED>((bits.w ^ two.z) & other, table);
  }
}

// The same for the first and the last word together, where no bit counts in both: they are counted as one.
template <class Distance>
__device__ inline void add_borders(const Search& s, const Segment& segment, u32 first_query, u32 quad, Distance (&near)[QUERIES][ROWS]) {
  const uint4 a = ((const uint4*)(s.strip + (size_t)segment.first * s.row_stride))[quad];
  const uint4 b = ((const uint4*)(s.strip + (size_t)segment.last * s.row_stride))[quad];
  const u32 first = segment.first_mask, last = segment.last_mask;
  const uint4 bits = {(a.x & first) | (b.x & last), (a.y & first) | (b.y & last), (a.z & first) | (b.z & last), (a.w & first) | (b.w & last)};
  const uint2* at_first = s.queries + (size_t)segment.first * s.query_stride + first_query;
  const uint2* at_last = s.queries + (size_t)segment.last * s.query_stride + first_query;
#pragma unroll
  for (int j = 0; j < QUERIES; j++) {
    const uint2 x = at_first[j], y = at_last[j];
    const u32 alleles = (x.x & first) | (y.x & last), mask = (x.y & first) | (y.y & last);
    near[j][0] += __popc((bits.x ^ alleles) & mask);
    near[j][1] += __popc((bits.y ^ alleles) & mask);
    near[j][2] += __popc((bits.z ^ alleles) & mask);
    near[j][3] += __popc((bits.w ^ alleles) & mask);
  }
}

// Distances of four neighbouring rows from the block's queries.
template <class Distance, bool WEIGHTED>
__device__ inline void scan(const Search& s, const Segment& segment, const u32* tables, u32 first_query, u32 quad, Distance (&near)[QUERIES][ROWS]) {
#pragma unroll
  for (int j = 0; j < QUERIES; j++)
#pragma unroll
    for (int i = 0; i < ROWS; i++) near[j][i] = 0;
  u32 word = segment.first, last = segment.last;
  if (!WEIGHTED && word < last && !(segment.first_mask & segment.last_mask)) {
    add_borders(s, segment, first_query, quad, near);
    word++, last--;
  }
  for (; word <= last; word++) {
    const u32 counted = border(word, segment.first, segment.last, segment.first_mask, segment.last_mask);
    add_word<Distance, WEIGHTED>(s, word, counted, first_query, quad, tables + (size_t)(word - segment.first) * GROUPS * 32, near);
  }
}

template <class Distance, bool WEIGHTED>
__device__ inline void filter(const Search& s, u32 table_words) {
  DYNAMIC_SHARED(u32, shared_tables);
  // Four neighbouring rows and a query of which one is within the bound: a closer look is taken at many together.
  __shared__ u32 pending_of_block[FILTER_THREADS / WARP][PENDING], left_over[FILTER_THREADS / WARP];
  u32* pending = pending_of_block[threadIdx.x / WARP];
  const u32 lane = threadIdx.x % WARP;
  // The longest segments come last and take longest: they go first.
  const u32 g = gridDim.z - 1 - blockIdx.z;
  const size_t pairs = (size_t)g * s.query_stride;
  const Segment segment = s.segments[g];
  const u32 first_query = blockIdx.y * QUERIES;
  Distance limit[QUERIES];
  bool asked = false;
#pragma unroll
  for (int j = 0; j < QUERIES; j++) {
    u64 wanted = s.limits[pairs + first_query + j];
    limit[j] = wanted > (Distance)~(Distance)0 ? (Distance)~(Distance)0 : (Distance)wanted;
    asked |= wanted > 0;
  }
  if (!asked) return;
  const u32* tables = s.tables + (size_t)segment.first * GROUPS * 32;
  if (WEIGHTED && segment.last - segment.first < table_words) {
    for (u32 i = threadIdx.x; i < (segment.last - segment.first + 1) * GROUPS * 32; i += FILTER_THREADS) shared_tables[i] = tables[i];
    tables = shared_tables;
    __syncthreads();
  }
  const u32 quads = (s.row_stride / ROWS + s.stride - 1) / s.stride;
  const u32 stop = min(quads, (blockIdx.x + 1) * s.quads_per_block);
  u32 n_pending = 0;
  for (u32 begin = blockIdx.x * s.quads_per_block; begin < stop; begin += FILTER_THREADS) {
    const bool inside = begin + threadIdx.x < stop;
    const u32 quad = (inside ? begin + threadIdx.x : stop - 1) * s.stride;
    Distance near[QUERIES][ROWS];
    scan<Distance, WEIGHTED>(s, segment, tables, first_query, quad, near);
#pragma unroll
    for (int j = 0; j < QUERIES; j++) {
      const bool within = inside && min(min(near[j][0], near[j][1]), min(near[j][2], near[j][3])) < limit[j];
      const u32 lanes = __ballot_sync(~0u, within);
      if (lanes) {
        if (within) pending[n_pending + __popc(lanes & ((1u << lane) - 1))] = quad * QUERIES + j;
        n_pending += __popc(lanes);
      }
    }
    // So that the next rows find room, whatever passes.
    if (n_pending > PENDING - WARP * QUERIES) {
      __syncwarp();
      for (u32 i = lane; i < n_pending; i += WARP) {
        consider_rows<Distance, WEIGHTED>(s, g, first_query + pending[i] % QUERIES, pending[i] / QUERIES);
      }
      __syncwarp();
      n_pending = 0;
    }
  }
  // What is left is looked at by all: where rows are few, some warps have had none.
  if (lane == 0) left_over[threadIdx.x / WARP] = n_pending;
  __syncthreads();
  u32 passed_over = 0;
  for (u32 warp = 0; warp < FILTER_THREADS / WARP; warp++) {
    // Thread after thread takes one, beginning where the warp before has ended.
    for (u32 i = (threadIdx.x - passed_over) % FILTER_THREADS; i < left_over[warp]; i += FILTER_THREADS) {
      const u32 some = pending_of_block[warp][i];
      consider_rows<Distance, WEIGHTED>(s, g, first_query + some % QUERIES, some / QUERIES);
    }
    passed_over += left_over[warp];
  }
}

extern "C" __global__ __launch_bounds__(FILTER_THREADS, 3) void filter_count(const __grid_constant__ Search s) { filter<u32, false>(s, 0); }
extern "C" __global__ __launch_bounds__(FILTER_THREADS, 3) void filter_weighted(const __grid_constant__ Search s, u32 table_words) { filter<u32, true>(s, table_words); }
extern "C" __global__ __launch_bounds__(FILTER_THREADS, 1) void filter_weighted_long(const __grid_constant__ Search s, u32 table_words) { filter<u64, true>(s, table_words); }

struct List {
  u64 *near, *wide, *hash;
  u32* row;
};

__device__ inline Key key_of(const List& list, u32 i) {
  Key key = {list.near[i], list.wide[i], list.hash[i], list.row[i]};
  return key;
}

__device__ inline void put(const List& list, u32 i, const Key& key) {
  list.near[i] = key.near;
  list.wide[i] = key.wide;
  list.hash[i] = key.hash;
  list.row[i] = (u32)key.row;
}

// A pair's list, in shared memory where it finds room there.
__device__ inline List list_of(const Search& s, size_t pair, u32 n, u32 shared_entries) {
  DYNAMIC_SHARED(u64, shared_list);
  const size_t place = pair * s.capacity;
  const List list = {s.list_near + place, s.list_wide + place, s.list_hash + place, s.list_row + place};
  if (n > shared_entries) return list;
  const List near_by = {shared_list, shared_list + shared_entries, shared_list + 2 * shared_entries, (u32*)(shared_list + 3 * shared_entries)};
  for (u32 i = threadIdx.x; i < n; i += blockDim.x) put(near_by, i, key_of(list, i));
  return near_by;
}

__device__ inline void answer(const Search& s, u32 g, u32 query, u32 rank, u64 near, u32 row) {
  const size_t place = ((size_t)g * s.n_queries + query) * s.k + rank;
  s.out_ids[place] = row == ~0u ? -1 : s.ids[row];
  s.out_distances[place] = row == ~0u ? __int_as_float(0x7f800000) : (float)((double)near * s.unit / 1024.0);
}

// What follows from the k-th nearest of a pair's list, if it has so many: one thread calls it.
__device__ inline void conclude(const Search& s, size_t pair, bool enough, const Key& kth, bool whole) {
  if (enough) s.bounds[pair] = kth;
  s.limits[pair] = whole ? 0 : enough ? kth.near + 1 : ~0ull;
  s.counts[pair] = 0;
  if (s.stride == 1 && !whole) atomicAdd(s.n_unsettled, 1u);
}

__device__ inline u64 min_of_warp(u64 x) {
  const u32 high = __reduce_min_sync(~0u, (u32)(x >> 32));
  const u32 low = __reduce_min_sync(~0u, (u32)(x >> 32) == high ? (u32)x : ~0u);
  return (u64)high << 32 | low;
}

__device__ inline Key min_of_warp(const Key& mine) {
  Key least;
  least.near = min_of_warp(mine.near);
  bool may = mine.near == least.near;
  least.wide = min_of_warp(may ? mine.wide : ~0ull);
  may = may && mine.wide == least.wide;
  least.hash = min_of_warp(may ? mine.hash : ~0ull);
  may = may && mine.hash == least.hash;
  least.row = __reduce_min_sync(~0u, may ? (u32)mine.row : ~0u);
  return least;
}

// The nearest of the entries that belong to a lane; their own number where there is none.
__device__ inline Key best_of_lane(const List& list, u32 n) {
  Key best = {~0ull, ~0ull, ~0ull, ~0u};
  for (u32 i = threadIdx.x; i < n; i += WARP) {
    if (list.near[i] > best.near) continue;
    const Key key = key_of(list, i);
    if (before(key, best)) best = key;
  }
  return best;
}

extern "C" __global__ __launch_bounds__(WARP) void settle(const __grid_constant__ Search s, u32 shared_entries) {
  const size_t pair = (size_t)blockIdx.y * s.query_stride + blockIdx.x;
  if (s.limits[pair] == 0) return;
  const u32 count = s.counts[pair], n = min(count, s.capacity);
  const bool whole = s.stride == 1 && count <= s.capacity;
  const List list = list_of(s, pair, n, shared_entries);
  // A lane reads nothing but the entries that it put there.
  Key mine = best_of_lane(list, n), least = {~0ull, ~0ull, ~0ull, ~0u};
  for (u32 rank = 0; rank < s.k; rank++) {
    if (rank < n) {
      least = min_of_warp(mine);
      if (mine.row == least.row) {
        for (u32 i = threadIdx.x; i < n; i += WARP) {
          if (list.row[i] == (u32)least.row) list.near[i] = list.wide[i] = list.hash[i] = ~0ull, list.row[i] = ~0u;
        }
        mine = best_of_lane(list, n);
      }
    }
    if (whole && threadIdx.x == 0) answer(s, blockIdx.y, blockIdx.x, rank, least.near, rank < n ? (u32)least.row : ~0u);
  }
  if (threadIdx.x == 0) conclude(s, pair, n >= s.k, least, whole);
}

// Sorts n keys, a power of two (Batcher's bitonic network).
__device__ inline void sort(const List& list, u32 n) {
  for (u32 size = 2; size <= n; size *= 2) {
    for (u32 gap = size / 2; gap > 0; gap /= 2) {
      for (u32 pair = threadIdx.x; pair < n / 2; pair += blockDim.x) {
        u32 low = 2 * pair - (pair & (gap - 1)), high = low + gap;
        Key a = key_of(list, low), b = key_of(list, high);
        if (before(b, a) == ((low & size) == 0)) {
          put(list, low, b);
          put(list, high, a);
        }
      }
      __syncthreads();
    }
  }
}

extern "C" __global__ __launch_bounds__(256) void settle_many(const __grid_constant__ Search s, u32 shared_entries) {
  const size_t pair = (size_t)blockIdx.y * s.query_stride + blockIdx.x;
  if (s.limits[pair] == 0) return;
  const u32 count = s.counts[pair], n = min(count, s.capacity);
  const bool whole = s.stride == 1 && count <= s.capacity;
  u32 power = 1;
  while (power < n) power *= 2;
  const List list = list_of(s, pair, power <= shared_entries ? n : ~0u, shared_entries);
  const Key none = {~0ull, ~0ull, ~0ull, ~0u};
  for (u32 i = n + threadIdx.x; i < power; i += blockDim.x) put(list, i, none);
  __syncthreads();
  sort(list, power);
  if (whole) {
    for (u32 i = threadIdx.x; i < s.k; i += blockDim.x) answer(s, blockIdx.y, blockIdx.x, i, i < n ? list.near[i] : 0, i < n ? list.row[i] : ~0u);
  }
  if (threadIdx.x == 0) conclude(s, pair, n >= s.k, n >= s.k ? key_of(list, s.k - 1) : none, whole);
}

extern "C" __global__ void start(const __grid_constant__ Search s, u32 n_pairs) {
  const u32 pair = blockIdx.x * blockDim.x + threadIdx.x;
  if (pair == 0) *s.n_unsettled = 0;
  if (pair >= n_pairs) return;
  const Key none = {~0ull, ~0ull, ~0ull, ~0u};
  s.limits[pair] = pair % s.query_stride < s.n_queries ? ~0ull : 0;
  s.bounds[pair] = none;
  s.counts[pair] = 0;
}

extern "C" __global__ void tabulate(const int* steps, u32* tables, u32 n_sites, u32 n_entries) {
  u32 entry = blockIdx.x * blockDim.x + threadIdx.x;
  if (entry >= n_entries) return;
  u32 pattern = entry & 31, group = entry / 32 % GROUPS, word = entry / (32 * GROUPS), total = 0;
  for (u32 bit = 0; bit < GROUP_BITS && GROUP_BITS * group + bit < 32; bit++) {
    u32 site = 32 * word + GROUP_BITS * group + bit;
    if ((pattern >> bit & 1) && site < n_sites) total += steps[site];
  }
  tables[entry] = total;
}

// How the bits that a mask selects move together, in five steps (Warren, Hacker's Delight, 7-4).
struct Moves {
  u32 mask, step[5];
};

__device__ inline Moves moves_of(u32 mask) {
  Moves moves = {mask, {0, 0, 0, 0, 0}};
  u32 left_over = ~mask << 1;
  for (int i = 0; i < 5; i++) {
    u32 parity = left_over ^ left_over << 1;
    for (int shift = 2; shift <= 16; shift *= 2) parity ^= parity << shift;
    moves.step[i] = parity & mask;
    mask = (mask ^ moves.step[i]) | moves.step[i] >> (1 << i);
    left_over &= ~parity;
  }
  return moves;
}

__device__ inline u32 together(u32 bits, const Moves& moves) {
  bits &= moves.mask;
#pragma unroll
  for (int i = 0; i < 5; i++) {
    const u32 moving = bits & moves.step[i];
    bits = (bits ^ moving) | moving >> (1 << i);
  }
  return bits;
}

// A block: one word of the strip for some rows. No more than 32 words of the panel can have bits in it.
extern "C" __global__ void pack(Pack p) {
  __shared__ Moves moves[32];
  const u32 first = p.first_piece[blockIdx.y], stop = min(p.n_pieces, p.first_piece[blockIdx.y + 1] + 1);
  for (u32 i = threadIdx.x; i < stop - first && i < 32; i += blockDim.x) moves[i] = moves_of(p.pieces[first + i].mask);
  __syncthreads();
  const u32 row = blockIdx.x * blockDim.x + threadIdx.x;
  if (row >= p.row_stride) return;
  u32 word = 0;
  if (row < p.n_rows) {
    const u32 haplotype = p.rows[row];
    for (u32 i = 0; i < stop - first && i < 32; i++) {
      const Piece piece = p.pieces[first + i];
      const u32* tile = (const u32*)p.tiles[piece.word / TILE_WORDS];
      const u32 bits = together(tile[(size_t)(piece.word % TILE_WORDS) * p.n_haplotypes + haplotype], moves[i]);
      const int shift = (int)(piece.place - 32 * blockIdx.y);
      if (shift < 32) word |= shift >= 0 ? bits << shift : bits >> -shift;
    }
  }
  p.strip[(size_t)blockIdx.y * p.row_stride + row] = word;
}

extern "C" __global__ void transpose(const u32* by_haplotype, u32* by_word, u32 n_haplotypes) {
  const u32 haplotype = blockIdx.x * blockDim.x + threadIdx.x;
  if (haplotype >= n_haplotypes) return;
  for (u32 word = 0; word < TILE_WORDS; word++) by_word[(size_t)word * n_haplotypes + haplotype] = by_haplotype[(size_t)haplotype * TILE_WORDS + word];
}
