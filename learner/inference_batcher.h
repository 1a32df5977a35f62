// Gathers requests for actions into batches. A request's observations are copied once, into the next rows of the batch
// that is open; a batch is closed when
//   - the next request has no place in it any more,
//   - its oldest request has waited for the deadline, never because of its size alone, or
//   - every connected client waits for an answer: there is nobody left to wait for.
// While nobody takes it, it stays open.
//
//   const auto place = batcher.Reserve(request);     // a stream's callback
//   ReadInto(place.rows);
//   batcher.Filled(place);
//
//   while (InferenceBatch* batch = batcher.Take()) { // a prediction thread
//     ...
//     for (const InferenceRequest& request : batcher.Release(batch)) ...
//   }
//
// A client has one request under way. Thread-safe; the mutex is held for bookkeeping, not while rows are copied.
#ifndef HEADRACE_LEARNER_INFERENCE_BATCHER_H_
#define HEADRACE_LEARNER_INFERENCE_BATCHER_H_

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "common/mutex.h"
#include "proto/inference.pb.h"

namespace headrace {

// Who asked, and is answered on a prediction thread.
class InferenceClient {
 public:
  virtual ~InferenceClient() = default;
  // computed: when the network was done.
  virtual void Answer(const v1::ActResponse& response, std::chrono::steady_clock::time_point computed) = 0;
};

struct InferenceRequest {
  std::weak_ptr<InferenceClient> client;  // it may vanish within a batch
  uint64_t number = 0;
  size_t rows = 0;
  std::chrono::steady_clock::time_point arrived;
  size_t first_row = 0;  // in its batch; set by the batcher
};

// Rows [0, rows) hold the requests' observations, in the order of the requests, and `states` their recurrent states.
struct InferenceBatch {
  InferenceBatch(size_t bytes, size_t state_bytes) : memory(new std::byte[bytes]), states(new std::byte[state_bytes]) {}

  const std::unique_ptr<std::byte[]> memory;
  const std::unique_ptr<std::byte[]> states;
  size_t rows = 0;
  std::vector<InferenceRequest> requests;

 private:
  friend class InferenceBatcher;
  size_t copying_ = 0;      // requests whose rows are being filled
  bool announced_ = false;  // somebody looks after its deadline
};

class InferenceBatcher {
 public:
  using Clock = ConditionVariable::Clock;

  struct Options {
    size_t row_bytes;
    size_t max_rows;
    Clock::duration deadline;
    size_t state_bytes = 0;  // of the recurrent state of a row
    size_t batches = 2;      // whose memory is there from the beginning; more are made when clients need them at once
  };
  explicit InferenceBatcher(const Options& options);

  size_t max_rows() const { return options_.max_rows; }

  // A client has come, or gone.
  void Connect() ABSL_LOCKS_EXCLUDED(mutex_);
  void Disconnect() ABSL_LOCKS_EXCLUDED(mutex_);

  struct Place {
    InferenceBatch* batch;
    std::byte* rows;    // request.rows * row_bytes bytes, to be filled
    std::byte* states;  // request.rows * state_bytes bytes, to be filled
  };
  // request.rows: 1 to max_rows. Each place must be filled.
  Place Reserve(InferenceRequest request) ABSL_LOCKS_EXCLUDED(mutex_);
  void Filled(const Place& place) ABSL_LOCKS_EXCLUDED(mutex_);

  // The oldest batch, if it is closed at `now`; otherwise null.
  InferenceBatch* TryTake(Clock::time_point now) ABSL_LOCKS_EXCLUDED(mutex_);
  // Waits for it, and before that while `thread`, a number from 0, is none of those that take batches. Null: Close was
  // called.
  InferenceBatch* Take(size_t thread = 0) ABSL_LOCKS_EXCLUDED(mutex_);
  // From now on the first so many threads take batches, at least one; before the first call all do.
  void SetThreads(size_t threads) ABSL_LOCKS_EXCLUDED(mutex_);
  // Its memory is free again, and its clients may ask anew: to be called before they are answered.
  std::vector<InferenceRequest> Release(InferenceBatch* batch) ABSL_LOCKS_EXCLUDED(mutex_);

  void Close() ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  void AddBatch() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool Closed(Clock::time_point now) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  InferenceBatch* TakeOldest(Clock::time_point now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const Options options_;

  Mutex mutex_;
  ConditionVariable changed_;
  ConditionVariable threads_changed_;  // what threads that take no batches wait for
  size_t threads_ ABSL_GUARDED_BY(mutex_) = SIZE_MAX;
  std::vector<std::unique_ptr<InferenceBatch>> all_ ABSL_GUARDED_BY(mutex_);
  std::vector<InferenceBatch*> free_ ABSL_GUARDED_BY(mutex_);
  std::deque<InferenceBatch*> queue_ ABSL_GUARDED_BY(mutex_);  // those with requests; the last one is open
  size_t clients_ ABSL_GUARDED_BY(mutex_) = 0;
  size_t waiting_ ABSL_GUARDED_BY(mutex_) = 0;  // requests that are not released yet
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace headrace

#endif  // HEADRACE_LEARNER_INFERENCE_BATCHER_H_
