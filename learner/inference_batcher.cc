#include "learner/inference_batcher.h"

#include <utility>

#include "common/check.h"

namespace headrace {

InferenceBatcher::InferenceBatcher(const Options& options) : options_(options) {
  MutexLock lock(&mutex_);
  for (size_t i = 0; i < options_.batches; ++i) AddBatch();
}

void InferenceBatcher::AddBatch() {
  all_.push_back(std::make_unique<InferenceBatch>(options_.max_rows * options_.row_bytes,
                                                  options_.max_rows * options_.state_bytes));
  free_.push_back(all_.back().get());
}

void InferenceBatcher::Connect() {
  MutexLock lock(&mutex_);
  ++clients_;
}

void InferenceBatcher::Disconnect() {
  MutexLock lock(&mutex_);
  --clients_;
  changed_.NotifyOne();  // perhaps it was the one that was waited for
}

InferenceBatcher::Place InferenceBatcher::Reserve(InferenceRequest request) {
  HEADRACE_CHECK(request.rows > 0 && request.rows <= options_.max_rows);
  MutexLock lock(&mutex_);
  if (queue_.empty() || request.rows > options_.max_rows - queue_.back()->rows) {
    if (free_.empty()) AddBatch();
    queue_.push_back(free_.back());
    free_.pop_back();
  }
  InferenceBatch& batch = *queue_.back();
  request.first_row = batch.rows;
  batch.rows += request.rows;
  ++batch.copying_;
  ++waiting_;
  std::byte* const rows = batch.memory.get() + request.first_row * options_.row_bytes;
  std::byte* const states = batch.states.get() + request.first_row * options_.state_bytes;
  batch.requests.push_back(std::move(request));
  return {&batch, rows, states};
}

void InferenceBatcher::Filled(const Place& place) {
  MutexLock lock(&mutex_);
  if (--place.batch->copying_ > 0) return;
  // Wakes a thread for what is ready, and once for the deadline, but not for every request in between.
  if (place.batch->announced_ && !Closed(Clock::time_point::min())) return;
  place.batch->announced_ = true;
  changed_.NotifyOne();
}

bool InferenceBatcher::Closed(Clock::time_point now) const {
  if (queue_.empty() || queue_.front()->copying_ > 0) return false;
  const InferenceBatch& batch = *queue_.front();
  return queue_.size() > 1 || batch.rows == options_.max_rows || waiting_ >= clients_ ||
         now >= batch.requests.front().arrived + options_.deadline;
}

InferenceBatch* InferenceBatcher::TakeOldest(Clock::time_point now) {
  if (!Closed(now)) return nullptr;
  InferenceBatch* const batch = queue_.front();
  queue_.pop_front();
  if (!queue_.empty()) changed_.NotifyOne();  // for another thread
  return batch;
}

InferenceBatch* InferenceBatcher::TryTake(Clock::time_point now) {
  MutexLock lock(&mutex_);
  return TakeOldest(now);
}

void InferenceBatcher::SetThreads(size_t threads) {
  HEADRACE_CHECK(threads > 0);
  MutexLock lock(&mutex_);
  threads_ = threads;
  // Whoever waits for a batch and is to wait no longer leaves it to another.
  changed_.NotifyAll();
  threads_changed_.NotifyAll();
}

InferenceBatch* InferenceBatcher::Take(size_t thread) {
  MutexLock lock(&mutex_);
  while (!closed_) {
    if (thread >= threads_) {
      threads_changed_.Wait(&mutex_);
      continue;
    }
    if (InferenceBatch* const batch = TakeOldest(Clock::now()); batch != nullptr) return batch;
    if (queue_.empty()) {
      changed_.Wait(&mutex_);
    } else if (queue_.front()->copying_ > 0) {
      queue_.front()->announced_ = false;  // until all of it is there nobody looks after the deadline
      changed_.Wait(&mutex_);
    } else {
      changed_.WaitUntil(&mutex_, queue_.front()->requests.front().arrived + options_.deadline);
    }
  }
  return nullptr;
}

std::vector<InferenceRequest> InferenceBatcher::Release(InferenceBatch* batch) {
  MutexLock lock(&mutex_);
  waiting_ -= batch->requests.size();
  batch->rows = 0;
  batch->announced_ = false;
  free_.push_back(batch);
  return std::exchange(batch->requests, {});
}

void InferenceBatcher::Close() {
  MutexLock lock(&mutex_);
  closed_ = true;
  changed_.NotifyAll();
  threads_changed_.NotifyAll();
}

}  // namespace headrace
