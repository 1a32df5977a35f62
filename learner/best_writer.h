// Writes the policy that was evaluated best beside the training, as a checkpoint of its own. One at a time: of those
// that come meanwhile the newest waits, which is the best of them.
//
//   best->Write(manifest, policy);     // returns at once
//   best->Poll() / Wait()              // what became of those that were written
//
// Not thread-safe; the writing itself happens on a thread of its own.
#ifndef HEADRACE_LEARNER_BEST_WRITER_H_
#define HEADRACE_LEARNER_BEST_WRITER_H_

#include <future>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "grpcpp/support/slice.h"
#include "proto/checkpoint.pb.h"

namespace headrace {

class BestWriter {
 public:
  explicit BestWriter(const std::string& checkpoints);
  // Waits for what is to be written.
  ~BestWriter();

  // `manifest` without a name.
  void Write(v1::CheckpointManifest manifest, grpc::Slice policy);
  // The newest is not on disk yet.
  bool writing() const { return writing_.valid(); }
  // Goes on with what waits. The failure of one that has ended since the last call; OK: there is none.
  absl::Status Poll();
  // The same, waiting for all.
  absl::Status Wait();

 private:
  struct Best {
    v1::CheckpointManifest manifest;
    grpc::Slice policy;
  };

  void Start(Best best);

  const std::string directory_;
  std::future<absl::Status> writing_;
  std::optional<Best> next_;  // only while another is being written
};

}  // namespace headrace

#endif  // HEADRACE_LEARNER_BEST_WRITER_H_
