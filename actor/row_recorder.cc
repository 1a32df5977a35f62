#include "actor/row_recorder.h"

#include <algorithm>
#include <string>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "replay/row_layout.h"

namespace headrace {
namespace {

template <typename T>
const std::byte* BytesAt(const T& value) {
  return reinterpret_cast<const std::byte*>(&value);
}

}  // namespace

absl::StatusOr<std::unique_ptr<RowRecorder>> RowRecorder::Create(const v1::Signature& signature,
                                                                 size_t observation_bytes) {
  // Columns of one number; observation and action are as wide as the environment makes them, recurrent_state as the
  // network.
  struct Known {
    std::string name;
    Source source;
    v1::DataType type;
  };
  static const auto* const known = new std::vector<Known>{
      {"observation", Source::kObservation, v1::DATA_TYPE_UNSPECIFIED},
      {"action", Source::kAction, v1::DATA_TYPE_UNSPECIFIED},
      {"reward", Source::kReward, v1::FLOAT32},
      {"terminated", Source::kTerminated, v1::UINT8},
      {"truncated", Source::kTruncated, v1::UINT8},
      {"observation_only", Source::kObservationOnly, v1::UINT8},
      {"behaviour_log_prob", Source::kLogProb, v1::FLOAT32},
      {"policy_version", Source::kPolicyVersion, v1::INT64},
      {"recurrent_state", Source::kRecurrentState, v1::DATA_TYPE_UNSPECIFIED},
  };
  ASSIGN_OR_RETURN(const RowLayout layout, RowLayout::Create(signature));
  auto recorder = std::make_unique<RowRecorder>();
  size_t widest = 0;
  for (const RowLayout::ColumnLayout& column : layout.columns()) {
    const auto found =
        std::find_if(known->begin(), known->end(), [&](const Known& k) { return k.name == column.name; });
    if (found == known->end())
      return absl::InvalidArgumentError(absl::StrCat("actors do not record a column ", column.name));
    const bool any_type = found->type == v1::DATA_TYPE_UNSPECIFIED;
    if (!any_type && (column.type != found->type || column.bytes != BytesOf(found->type))) {
      return absl::InvalidArgumentError(
          absl::StrCat("expected column ", column.name, " to be one ", v1::DataType_Name(found->type)));
    }
    if (found->source == Source::kObservation) {
      if (observation_bytes < column.bytes || observation_bytes % column.bytes != 0) {
        return absl::InvalidArgumentError(absl::StrCat("expected observations of ", column.bytes,
                                                       " bytes, or stacks of such, got ", observation_bytes));
      }
      recorder->older_frames_bytes_ = observation_bytes - column.bytes;
    }
    recorder->sources_.push_back(found->source);
    widest = std::max(widest, column.bytes);
  }
  recorder->zeros_.resize(widest);
  recorder->columns_.resize(layout.columns().size());
  return recorder;
}

std::span<const std::byte* const> RowRecorder::Row(const StepValues& values) {
  reward_ = values.reward;
  log_prob_ = values.behaviour_log_prob;
  terminated_ = values.terminated;
  truncated_ = values.truncated;
  policy_version_ = static_cast<int64_t>(values.policy_version);
  for (size_t i = 0; i < sources_.size(); ++i) {
    switch (sources_[i]) {
      case Source::kObservation:
        columns_[i] = values.observation + older_frames_bytes_;
        break;
      case Source::kAction:
        columns_[i] = values.action;
        break;
      case Source::kReward:
        columns_[i] = BytesAt(reward_);
        break;
      case Source::kTerminated:
        columns_[i] = BytesAt(terminated_);
        break;
      case Source::kTruncated:
        columns_[i] = BytesAt(truncated_);
        break;
      case Source::kObservationOnly:
        columns_[i] = zeros_.data();
        break;
      case Source::kLogProb:
        columns_[i] = BytesAt(log_prob_);
        break;
      case Source::kPolicyVersion:
        columns_[i] = BytesAt(policy_version_);
        break;
      case Source::kRecurrentState:
        columns_[i] = values.recurrent_state;
        break;
    }
  }
  return columns_;
}

std::span<const std::byte* const> RowRecorder::ObservationRow(const std::byte* observation) {
  static constexpr uint8_t kSet = 1;
  for (size_t i = 0; i < sources_.size(); ++i) {
    columns_[i] = sources_[i] == Source::kObservation       ? observation + older_frames_bytes_
                  : sources_[i] == Source::kObservationOnly ? BytesAt(kSet)
                                                            : zeros_.data();
  }
  return columns_;
}

}  // namespace headrace
