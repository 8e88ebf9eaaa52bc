// The calling thread's surroundings: how many threads there are to share work, and how it treats denormals.
#pragma once

#if defined(__SSE2__)
#include <immintrin.h>
#endif

namespace native {

// How many threads may share the work of this call: torch's setting; one in a process forked after OpenMP
// started, whose threads did not survive the fork, and one inside a parallel region.
int threads();

// Denormal numbers are taken for zero while this lives: arithmetic on them is up to a hundred times slower, and
// gates that close make many of them.
class FlushDenormals {
 public:
#if defined(__SSE2__)
  FlushDenormals() : before_(_mm_getcsr()) { _mm_setcsr(before_ | 0x8040); }  // flush to zero, denormals are zero
  ~FlushDenormals() { _mm_setcsr(before_); }

 private:
  unsigned before_;
#endif
};

}  // namespace native
