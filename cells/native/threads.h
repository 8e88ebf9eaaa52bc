// Threads that share the work of one call, and how they treat denormals.
#pragma once

#include <atomic>
#include <functional>

#if defined(__SSE2__)
#include <immintrin.h>
#endif

namespace native {

// How many threads may share the work of this call: torch's setting; one in a process forked after OpenMP
// started, whose threads did not survive the fork, and one inside a parallel region.
int threads();

// What a thread knows of those it works with.
class Team {
 public:
  const int index, size;

  Team() : index(0), size(1), arrivals_(nullptr) {}
  Team(int index, int size, std::atomic<int>* arrivals) : index(index), size(size), arrivals_(arrivals) {}

  // Returns when all of the team have called it. Waits by spinning, for the time of a step is microseconds, but
  // lets others run if that takes long, for there may be fewer cores than threads.
  void wait();

 private:
  std::atomic<int>* arrivals_;
  int round_ = 0;
};

// Calls work(team) on at most `most` threads at once; fewer, if the machine or OpenMP gives fewer.
void in_team(int most, const std::function<void(Team&)>& work);

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
