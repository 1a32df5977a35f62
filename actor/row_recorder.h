// Turns the steps of lanes into rows of replay: one value for each column of the signature, by the column's name.
//
// Not thread-safe.
#ifndef HEADRACE_ACTOR_ROW_RECORDER_H_
#define HEADRACE_ACTOR_ROW_RECORDER_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "proto/column.pb.h"

namespace headrace {

// One step; the pointers hold as many bytes as the columns of those names, that of the observation perhaps a stack of
// them.
struct StepValues {
  const std::byte* observation;
  const std::byte* action;
  float reward;
  bool terminated;
  bool truncated;
  float behaviour_log_prob;
  uint64_t policy_version;
  const std::byte* recurrent_state = nullptr;  // before the observation; null where it is not recorded
};

class RowRecorder {
 public:
  // Of observations of `observation_bytes` that are wider than their column the last bytes are recorded: the newest
  // frame of a stack. InvalidArgument: a column that actors do not know how to fill, or of another type than they fill
  // it with; observations that are no stack of what is recorded.
  static absl::StatusOr<std::unique_ptr<RowRecorder>> Create(const v1::Signature& signature, size_t observation_bytes);

  // The row's columns, in the order of the signature; valid until the next call.
  std::span<const std::byte* const> Row(const StepValues& values);
  // A row that is an observation and no step: every other column is zero but observation_only. That of recurrent_state,
  // too: an unroll that begins with such a row begins anew after it.
  std::span<const std::byte* const> ObservationRow(const std::byte* observation);

 private:
  enum class Source {
    kObservation,
    kAction,
    kReward,
    kTerminated,
    kTruncated,
    kObservationOnly,
    kLogProb,
    kPolicyVersion,
    kRecurrentState
  };

  std::vector<Source> sources_;
  size_t older_frames_bytes_ = 0;  // of an observation
  std::vector<std::byte> zeros_;
  std::vector<const std::byte*> columns_;
  float reward_ = 0;
  float log_prob_ = 0;
  uint8_t terminated_ = 0;
  uint8_t truncated_ = 0;
  int64_t policy_version_ = 0;
};

}  // namespace headrace

#endif  // HEADRACE_ACTOR_ROW_RECORDER_H_
