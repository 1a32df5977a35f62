#include "actor/acting.h"

#include <algorithm>
#include <array>
#include <exception>
#include <numeric>
#include <utility>

#include "ATen/ops/zeros.h"
#include "absl/strings/str_cat.h"
#include "actor/lane_tensors.h"
#include "common/log.h"
#include "common/protocol.h"
#include "common/random.h"
#include "common/seconds.h"
#include "common/status_macros.h"

namespace headrace {
namespace {

constexpr std::chrono::milliseconds kPatience{100};  // of one wait, between two looks at should_stop
constexpr std::chrono::milliseconds kReportInterval{100};
constexpr int kMostFailures = 100;
constexpr std::chrono::seconds kInterruptionInterval{10};  // in which they are told of once
constexpr size_t kRecentEpisodes = 20;

using Clock = std::chrono::steady_clock;

// Experience that the shard refuses is no mistake in a configuration that was good enough to write it.
absl::Status AsFailure(const absl::Status& status) {
  if (!absl::IsInvalidArgument(status) && !absl::IsFailedPrecondition(status)) return status;
  return absl::InternalError(absl::StrCat("replay refuses this actor: ", status.message()));
}

const std::byte* RowOf(const at::Tensor& tensor, int64_t lane) {
  return static_cast<const std::byte*>(tensor.const_data_ptr()) + lane * (tensor.nbytes() / tensor.size(0));
}

}  // namespace

uint64_t SeedOf(const v1::RunConfig& config, const v1::Lease& lease) {
  // One that follows another in the same place must not live through the same again.
  const uint64_t generation = lease.generation();
  const uint64_t seed = config.seed();
  const std::array<uint32_t, 4> block =
      Philox4x32({static_cast<uint32_t>(generation), static_cast<uint32_t>(generation >> 32), 0, 0},
                 {static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)});
  return block[0] | uint64_t{block[1]} << 32;
}

RandomStream ExplorationStream(const v1::RunConfig& config, const v1::Lease& lease) {
  return {SeedOf(config, lease), StreamRole::kActor, lease.index(), StreamPurpose::kExploration};
}

VectorEnvironment::Options LaneOptions(const v1::RunConfig& config, const v1::Lease& lease) {
  return {.lanes = static_cast<int>(config.actor().environments()),
          .seed = SeedOf(config, lease),
          .role = StreamRole::kActor,
          .first_lane = lease.index() * config.actor().environments(),
          .max_episode_steps = static_cast<int>(config.environment().max_episode_steps()),
          .step_delay = std::chrono::duration<double>(config.environment().step_delay_seconds()),
          .frame_stack = static_cast<int>(config.environment().frame_stack())};
}

absl::StatusOr<std::unique_ptr<MovingWriter>> StartReplayWriter(const ActingOptions& options,
                                                                std::vector<std::string> addresses) {
  const size_t home = options.lease.index() % addresses.size();
  const size_t second = options.lease.index() / addresses.size();
  const bool in_rounds = options.experience.round_steps > 0;
  // What a round or a step in lockstep waits for is with one shard.
  const bool stays = in_rounds || options.config.deterministic() || options.config.actor().move_after_seconds() == 0;
  if (stays) addresses = {std::move(addresses[home])};
  return MovingWriter::Start(
      {.writer = {.peer = MakePeer(options.lease.run_id(), absl::StrCat("actor ", options.lease.index())),
                  .table = options.lease.table().name(),
                  .signature = options.experience.signature,
                  .pattern = {.rows = options.experience.item_rows,
                              .stride = options.experience.item_stride,
                              .least_rows = options.experience.ShortestItemRows(),
                              .span_episodes = options.experience.span_episodes,
                              .until_cut = in_rounds},
                  .chunk_rows = options.config.actor().chunk_rows(),
                  .window_bytes = options.config.actor().window_bytes(),
                  .lockstep = options.config.deterministic()},
       .addresses = std::move(addresses),
       .home = stays ? 0 : home,
       .second = second,
       .patience = std::chrono::duration<double>(options.config.actor().move_after_seconds())});
}

