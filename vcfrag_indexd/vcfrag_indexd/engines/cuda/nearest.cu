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
//   settle      a block: one segment, one query; sorts what passed; makes a bound or the answer
//
// Distances are whole steps. Where all weights are equal bits are counted; else they are looked up. Strips are
// word-major, row_stride words in a row of the array: the threads of a warp read what lies side by side.

#ifndef DYNAMIC_SHARED
#define DYNAMIC_SHARED(type, name) extern __shared__ type name[]
#endif

typedef unsigned int u32;
typedef unsigned long long u64;

enum {
  FILTER_THREADS = 256,
  ROWS = 4,              // of a thread at a time: one 16-byte load
  QUERIES = 8,           // of a block
  PENDING = 4096,        // of a block: fours of rows that wait for a closer look
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

struct Pack {
  const u64* tiles;               // addresses of (TILE_WORDS, n_haplotypes) pieces of the panel
  const int* rows;                // (R,) panel haplotypes
  const int* sites;               // (M,) observed sites, from the first piece's first
  u32* strip;                     // (words, row_stride)
  u32 n_haplotypes, n_rows, row_stride, n_sites;
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
template <bool WEIGHTED>
__device__ inline void consider(const Search& s, const Segment& segment, size_t pair, u32 query, u32 row, u64 near) {
  const Key bound = s.bounds[pair];
  // Most rows tie with the bound and differ from the query in the first words of the enclosing segment.
  const u64 most = near == bound.near ? bound.wide : ~0ull;
  Key key = {near, 0, 0, row};
  for (u32 word = segment.wide_first; word <= segment.wide_last; word++) {
    const uint2 mine = s.queries[(size_t)word * s.query_stride + query];
    const u32 mask = mine.y & border(word, segment.wide_first, segment.wide_last, segment.wide_first_mask, segment.wide_last_mask);
    const u32 differs = (s.strip[(size_t)word * s.row_stride + row] ^ mine.x) & mask;
    key.wide += cost<WEIGHTED>(differs, s.tables + (size_t)word * GROUPS * 32);
    if (key.wide > most) return;
  }
  key.hash = mix(s.keys[row] ^ segment.hash);
  if (before(bound, key) || excluded(s, query, row)) return;
  const u32 at = atomicAdd(&s.counts[pair], 1u);
  if (at >= s.capacity) return;
  const size_t place = pair * s.capacity + at;
  s.list_near[place] = near;
  s.list_wide[place] = key.wide;
  s.list_hash[place] = key.hash;
  s.list_row[place] = row;
}

// Considers those of four neighbouring rows that are within a query's bound.
template <bool WEIGHTED>
__device__ inline void consider_rows(const Search& s, const Segment& segment, size_t pairs, u32 query, u32 quad) {
  const size_t pair = pairs + query;
  u64 near[ROWS] = {0, 0, 0, 0};
  for (u32 word = segment.first; word <= segment.last; word++) {
    const uint4 bits = ((const uint4*)(s.strip + (size_t)word * s.row_stride))[quad];
    const uint2 mine = s.queries[(size_t)word * s.query_stride + query];
    const u32 mask = mine.y & border(word, segment.first, segment.last, segment.first_mask, segment.last_mask);
    const u32* table = s.tables + (size_t)word * GROUPS * 32;
    near[0] += cost<WEIGHTED>((bits.x ^ mine.x) & mask, table);
    near[1] += cost<WEIGHTED>((bits.y ^ mine.x) & mask, table);
    near[2] += cost<WEIGHTED>((bits.z ^ mine.x) & mask, table);
    near[3] += cost<WEIGHTED>((bits.w ^ mine.x) & mask, table);
  }
#pragma unroll
  for (u32 i = 0; i < ROWS; i++) {
    const u32 row = ROWS * quad + i;
    if (near[i] < s.limits[pair] && row < s.n_rows) consider<WEIGHTED>(s, segment, pair, query, row, near[i]);
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
  __shared__ u32 pending[PENDING];
  __shared__ u32 n_pending;
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
  }
  if (threadIdx.x == 0) n_pending = 0;
  __syncthreads();
  const u32 quads = (s.row_stride / ROWS + s.stride - 1) / s.stride;
  const u32 stop = min(quads, (blockIdx.x + 1) * s.quads_per_block);
  for (u32 begin = blockIdx.x * s.quads_per_block; begin < stop; begin += FILTER_THREADS) {
    const u32 quad = (begin + threadIdx.x) * s.stride;
    if (begin + threadIdx.x < stop) {
      Distance near[QUERIES][ROWS];
      scan<Distance, WEIGHTED>(s, segment, tables, first_query, quad, near);
#pragma unroll
      for (int j = 0; j < QUERIES; j++) {
        if (min(min(near[j][0], near[j][1]), min(near[j][2], near[j][3])) >= limit[j]) continue;
        pending[atomicAdd(&n_pending, 1u)] = quad * QUERIES + j;
      }
    }
    // So that the next rows find room, whatever passes.
    if (__syncthreads_or(n_pending > PENDING - FILTER_THREADS * QUERIES) || begin + FILTER_THREADS >= stop) {
      for (u32 i = threadIdx.x; i < n_pending; i += FILTER_THREADS) {
        consider_rows<WEIGHTED>(s, segment, pairs, first_query + pending[i] % QUERIES, pending[i] / QUERIES);
      }
      __syncthreads();
      if (threadIdx.x == 0) n_pending = 0;
      __syncthreads();
    }
  }
}

extern "C" __global__ __launch_bounds__(FILTER_THREADS, 3) void filter_count(const __grid_constant__ Search s) { filter<u32, false>(s, 0); }
extern "C" __global__ __launch_bounds__(FILTER_THREADS, 3) void filter_weighted(const __grid_constant__ Search s, u32 table_words) { filter<u32, true>(s, table_words); }
extern "C" __global__ __launch_bounds__(FILTER_THREADS, 1) void filter_weighted_long(const __grid_constant__ Search s, u32 table_words) { filter<u64, true>(s, table_words); }

// Sorts n keys, a power of two (Batcher's bitonic network).
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

extern "C" __global__ __launch_bounds__(256) void settle(const __grid_constant__ Search s, u32 shared_entries) {
  DYNAMIC_SHARED(u64, shared_list);
  const size_t pair = (size_t)blockIdx.y * s.query_stride + blockIdx.x;
  if (s.limits[pair] == 0) return;
  const u32 count = s.counts[pair], n = min(count, s.capacity), k = s.k;
  const size_t place = pair * s.capacity;
  List list = {s.list_near + place, s.list_wide + place, s.list_hash + place, s.list_row + place};
  u32 power = 1;
  while (power < n) power *= 2;
  if (power <= shared_entries) {
    List near_by = {shared_list, shared_list + shared_entries, shared_list + 2 * shared_entries, (u32*)(shared_list + 3 * shared_entries)};
    for (u32 i = threadIdx.x; i < n; i += blockDim.x) put(near_by, i, key_of(list, i));
    list = near_by;
  }
  const Key none = {~0ull, ~0ull, ~0ull, ~0u};
  for (u32 i = n + threadIdx.x; i < power; i += blockDim.x) put(list, i, none);
  __syncthreads();
  sort(list, power);
  const bool last = s.stride == 1, whole = last && count <= s.capacity;
  if (whole) {
    const size_t answer = ((size_t)blockIdx.y * s.n_queries + blockIdx.x) * k;
    for (u32 i = threadIdx.x; i < k; i += blockDim.x) {
      s.out_ids[answer + i] = i < n ? s.ids[list.row[i]] : -1;
      s.out_distances[answer + i] = i < n ? (float)((double)list.near[i] * s.unit / 1024.0) : __int_as_float(0x7f800000);
    }
  }
  if (threadIdx.x == 0) {
    if (n >= k) s.bounds[pair] = key_of(list, k - 1);
    s.limits[pair] = whole ? 0 : n >= k ? list.near[k - 1] + 1 : ~0ull;
    s.counts[pair] = 0;
    if (last && !whole) atomicAdd(s.n_unsettled, 1u);
  }
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

extern "C" __global__ void pack(Pack p) {
  const u32 row = blockIdx.x * blockDim.x + threadIdx.x;
  if (row >= p.row_stride) return;
  u32 word = 0, bits = 0, current = ~0u;
  if (row < p.n_rows) {
    const u32 haplotype = p.rows[row], begin = 32 * blockIdx.y, n = min(32u, p.n_sites - begin);
    for (u32 i = 0; i < n; i++) {
      const u32 site = p.sites[begin + i];
      if (site / 32 != current) {
        current = site / 32;
        bits = ((const u32*)p.tiles[current / TILE_WORDS])[(size_t)(current % TILE_WORDS) * p.n_haplotypes + haplotype];
      }
      word |= (bits >> (site & 31) & 1) << i;
    }
  }
  p.strip[(size_t)blockIdx.y * p.row_stride + row] = word;
}

extern "C" __global__ void transpose(const u32* by_haplotype, u32* by_word, u32 n_haplotypes) {
  const u32 haplotype = blockIdx.x * blockDim.x + threadIdx.x;
  if (haplotype >= n_haplotypes) return;
  for (u32 word = 0; word < TILE_WORDS; word++) by_word[(size_t)word * n_haplotypes + haplotype] = by_haplotype[(size_t)haplotype * TILE_WORDS + word];
}
