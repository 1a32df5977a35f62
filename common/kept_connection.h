// A connection that is made again, with growing pauses, whenever it is lost, until the peer refuses it for good.
//
//   KeptConnection connection("the learner at 127.0.0.1:4000",
//                             {.open = [this] { ...; stream_ = ClientStream::Open(...); return absl::OkStatus(); },
//                              .close = [this] { stream_.reset(); },
//                              .lost = [this](const absl::Status& status, bool final) { ... }});
//
// The three run on a thread of its own, in this order, again and again; a failed `open` is followed by `lost` at once.
// What is opened says when it has ended by calling Lost. Only the first word of each connection counts.
//
// Thread-safe, but for construction and destruction.
#ifndef HEADRACE_COMMON_KEPT_CONNECTION_H_
#define HEADRACE_COMMON_KEPT_CONNECTION_H_

#include <functional>
#include <string>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "common/mutex.h"

namespace headrace {

class KeptConnection {
 public:
  struct Steps {
    // May wait, but not for ever: Stop does not interrupt it.
    std::function<absl::Status()> open;
    // After each `open` that was OK. To be run without a mutex that the streams' last callbacks take.
    std::function<void()> close;
    // Why there is no connection now; never OK. `final`: IsFinal(status), and no further attempt is made.
    std::function<void(const absl::Status& status, bool final)> lost;
  };

  // `peer`: who is on the other side, for the log, which tells once of each loss and each return.
  KeptConnection(std::string peer, Steps steps);
  // Closes what is open; `lost` is not called for that.
  ~KeptConnection();

  // This connection has ended. OK: the peer ended it.
  void Lost(const absl::Status& status) ABSL_LOCKS_EXCLUDED(mutex_);
  // The peer has answered: the next pause is a short one again.
  void Proven() ABSL_LOCKS_EXCLUDED(mutex_);
  // Closes what is open, and opens nothing again. Returns at once.
  void Stop() ABSL_LOCKS_EXCLUDED(mutex_);

  // How often the peer has answered on a connection after the first.
  uint64_t reconnects() const ABSL_LOCKS_EXCLUDED(mutex_);

  // The peer would answer the same again: what was asked is wrong, or asked of the wrong process.
  static bool IsFinal(const absl::Status& status);

 private:
  void Run() ABSL_LOCKS_EXCLUDED(mutex_);
  absl::Status RunOnce() ABSL_LOCKS_EXCLUDED(mutex_);

  const std::string peer_;
  const Steps steps_;

  mutable Mutex mutex_;
  ConditionVariable changed_;
  bool lost_ ABSL_GUARDED_BY(mutex_) = false;
  bool proven_ ABSL_GUARDED_BY(mutex_) = false;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  uint64_t proven_connections_ ABSL_GUARDED_BY(mutex_) = 0;
  absl::Status status_ ABSL_GUARDED_BY(mutex_);   // why this connection was lost
  absl::Status trouble_ ABSL_GUARDED_BY(mutex_);  // what the log was told last; OK since the peer has answered
  std::string hint_ ABSL_GUARDED_BY(mutex_);      // and what it was told beside

  std::thread thread_;
};

}  // namespace headrace

#endif  // HEADRACE_COMMON_KEPT_CONNECTION_H_