absl::StatusOr<std::unique_ptr<Acting>> Acting::Create(ActingOptions options, std::unique_ptr<VectorEnvironment> lanes,
                                                       ActionSource* action_source, RowWriter* writer,
                                                       Attendance* attendance, ActorMetrics* metrics,
                                                       std::function<bool()> should_stop) {
  std::unique_ptr<Acting> acting(new Acting(std::move(options), std::move(lanes), action_source, writer, attendance,
                                            metrics, std::move(should_stop)));
  const v1::Signature& signature = acting->options_.experience.signature;
  const ArraySpec& native = acting->lanes_->facts().observation;
  ASSIGN_OR_RETURN(acting->observations_, MakeObservationTensor(native, signature, acting->lanes_->size()));
  ASSIGN_OR_RETURN(acting->final_observation_, MakeObservationTensor(native, signature, 1));
  ASSIGN_OR_RETURN(acting->recorder_, RowRecorder::Create(signature, acting->final_observation_.nbytes()));
  acting->recurrent_state_ = MakeRecurrentStateTensor(signature, acting->lanes_->size());
  acting->state_before_ = MakeRecurrentStateTensor(signature, acting->lanes_->size());
  if (acting->options_.lease.observation_moments()) {
    if (acting->observations_.scalar_type() != at::kFloat) {
      return absl::InvalidArgumentError(absl::StrCat("expected observations of type FLOAT32 for their moments, got ",
                                                     at::toString(acting->observations_.scalar_type())));
    }
    acting->moments_ = std::make_unique<MomentsAccumulator>(native.elements());
  }
  if (acting->options_.experience.return_discount > 0) {
    acting->return_moments_ = std::make_unique<MomentsAccumulator>(1);
  }
  return acting;
}

Acting::Acting(ActingOptions options, std::unique_ptr<VectorEnvironment> lanes, ActionSource* action_source,
               RowWriter* writer, Attendance* attendance, ActorMetrics* metrics, std::function<bool()> should_stop)
    : options_(std::move(options)),
      lanes_(std::move(lanes)),
      action_source_(action_source),
      writer_(writer),
      attendance_(attendance),
      metrics_(metrics),
      should_stop_(std::move(should_stop)),
      drop_episodes_(options_.config.actor().on_backpressure() == v1::DROP_EPISODE),
      actions_(MakeActionTensor(lanes_->facts().action, lanes_->size())),
      log_probs_(at::zeros({lanes_->size()}, at::kFloat)),
      in_episode_(lanes_->size()),
      dropping_(lanes_->size()),
      failures_(lanes_->size()),
      rewards_(lanes_->size()),
      random_steps_left_(options_.lease.random_steps()),
      interruptions_(kInterruptionInterval) {
  metrics_->window_bytes.Set(static_cast<double>(options_.config.actor().window_bytes()));
}

absl::Status Acting::StepUntilStopped() {
  try {
    while (!should_stop_()) RETURN_IF_ERROR(StepOnce());
    return absl::CancelledError("stopping");
  } catch (const std::exception& error) {
    return absl::InternalError(error.what());  // of LibTorch
  }
}

absl::Status Acting::Run() {
  if (const absl::Status status = StepUntilStopped(); !absl::IsCancelled(status)) return status;
  Report(true);
  // What has been experienced is handed in, unless the shard is gone or takes nothing more.
  if (!attendance_->stopped()) {
    if (const absl::Status drained = writer_->Drain(Clock::now() + options_.drain_patience); !drained.ok()) {
      LogError("%d bytes of experience are lost: %s", writer_->unacknowledged_bytes(), drained.ToString());
    }
  }
  return attendance_->status();
}

absl::Status Acting::StepOnce() {
  const Time begin = Clock::now();
  if (stepped_ != Time{}) times_.record += Seconds(begin - stepped_) - std::exchange(held_, 0);
  CopyObservations(lanes_->observations(), lanes_->facts().observation.data_type, observations_);
  const ActMode mode = random_steps_left_ > 0 ? ActMode::kRandom : ActMode::kExplore;
  if (recurrent_state_.defined()) state_before_.copy_(recurrent_state_);
  ASSIGN_OR_RETURN(acting_version_, action_source_->Act(observations_, mode, recurrent_state_, actions_, log_probs_));
  const Time acted = Clock::now();
  RETURN_IF_ERROR(StepLanes(actions_, *lanes_));
  stepped_ = Clock::now();
  times_.policy += Seconds(acted - begin) - action_source_->TakeAccountedSeconds();
  times_.step += Seconds(stepped_ - acted);
  metrics_->env_steps.Increment(lanes_->size());
  random_steps_left_ -= std::min<uint64_t>(random_steps_left_, lanes_->size());
  for (int lane = 0; lane < lanes_->size(); ++lane) RecordLane(lane);
  RETURN_IF_ERROR(CheckFailures());
  const uint32_t round_steps = options_.experience.round_steps;
  if (round_steps > 0 && ++round_steps_ == round_steps) return EndRound();
  RETURN_IF_ERROR(AsFailure(Send()));
  MoveIfNeeded();
  Report(false);
  return absl::OkStatus();
}

