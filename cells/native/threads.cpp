#include "threads.h"

#include <ATen/Parallel.h>

#include <thread>

#if defined(_OPENMP)
#include <omp.h>
#endif
#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#endif

namespace native {

namespace {

bool forked = false;

#if defined(__unix__) || defined(__APPLE__)
const int watch_forks = pthread_atfork(nullptr, nullptr, [] { forked = true; });
#endif

}  // namespace

int threads() {
#if defined(_OPENMP)
  return forked || omp_in_parallel() || at::in_parallel_region() ? 1 : at::get_num_threads();
#else
  return 1;
#endif
}

void Team::wait() {
  if (size == 1) return;
  ++round_;
  arrivals_->fetch_add(1, std::memory_order_acq_rel);
  for (int spins = 0; arrivals_->load(std::memory_order_acquire) < round_ * size; ++spins)
    if (spins > 4096) std::this_thread::yield();
}

void in_team(int most, const std::function<void(Team&)>& work) {
  if (most <= 1) {
    const FlushDenormals guard;
    Team alone;
    return work(alone);
  }
#if defined(_OPENMP)
  std::atomic<int> arrivals{0};
#pragma omp parallel num_threads(most)
  {
    const FlushDenormals guard;
    Team team(omp_get_thread_num(), omp_get_num_threads(), &arrivals);
    work(team);
  }
#endif
}

}  // namespace native
