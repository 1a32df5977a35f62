// How many threads an update is given: whichever number makes updates faster now.
//
//   tuner.Add(seconds);                    // after each update
//   at::set_num_threads(tuner.threads());  // before the next
//
// The threads of an operation wait for each other. Where actors, shards or other programs want the same cores, each
// operation takes until the last thread gets its turn, and an update on all cores can take a hundred times as long as
// on one (measured: 2 updates a second on two threads beside one busy process on two cores, 203 on one). And small
// products gain nothing from the last of many cores. So it begins with one, which is never far off, and other numbers
// are tried for a moment now and then, in turn one, half as many, twice as many and all, less and less often while the
// answer stays the same.
//
// Not thread-safe.
#ifndef HEADRACE_LEARNER_THREAD_TUNER_H_
#define HEADRACE_LEARNER_THREAD_TUNER_H_

#include "proto/config.pb.h"

namespace headrace {

class ThreadTuner {
 public:
  // Chooses from 1, with which it begins, to `most`; or stays at that.
  explicit ThreadTuner(int most, bool chooses = true)
      : most_(most), chooses_(chooses && most > 1), threads_(chooses_ ? 1 : most) {}
  // With the run's number of threads. Where that is not said, it chooses among all cores that the process may use; in
  // lockstep it stays at one, because the number has a part in the last bits of a product.
  static ThreadTuner For(const v1::RunConfig& config);

  // Of the update that was just done on threads().
  void Add(double seconds);
  int threads() const { return threads_; }

 private:
  // Updates on one number of threads, looked at together.
  struct Window {
    int updates = 0;
    double seconds = 0;
  };

  // What a window on the chosen number, or on another one, has shown: mean seconds of an update.
  void Consider(double mean);
  void EndTrial(double mean);
  // The next number to try.
  int Other();

  const int most_;
  const bool chooses_;
  int threads_;      // now
  int chosen_ = 0;   // while another number is tried; 0: none is
  size_t turn_ = 0;  // which other number comes next
  Window window_;
  double usual_ = 0;  // seconds of an update on the chosen number; 0: not known yet
  double pause_ = 0;  // seconds of updates from one trial to the next
  double since_trial_ = 0;
};

}  // namespace headrace

#endif  // HEADRACE_LEARNER_THREAD_TUNER_H_
