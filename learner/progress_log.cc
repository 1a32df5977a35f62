#include "learner/progress_log.h"

#include <cmath>
#include <limits>

#include "common/clock.h"
#include "common/status_macros.h"

namespace headrace {
namespace {

constexpr size_t kRecentEpisodes = 100;

}  // namespace

absl::StatusOr<std::unique_ptr<ProgressLog>> ProgressLog::Open(
    RunDirectory* run, uint64_t told_steps, const RunPosition& start,
    const google::protobuf::RepeatedPtrField<v1::Episode>& recent) {
  ASSIGN_OR_RETURN(std::unique_ptr<EventFile> events,
                   EventFile::Create(run->tensorboard(), static_cast<int64_t>(told_steps) + 1, RealClock()));
  std::unique_ptr<ProgressLog> log(new ProgressLog(run, std::move(events), start));
  for (const v1::Episode& episode : recent) log->AddEpisode(episode);
  return log;
}

void ProgressLog::AddEpisode(const v1::Episode& episode) {
  if (episode.end() == v1::INTERRUPTED) return;  // its return says nothing about the policy
  recent_.push_back(episode);
  if (recent_.size() > kRecentEpisodes) recent_.pop_front();
}

double ProgressLog::RecentReturn() const {
  if (recent_.empty()) return std::numeric_limits<double>::quiet_NaN();
  double sum = 0;
  for (const v1::Episode& episode : recent_) sum += episode.episode_return();
  return sum / static_cast<double>(recent_.size());
}

double ProgressLog::RecentReturnDeviation() const {
  const double mean = RecentReturn();
  double squares = 0;
  for (const v1::Episode& episode : recent_) squares += std::pow(episode.episode_return() - mean, 2);
  return std::sqrt(squares / static_cast<double>(recent_.size()));
}

google::protobuf::RepeatedPtrField<v1::Episode> ProgressLog::RecentEpisodes() const {
  google::protobuf::RepeatedPtrField<v1::Episode> episodes;
  for (const v1::Episode& episode : recent_) {
    v1::Episode& saved = *episodes.Add();
    saved.set_episode_return(episode.episode_return());
    saved.set_length(episode.length());
  }
  return episodes;
}

absl::Status ProgressLog::Write(const RunPosition& position, const ReplaySampler::Stats& replay,
                                const Scalars& losses) {
  const double seconds = position.wall_seconds - last_.wall_seconds;
  if (seconds <= 0) return absl::OkStatus();
  Scalars scalars = losses;
  if (!recent_.empty()) {
    double length = 0;
    for (const v1::Episode& episode : recent_) length += static_cast<double>(episode.length());
    scalars.emplace_back("rollout/ep_rew_mean", RecentReturn());
    scalars.emplace_back("rollout/ep_len_mean", length / static_cast<double>(recent_.size()));
  }
  scalars.emplace_back("charts/SPS", static_cast<double>(position.env_steps - last_.env_steps) / seconds);
  scalars.emplace_back("charts/updates_per_second", static_cast<double>(position.updates - last_.updates) / seconds);
  if (!std::isnan(policy_lag_)) scalars.emplace_back("charts/policy_lag_updates", policy_lag_);
  scalars.emplace_back("charts/batch_wait_share", wait_seconds_ / seconds);
  scalars.emplace_back("replay/items", static_cast<double>(replay.items));
  scalars.emplace_back("replay/stored_bytes", static_cast<double>(replay.stored_bytes));
  scalars.emplace_back("replay/lost_steps", static_cast<double>(replay.lost_steps));
  last_ = position;
  wait_seconds_ = 0;
  RETURN_IF_ERROR(run_->AppendProgress(position, scalars));
  return events_->Append(static_cast<int64_t>(position.env_steps), scalars);
}

absl::Status ProgressLog::WriteEvaluation(const RunPosition& position, const EvaluationRow& row) {
  RETURN_IF_ERROR(run_->AppendEvaluation(position, row));
  return events_->Append(static_cast<int64_t>(position.env_steps),
                         {{"eval/mean_reward", row.mean_return}, {"eval/mean_ep_length", row.mean_length}});
}

}  // namespace headrace
