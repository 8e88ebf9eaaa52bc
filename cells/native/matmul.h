// Small matrix products that stay in the caches: C (+)= A · B, one thread, B cut into panels.
//
// A product is made of tiles of a few rows by a few vectors, whose sums live in registers while the
// depth runs by. Tiles of one panel of B follow each other over all rows, so that the panel stays in L1 or L2.
#pragma once

#include <algorithm>
#include <cstddef>

#include "vector.h"

namespace native {

// A tile's sums, one row of B and one value of A share the registers.
constexpr int kTileVectors = kRegisters == 32 ? 4 : 2;  // the widest tile of C
constexpr int kTileSums = kRegisters == 32 ? 24 : 12;
constexpr int kMaxRows = 8;
constexpr size_t kL2Bytes = 512 * 1024;  // of L2, for what is used again
constexpr int tile_rows(int vectors) { return std::min(kMaxRows, kTileSums / vectors); }

// Where block `index` of `count` begins when `size` things are divided as evenly as can be.
inline int block_begin(int size, int count, int index) { return int(int64_t(size) * index / count); }
inline int blocks(int size, int most) { return (size + most - 1) / most; }

// The left operand. Its rows have their k-th elements side by side in steps of 1, or, if by_depth, for each k the rows
// are side by side. Segments of it follow each other along the depth.
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
  bool far = false;  // beyond L2: worth fetching ahead, where A is not stored by depth
};

// Memory that will be needed soon after a product, fetched into L2 while the product keeps the core busy.
struct Range {
  const char* data = nullptr;
  size_t bytes = 0;

  // The part from vector `begin` to `end` of `all`.
  Range part(int begin, int end, int all) const {
    return {data + bytes * begin / all, bytes * end / all - bytes * begin / all};
  }
};
struct Ahead {
  Range first, second;
};

// C (rows × vectors·W) (+)= A · B: the operands, the depth of each segment, and where the result goes.
template <class T>
struct Product {
  Left<T> a;
  Right<T> b;
  int segments, depth;
  T* c;
  ptrdiff_t c_stride;
  bool accumulate;
};

// Computes a product for one tile's width of B, at most kTileVectors vectors.
template <class T>
void multiply_tile(Product<T> product, int rows, int vectors, Ahead ahead = {});

// Computes a product with B as it lies.
template <class T>
void multiply(const Product<T>& product, int rows, int vectors) {
  const int tiles = blocks(vectors, kTileVectors);
  for (int i = 0; i < tiles; ++i) {
    const int first = block_begin(vectors, tiles, i), last = block_begin(vectors, tiles, i + 1);
    Product<T> part = product;
    part.b.data += first * kLanes<T>;
    part.c += first * kLanes<T>;
    multiply_tile<T>(part, rows, last - first);
  }
}

// The width of tiles that passes over B least often for so many rows. Never a single vector: a tile of 8 × 1 has nine
// loads for eight products.
inline int tile_width(int rows) {
  constexpr int narrower = std::max(2, kTileVectors - 1);
  return blocks(rows, tile_rows(narrower)) < blocks(rows, tile_rows(kTileVectors)) ? narrower : kTileVectors;
}

// How many unit vectors there are, and how they are cut into panels.
struct Panels {
  int units, size;  // size: unit vectors of a panel, at most

  int count() const { return blocks(units, size); }
  int begin(int panel) const { return block_begin(units, count(), panel); }
  int width(int panel) const { return begin(panel + 1) - begin(panel); }
};

// A right operand packed for speed. Its columns are the panels' unit vectors for each of `gates`, the gates of a unit
// vector side by side, so that a panel has all gates of its units. Within a panel, tile after tile, row after row.
template <class T>
struct Packed {
  static constexpr int W = kLanes<T>;

  T* data;
  int depth, gates, width;  // width: vectors of a tile
  Panels panels;

  static size_t size(int depth, int units, int gates) { return size_t(depth) * units * gates * W; }

  // Calls work(first vector of a tile, its vectors, where the tile lies), vectors counted within the panel.
  template <class Work>
  void over_tiles(int panel, Work work) const {
    const int vectors = panels.width(panel) * gates, tiles = blocks(vectors, width);
    T* panel_data = data + size_t(depth) * panels.begin(panel) * gates * W;
    for (int i = 0; i < tiles; ++i) {
      const int begin = block_begin(vectors, tiles, i), end = block_begin(vectors, tiles, i + 1);
      work(begin, end - begin, panel_data + size_t(depth) * begin * W);
    }
  }

  // Calls fill(unit vector, gate, to, step) for each column of the panel; its row k belongs at to + k·step.
  template <class Fill>
  void pack_panel(int panel, Fill fill) const {
    over_tiles(panel, [&](int begin, int vectors, T* tile) {
      for (int v = 0; v < vectors; ++v)
        fill(panels.begin(panel) + (begin + v) / gates, (begin + v) % gates, tile + v * W, ptrdiff_t(vectors) * W);
    });
  }

  // C (rows × the panel's vectors·W) = A · the panel.
  void multiply_panel(int panel, Left<T> a, int rows, T* c, ptrdiff_t c_stride, Ahead ahead = {}) const {
    const int vectors = panels.width(panel) * gates;
    const bool far = size(depth, panels.units, gates) * sizeof(T) > kL2Bytes;
    over_tiles(panel, [&](int begin, int count, T* tile) {
      const int end = begin + count;
      const Ahead part{ahead.first.part(begin, end, vectors), ahead.second.part(begin, end, vectors)};
      const Right<T> b{tile, ptrdiff_t(count) * W, 0, far};
      multiply_tile<T>({a, b, 1, depth, c + begin * W, c_stride, false}, rows, count, part);
    });
  }
};

}  // namespace native