absl::Status Acting::EndRound() {
  round_steps_ = 0;
  CopyObservations(lanes_->observations(), lanes_->facts().observation.data_type, observations_);
  for (int lane = 0; lane < lanes_->size(); ++lane) AppendFinal(lane, RowOf(observations_, lane), v1::CUT);
  Report(true);
  RETURN_IF_ERROR(AsFailure(HandInAll()));
  return WaitForPolicy(acting_version_ + 1);
}

// One that does nothing but fail would go on like that for ever, and nobody would learn from it.
absl::Status Acting::CheckFailures() {
  const auto failing = std::ranges::find_if(failures_, [](int failures) { return failures >= kMostFailures; });
  if (failing == failures_.end()) return absl::OkStatus();
  const auto lane = static_cast<int>(failing - failures_.begin());
  return absl::InternalError(absl::StrFormat("lane %d of %s has failed at each of its last %d steps: %s", lane,
                                             lanes_->facts().name, *failing, lanes_->steps()[lane].cause));
}

void Acting::RecordLane(int lane) {
  const LaneStep& step = lanes_->steps()[lane];
  failures_[lane] = step.interrupted ? failures_[lane] + 1 : 0;
  const std::byte* const observation = RowOf(observations_, lane);
  AddMoments(lane);
  if (drop_episodes_ && !writer_->HasRoom() && !dropping_[lane]) {
    // What is in replay of this episode ends here, with the observation that the next row would have held.
    dropping_[lane] = true;
    metrics_->dropped_episodes.Increment();
    if (in_episode_[lane]) AppendFinal(lane, observation, v1::INTERRUPTED);
  }
  if (dropping_[lane]) {
    metrics_->dropped_steps.Increment();
  } else if (!step.interrupted) {
    writer_->Append(
        static_cast<uint32_t>(lane),
        recorder_->Row({.observation = observation,
                        .action = RowOf(actions_, lane),
                        .reward = static_cast<float>(step.reward),
                        .terminated = step.terminated,
                        .truncated = step.truncated,
                        .behaviour_log_prob = log_probs_.numel() > 0 ? log_probs_.const_data_ptr<float>()[lane] : 0,
                        .policy_version = acting_version_,
                        .recurrent_state = state_before_.defined() ? RowOf(state_before_, lane) : nullptr}),
        v1::NOT_ENDED);
    in_episode_[lane] = true;
  }
  if (!step.done()) return;
  EndEpisode(lane, step.interrupted ? v1::INTERRUPTED : step.terminated ? v1::TERMINATED : v1::TRUNCATED);
}

void Acting::AddMoments(int lane) {
  if (moments_ != nullptr) {
    moments_->Add(
        {reinterpret_cast<const float*>(RowOf(observations_, lane)), static_cast<size_t>(observations_.stride(0))});
  }
  if (return_moments_ != nullptr) {
    const LaneStep& step = lanes_->steps()[lane];
    rewards_[lane] = options_.experience.return_discount * rewards_[lane] + step.reward;
    const auto sum = static_cast<float>(rewards_[lane]);
    return_moments_->Add({&sum, 1});
    if (step.done()) rewards_[lane] = 0;
  }
}

void Acting::EndEpisode(int lane, v1::EpisodeEnd end) {
  const LaneStep& step = lanes_->steps()[lane];
  if (recurrent_state_.defined()) recurrent_state_[lane].zero_();
  if (in_episode_[lane]) {
    CopyObservations(lanes_->final_observation(lane), lanes_->facts().observation.data_type, final_observation_);
    AppendFinal(lane, RowOf(final_observation_, 0), end);
  }
  dropping_[lane] = false;
  v1::Episode& episode = *report_.add_episodes();
  episode.set_episode_return(step.episode_return);
  episode.set_length(static_cast<uint64_t>(step.episode_length));
  episode.set_end(end);
  episode.set_cause(step.cause);
  episode.set_policy_version(acting_version_);
  metrics_->episodes.Increment();
  if (end == v1::INTERRUPTED) {
    (step.threw ? metrics_->interrupted_episodes.exception : metrics_->interrupted_episodes.not_a_number).Increment();
    if (const uint64_t times = interruptions_.Count(1, Clock::now()); times > 0) {
      LogWarning("%d episodes interrupted, the last of them in lane %d after %d steps: %s", times, lane,
                 step.episode_length, step.cause);
    }
    return;
  }
  recent_returns_.push_back(step.episode_return);
  if (recent_returns_.size() > kRecentEpisodes) recent_returns_.pop_front();
  metrics_->episode_return.Set(std::accumulate(recent_returns_.begin(), recent_returns_.end(), 0.0) /
                               static_cast<double>(recent_returns_.size()));
}

