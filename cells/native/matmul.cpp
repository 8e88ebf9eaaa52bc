// The tiles that matrix products are made of.
#include <array>
#include <utility>

#include "matmul.h"

namespace native {

namespace {

constexpr int kPartBytes = 128 * 1024;  // of L2, for the part of B in use
constexpr int kRowsAhead = 48;          // rows of B, fetched while one is used

void fetch(Range range) {
  for (size_t i = 0; i < range.bytes; i += 64) __builtin_prefetch(range.data + i, 0, 2);
}

// The first `columns` elements of rows.
template <class T>
void fetch_rows(const T* data, ptrdiff_t stride, int rows, int columns) {
  for (int r = 0; r < rows; ++r) fetch({reinterpret_cast<const char*>(data + r * stride), columns * sizeof(T)});
}

template <class T, int rows, int vectors, bool by_depth, bool fetching>
void tile(const Product<T>& p) {
  constexpr int W = kLanes<T>;
  Vec<T> sums[rows][vectors];
#pragma GCC unroll 8
  for (int r = 0; r < rows; ++r)
#pragma GCC unroll 4
    for (int v = 0; v < vectors; ++v) sums[r][v] = p.accumulate ? load(p.c + r * p.c_stride + v * W) : Vec<T>{};
  const ptrdiff_t a_stride = p.a.stride, b_stride = p.b.stride;
  for (int s = 0; s < p.segments; ++s) {
    const T* a = p.a.data + s * p.a.segment_stride;
    const T* b = p.b.data + s * p.b.segment_stride;
    for (int k = 0, depth = p.depth; k < depth; ++k, b += b_stride) {
      Vec<T> line[vectors];
#pragma GCC unroll 4
      for (int v = 0; v < vectors; ++v) {
        line[v] = load(b + v * W);
        if (fetching) __builtin_prefetch(b + v * W + kRowsAhead * b_stride);
      }
#pragma GCC unroll 8
      for (int r = 0; r < rows; ++r) {
        const T value = by_depth ? a[k * a_stride + r] : a[r * a_stride + k];
#pragma GCC unroll 4
        for (int v = 0; v < vectors; ++v) sums[r][v] += value * line[v];
      }
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < rows; ++r)
#pragma GCC unroll 4
    for (int v = 0; v < vectors; ++v) store(p.c + r * p.c_stride + v * W, sums[r][v]);
}

template <class T>
using Tile = void (*)(const Product<T>&);

template <class T, int vectors, bool by_depth, bool fetching, int... rows>
constexpr std::array<Tile<T>, kMaxRows> tiles_of(std::integer_sequence<int, rows...>) {
  // More rows than a tile may have are never asked for.
  return {tile<T, std::min(rows + 1, tile_rows(vectors)), vectors, by_depth, fetching>...};
}

// By vectors, by rows.
template <class T>
using Tiles = std::array<std::array<Tile<T>, kMaxRows>, kTileVectors>;

template <class T, bool by_depth, bool fetching, int... vectors>
constexpr Tiles<T> tile_table(std::integer_sequence<int, vectors...>) {
  return {tiles_of<T, vectors + 1, by_depth, fetching>(std::make_integer_sequence<int, kMaxRows>())...};
}
template <class T, bool by_depth, bool fetching>
const Tiles<T> kTiles = tile_table<T, by_depth, fetching>(std::make_integer_sequence<int, kTileVectors>());

}  // namespace

template <class T>
void multiply_tile(Product<T> product, int rows, int vectors, Ahead ahead) {
  const int row_blocks = blocks(rows, tile_rows(vectors)), depth = product.depth;
  const auto& tiles = (product.a.by_depth ? kTiles<T, true, false> : kTiles<T, false, false>)[vectors - 1];
  const auto& first_tiles = product.b.far && row_blocks > 1 ? kTiles<T, false, true>[vectors - 1] : tiles;
  const T *a = product.a.data, *b = product.b.data;
  T* c = product.c;
  // The depth is cut so that the part of B in use stays in L2 while all rows pass by it; the first of them fetch it.
  int cuts = 1;
  if (product.segments == 1 && row_blocks > 1) cuts = blocks(depth * vectors * kVectorBytes, kPartBytes);
  // Where A or C are too large for L2, the next tile's part is fetched while a tile is computed.
  const bool far_a = !product.a.by_depth && sizeof(T) * rows * depth > kL2Bytes;
  const bool far_c = product.accumulate && sizeof(T) * rows * product.c_stride > kL2Bytes;
  int done = 0;
  const int all = cuts * row_blocks;
  for (int cut = 0; cut < cuts; ++cut) {
    const int from = block_begin(depth, cuts, cut), to = block_begin(depth, cuts, cut + 1);
    product.depth = to - from;
    product.b.data = b + from * product.b.stride;
    product.accumulate |= cut > 0;
    for (int block = 0, first = 0; block < row_blocks; ++block) {
      const int block_rows = rows / row_blocks + (block < rows % row_blocks);
      product.a.data = a + (product.a.by_depth ? from * product.a.stride + first : first * product.a.stride + from);
      product.c = c + first * product.c_stride;
      const int next = first + block_rows;
      if (far_a) fetch_rows(product.a.data + to - from, product.a.stride, block_rows, std::min(to - from, depth - to));
      if (far_c && next < rows)
        fetch_rows(c + next * product.c_stride, product.c_stride, std::min(block_rows, rows - next), vectors * kLanes<T>);
      fetch(ahead.first.part(done, done + 1, all));
      fetch(ahead.second.part(done, done + 1, all));
      ++done;
      (block == 0 ? first_tiles : tiles)[block_rows - 1](product);
      first += block_rows;
    }
  }
}

template void multiply_tile<float>(Product<float>, int, int, Ahead);
template void multiply_tile<double>(Product<double>, int, int, Ahead);

}  // namespace native
