#include "learner/best_writer.h"

#include <chrono>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/checkpoint.h"

namespace headrace {

BestWriter::BestWriter(const std::string& checkpoints) : directory_(absl::StrCat(checkpoints, "/", kBestCheckpoint)) {}

BestWriter::~BestWriter() { (void)Wait(); }

void BestWriter::Write(v1::CheckpointManifest manifest, grpc::Slice policy) {
  manifest.set_name(kBestCheckpoint);
  Best best = {std::move(manifest), std::move(policy)};
  if (writing()) {
    next_ = std::move(best);
  } else {
    Start(std::move(best));
  }
}

absl::Status BestWriter::Poll() {
  if (!writing() || writing_.wait_for(std::chrono::seconds(0)) != std::future_status::ready) return absl::OkStatus();
  absl::Status written = writing_.get();
  if (next_.has_value()) Start(*std::exchange(next_, std::nullopt));
  return written;
}

absl::Status BestWriter::Wait() {
  absl::Status all;
  while (writing()) {
    writing_.wait();
    all.Update(Poll());
  }
  return all;
}

void BestWriter::Start(Best best) {
  writing_ = std::async(std::launch::async, [this, moved = std::move(best)] {
    const std::string_view policy(reinterpret_cast<const char*>(moved.policy.begin()), moved.policy.size());
    return SaveCheckpoint(directory_, moved.manifest, {{kPolicyFile, policy}});
  });
}

}  // namespace headrace