void Acting::AppendFinal(int lane, const std::byte* observation, v1::EpisodeEnd end) {
  writer_->Append(static_cast<uint32_t>(lane), recorder_->ObservationRow(observation), end);
  in_episode_[lane] = false;
}

absl::Status Acting::Send() {
  absl::Status status = writer_->Send(Time{});  // without waiting
  if (drop_episodes_) return absl::IsDeadlineExceeded(status) ? absl::OkStatus() : status;
  while (absl::IsDeadlineExceeded(status)) {
    if (should_stop_()) return absl::CancelledError("stopping");
    MoveIfNeeded();
    const Time begin = Clock::now();
    status = writer_->Send(begin + kPatience);
    // Counted while it lasts, so that whoever looks sees it.
    const double blocked = Seconds(Clock::now() - begin);
    metrics_->blocked_seconds.Increment(blocked);
    held_ += blocked;
    Report(false);
  }
  RETURN_IF_ERROR(status);
  return options_.config.deterministic() ? WaitForPolicy(writer_->policy_version()) : absl::OkStatus();
}

absl::Status Acting::WaitForPolicy(uint64_t version) {
  while (true) {
    const Time begin = Clock::now();
    const absl::Status status = action_source_->WaitFor(version, begin + kPatience);
    // Counted while it lasts, as in Send.
    const double waited = Seconds(Clock::now() - begin);
    metrics_->policy_wait_seconds.Increment(waited);
    held_ += waited;
    if (!absl::IsDeadlineExceeded(status)) return status;
    if (should_stop_()) return absl::CancelledError("stopping");
  }
}

void Acting::MoveIfNeeded() {
  if (!writer_->ShouldMove()) return;
  CopyObservations(lanes_->observations(), lanes_->facts().observation.data_type, observations_);
  for (int lane = 0; lane < lanes_->size(); ++lane) {
    if (!in_episode_[lane]) continue;
    AppendFinal(lane, RowOf(observations_, lane), v1::CUT);
    // After a row that is no step the learner begins with no state, too.
    if (recurrent_state_.defined()) recurrent_state_[lane].zero_();
  }
  writer_->Move();
  metrics_->moves.Increment();
}

absl::Status Acting::HandInAll() {
  while (true) {
    const Time begin = Clock::now();
    const double learned = LearningSeconds();
    const absl::Status status = writer_->Drain(begin + kPatience);
    const double drained = Seconds(Clock::now() - begin);
    metrics_->blocked_seconds.Increment(std::max(0.0, drained - (LearningSeconds() - learned)));
    held_ += drained;
    if (!absl::IsDeadlineExceeded(status)) return status;
    if (should_stop_()) return absl::CancelledError("stopping");
  }
}

// So far, of an actor that learns when it drains what it has experienced.
double Acting::LearningSeconds() const {
  return metrics_->update_seconds.Value() + metrics_->policy_wait_seconds.Value();
}

void Acting::Report(bool now) {
  const Time time = Clock::now();
  if (!now && time - last_report_ < kReportInterval) return;
  last_report_ = time;
  metrics_->unacknowledged_bytes.Set(static_cast<double>(writer_->unacknowledged_bytes()));
  metrics_->reconnects.Increment(static_cast<double>(writer_->reconnects()) - metrics_->reconnects.Value());
  metrics_->sent_bytes.Increment(static_cast<double>(writer_->sent_bytes()) - metrics_->sent_bytes.Value());
  CountTimes();
  metrics_->dropped_episode_reports.Increment(static_cast<double>(attendance_->dropped_episodes()) -
                                              metrics_->dropped_episode_reports.Value());
  if (moments_ != nullptr && moments_->count() > 0) *report_.mutable_observation_moments() = moments_->Take();
  if (return_moments_ != nullptr && return_moments_->count() > 0) {
    *report_.mutable_return_moments() = return_moments_->Take();
  }
  if (report_.episodes().empty() && !report_.has_observation_moments() && !report_.has_return_moments()) return;
  attendance_->Report(std::exchange(report_, {}));
}

void Acting::CountTimes() {
  metrics_->policy_seconds.Increment(times_.policy);
  metrics_->step_seconds.Increment(times_.step);
  metrics_->record_seconds.Increment(times_.record);
  times_ = {};
}

}  // namespace headrace
