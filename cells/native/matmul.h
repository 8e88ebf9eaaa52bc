// Small matrix products that stay in the caches: C (+)= A · B, one thread, B cut into panels.
//
// A product is made of tiles of a few rows by a few vectors, whose sums live in registers while the
// depth runs by. Tiles of one panel of B follow each other over all rows, so that the panel stays in L1.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <utility>

#include "vector.h"

namespace native {

// A tile: its sums, one row of B and one value of A share the registers.
constexpr int kTileVectors = kRegisters == 32 ? 4 : 2;
constexpr int kTileSums = kRegisters == 32 ? 24 : 12;
constexpr int kMaxRows = 8;
constexpr int tile_rows(int vectors) { return std::min(kMaxRows, kTileSums / vectors); }

constexpr int kL1Bytes = 32 * 1024;  // of L1, for the part of a panel in use

// Where block `index` of `count` begins when `size` things are divided as evenly as can be.
inline int block_begin(int size, int count, int index) { return int(int64_t(size) * index / count); }
inline int blocks(int size, int most) { return (size + most - 1) / most; }

// The left operand: element (row, k) of segment s lies at data[row·row_stride + k·depth_stride + s·segment_stride],
// where one of the first two strides is 1. Segments follow each other along the depth.
template <class T>
struct Left {
  const T* data;
  ptrdiff_t stride;          // from row to row, or, if by_depth, from k to k
  ptrdiff_t segment_stride;  // from segment to segment
  bool by_depth = false;     // rows lie side by side: A is stored as its transpose
};

// The right operand: row k of segment s at data[k·stride + s·segment_stride].
template <class T>
struct Right {
  const T* data;
  ptrdiff_t stride, segment_stride;
};

template <class T, int rows, int vectors, bool by_depth>
void tile(Left<T> a, Right<T> b, int segments, int depth, T* c, ptrdiff_t c_stride, bool accumulate) {
  constexpr int W = kLanes<T>;
  Vec<T> sums[rows][vectors];
#pragma GCC unroll 8
  for (int r = 0; r < rows; ++r)
#pragma GCC unroll 4
    for (int v = 0; v < vectors; ++v) sums[r][v] = accumulate ? load(c + r * c_stride + v * W) : Vec<T>{};
  for (int s = 0; s < segments; ++s) {
    const T* left = a.data + s * a.segment_stride;
    const T* right = b.data + s * b.segment_stride;
    for (int k = 0; k < depth; ++k, right += b.stride) {
      Vec<T> line[vectors];
#pragma GCC unroll 4
      for (int v = 0; v < vectors; ++v) line[v] = load(right + v * W);
#pragma GCC unroll 8
      for (int r = 0; r < rows; ++r) {
        const T value = by_depth ? left[k * a.stride + r] : left[r * a.stride + k];
#pragma GCC unroll 4
        for (int v = 0; v < vectors; ++v) sums[r][v] += value * line[v];
      }
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < rows; ++r)
#pragma GCC unroll 4
    for (int v = 0; v < vectors; ++v) store(c + r * c_stride + v * W, sums[r][v]);
}

template <class T>
using Tile = void (*)(Left<T>, Right<T>, int, int, T*, ptrdiff_t, bool);

template <class T, int vectors, bool by_depth, int... rows>
constexpr std::array<Tile<T>, kMaxRows> tiles_of(std::integer_sequence<int, rows...>) {
  // More rows than a tile may have are never asked for.
  return {tile<T, std::min(rows + 1, tile_rows(vectors)), vectors, by_depth>...};
}

template <class T, bool by_depth, int... vectors>
constexpr auto tile_table(std::integer_sequence<int, vectors...>) {
  return std::array<std::array<Tile<T>, kMaxRows>, kTileVectors>{
      tiles_of<T, vectors + 1, by_depth>(std::make_integer_sequence<int, kMaxRows>())...};
}

template <class T>
inline const std::array<std::array<Tile<T>, kMaxRows>, kTileVectors> kTiles[2] = {
    tile_table<T, false>(std::make_integer_sequence<int, kTileVectors>()),
    tile_table<T, true>(std::make_integer_sequence<int, kTileVectors>())};

// C (rows × vectors·W) (+)= A · B for one tile's width of B. The depth is cut so that the part of B in use
// stays in L1 while all rows pass by it.
template <class T>
void multiply_tile(Left<T> a, Right<T> b, int rows, int vectors, int segments, int depth, T* c, ptrdiff_t c_stride,
                   bool accumulate) {
  const int row_blocks = blocks(rows, tile_rows(vectors));
  int cuts = 1;
  if (segments == 1 && row_blocks > 1) cuts = blocks(depth * vectors * kVectorBytes, kL1Bytes);
  for (int cut = 0; cut < cuts; ++cut) {
    const int from = block_begin(depth, cuts, cut), to = block_begin(depth, cuts, cut + 1);
    for (int block = 0; block < row_blocks; ++block) {
      const int first = block_begin(rows, row_blocks, block), last = block_begin(rows, row_blocks, block + 1);
      Left<T> left = a;
      left.data += a.by_depth ? from * a.stride + first : first * a.stride + from;
      const Right<T> right{b.data + from * b.stride, b.stride, b.segment_stride};
      kTiles<T>[a.by_depth][vectors - 1][last - first - 1](left, right, segments, to - from, c + first * c_stride,
                                                           c_stride, accumulate || cut > 0);
    }
  }
}

// C (rows × vectors·W) (+)= A · B with B as it lies.
template <class T>
void multiply(Left<T> a, Right<T> b, int rows, int vectors, int segments, int depth, T* c, ptrdiff_t c_stride,
              bool accumulate) {
  const int tiles = blocks(vectors, kTileVectors);
  for (int i = 0; i < tiles; ++i) {
    const int first = block_begin(vectors, tiles, i), last = block_begin(vectors, tiles, i + 1);
    const int offset = first * kLanes<T>;
    multiply_tile<T>(a, {b.data + offset, b.stride, b.segment_stride}, rows, last - first, segments, depth, c + offset,
                     c_stride, accumulate);
  }
}

// A right operand packed for speed. Its columns are `units` vectors for each of `gates`, the gates of a unit
// vector side by side, so that a panel has all gates of its units. Within a panel, tile after tile, row after row.
template <class T>
struct Packed {
  T* data;
  int depth, units, gates;

  static constexpr int panel_units(int gates) {
    int count = 1;
    while (count * gates % kTileVectors != 0 && count < kTileVectors) ++count;
    return count;
  }
  int panels() const { return blocks(units, panel_units(gates)); }
  int panel_begin(int panel) const { return block_begin(units, panels(), panel); }
  static size_t size(int depth, int units, int gates) { return size_t(depth) * units * gates * kLanes<T>; }

  // Calls fill(unit vector, gate, k, where) for each vector of the packed matrix.
  template <class Fill>
  void pack(Fill fill) {
    constexpr int W = kLanes<T>;
    T* to = data;
    for (int panel = 0; panel < panels(); ++panel) {
      const int first_unit = panel_begin(panel);
      const int vectors = (panel_begin(panel + 1) - first_unit) * gates;
      const int tiles = blocks(vectors, kTileVectors);
      for (int i = 0; i < tiles; ++i) {
        const int begin = block_begin(vectors, tiles, i), end = block_begin(vectors, tiles, i + 1);
        for (int k = 0; k < depth; ++k)
          for (int v = begin; v < end; ++v, to += W) fill(first_unit + v / gates, v % gates, k, to);
      }
    }
  }

  // C (rows × the panel's vectors·W) (+)= A · the panel.
  void multiply_panel(int panel, Left<T> a, int rows, T* c, ptrdiff_t c_stride, bool accumulate) const {
    constexpr int W = kLanes<T>;
    const int first_unit = panel_begin(panel);
    const int vectors = (panel_begin(panel + 1) - first_unit) * gates;
    const T* from = data + size_t(depth) * first_unit * gates * W;
    const int tiles = blocks(vectors, kTileVectors);
    for (int i = 0; i < tiles; ++i) {
      const int begin = block_begin(vectors, tiles, i), end = block_begin(vectors, tiles, i + 1);
      multiply_tile<T>(a, {from + size_t(depth) * begin * W, (end - begin) * W, 0}, rows, end - begin, 1, depth,
                       c + begin * W, c_stride, accumulate);
    }
  }
};

}  // namespace native
