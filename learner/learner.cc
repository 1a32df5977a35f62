#include "learner/learner.h"

#include <algorithm>
#include <exception>
#include <thread>
#include <utility>

#include "ATen/Parallel.h"
#include "ATen/core/Tensor.h"
#include "absl/strings/str_cat.h"
#include "algorithm/recorded_columns.h"
#include "algorithm/registry.h"
#include "common/log.h"
#include "common/policy_version.h"
#include "common/protocol.h"
#include "common/seconds.h"
#include "common/shutdown.h"
#include "common/status_macros.h"
#include "learner/final_evaluation.h"
#include "learner/pushed_updates.h"
#include "learner/replay_restore.h"
#include "learner/run_end.h"
#include "learner/sampled_updates.h"
#include "learner/table_spec.h"
#include "replay/ratio.h"

namespace headrace {
namespace {

constexpr std::chrono::milliseconds kHousekeepingInterval{20};
constexpr std::chrono::milliseconds kSignalInterval{100};
constexpr std::chrono::seconds kInterruptionInterval{10};  // in which they are told of once
constexpr std::chrono::seconds kFirstActorPatience{3600};
constexpr std::chrono::seconds kLeavePatience{10};
// For the checkpoint that is under way when the learner is told to end, and its last one: less than whoever kills it in
// the end gives it (deploy/kubernetes/base/learner.yaml, tools/headrace_cli/supervisor.py), with connecting.
constexpr std::chrono::seconds kLastCheckpointsPatience{150};

}  // namespace

Learner::Learner(LearnerOptions options, RunDirectory* run, RunService* members, ParameterService* parameters,
                 InferenceService* inference, GradientService* gradients, LearnerMetrics* metrics)
    : config_(std::move(options.config)),
      identity_(std::move(options.identity)),
      replay_addresses_(std::move(options.replay_addresses)),
      resume_from_(std::move(options.resume_from)),
      init_from_(std::move(options.init_from)),
      run_(run),
      members_(members),
      parameters_(parameters),
      inference_(inference),
      gradients_(gradients),
      metrics_(metrics),
      start_(std::chrono::steady_clock::now()),
      // One mechanism decides.
      threads_(InferenceTuning::Wanted(config_) ? ThreadTuner(1) : ThreadTuner::For(config_)),
      waiting_(&metrics_->waiting, start_),
      interruptions_(kInterruptionInterval) {
  metrics_->shards.Set(static_cast<double>(replay_addresses_.size()));
  metrics_->checkpoint_interval.Set(config_.checkpoint().interval_seconds());
  metrics_->divergences.Set(identity_.divergences());
  if (identity_.divergences() > 0) metrics_->diverged_timestamp.Set(identity_.diverged_seconds());
  if (resume_from_.has_value()) {
    counters_ = resume_from_->manifest.counters();
    const double committed = resume_from_->manifest.committed_seconds();
    if (committed > 0) metrics_->checkpoint_timestamp.Set(committed);
  }
  metrics_->run_lost_steps.Set(static_cast<double>(counters_.lost_steps()));
  TellPosition();
}

Learner::~Learner() = default;

void Learner::CountSteps(uint64_t env_steps) {
  metrics_->env_steps.Increment(static_cast<double>(env_steps - counters_.env_steps()));
  counters_.set_env_steps(env_steps);
}

void Learner::TellPosition() {
  metrics_->run_updates.Set(static_cast<double>(counters_.updates()));
  metrics_->run_env_steps.Set(static_cast<double>(counters_.env_steps()));
}

RunPosition Learner::Position() const {
  return {.env_steps = counters_.env_steps(), .wall_seconds = WallSeconds(), .updates = counters_.updates()};
}

double Learner::WallSeconds() const {
  return counters_.wall_seconds() + Seconds(std::chrono::steady_clock::now() - start_);
}

double Learner::Progress() const {
  // When steps are counted depends on the clock. In lockstep they follow from the updates.
  const uint64_t steps = config_.deterministic() ? MakeRatio(config_, experience_).StepsNeeded(counters_.updates() + 1)
                                                 : counters_.env_steps();
  return ProgressAfter(config_.stop(), steps);
}

uint64_t Learner::PackedVersion() const { return PackPolicyVersion(identity_.incarnation(), counters_.updates()); }

std::string Learner::EndedBefore() const { return counters_.end_reason().empty() ? "" : EndReached(); }

std::string Learner::EndReached() const {
  std::optional<Ratio> ratio;
  if (learned_ != nullptr) ratio = MakeRatio(config_, experience_);
  return RunEnd(config_.stop(), counters_, WallSeconds(), ratio);
}

absl::StatusOr<v1::EnvironmentSpec> Learner::WaitForEnvironment() {
  LogInfo("waiting for the first actor");
  v1::RunStatus status;
  status.set_waiting_for("the first actor");
  members_->SetStatus(status);
  while (!ShutdownSignal::Requested()) {
    const Time now = std::chrono::steady_clock::now();
    absl::StatusOr<v1::EnvironmentSpec> environment =
        members_->WaitForEnvironment(std::min(now + kSignalInterval, start_ + kFirstActorPatience));
    waiting_.Count(metrics_->waiting.first_actor);
    if (!absl::IsDeadlineExceeded(environment.status()) || now >= start_ + kFirstActorPatience) return environment;
  }
  return absl::CancelledError("interrupted before the first actor came");
}

absl::Status Learner::SetUp() {
  ASSIGN_OR_RETURN(environment_, WaitForEnvironment());
  ASSIGN_OR_RETURN(experience_, MakeExperience(config_, environment_));
  RETURN_IF_ERROR(OpenInference());
  at::set_num_threads(threads_.threads());
  if (InferenceTuning::Wanted(config_)) {
    tuning_ = std::make_unique<InferenceTuning>(config_, experience_.batch_size * experience_.item_stride, inference_);
  }
  ASSIGN_OR_RETURN(learned_, LearnedState::Create(config_, environment_, &counters_));
  if (resume_from_.has_value()) {
    RETURN_IF_ERROR(learned_->Restore(*resume_from_));
  } else if (init_from_.has_value()) {
    RETURN_IF_ERROR(learned_->TakeNetworks(*init_from_));
  }
  const uint64_t told_steps = counters_.env_steps();
  ASSIGN_OR_RETURN(const double wall_seconds, run_->ForgetAfter(told_steps, counters_.updates()));
  counters_.set_wall_seconds(std::max(counters_.wall_seconds(), wall_seconds));
  if (wall_seconds > 0 && !resume_from_.has_value()) {
    LogError("there is no checkpoint yet: learning begins anew, and what was learned before is lost");
  }
  RETURN_IF_ERROR(StartUpdates());
  // What the shards hold beyond the checkpoint was inserted before, not in the first moment from here on.
  counters_.set_env_steps(updates_->env_steps());
  ASSIGN_OR_RETURN(progress_, ProgressLog::Open(run_, told_steps, Position(), counters_.recent_episodes()));
  last_progress_ = std::chrono::steady_clock::now();
  const v1::CheckpointConfig& checkpoint = config_.checkpoint();
  checkpoints_ = std::make_unique<CheckpointWriter>(
      run_->checkpoints(), checkpoint.replay() ? replay_addresses_ : std::vector<std::string>(),
      MakePeer(identity_.run_id(), "learner"), checkpoint.keep(),
      resume_from_.has_value() ? resume_from_->manifest.name() : "", metrics_);
  evaluations_ = std::make_unique<Evaluations>(
      config_, Evaluations::Surroundings{members_, parameters_, progress_.get(), metrics_, &counters_,
                                         identity_.run_id(), run_->checkpoints()});
  checkpoint_schedule_.emplace(checkpoint.interval_seconds(), resume_from_.has_value(),
                               std::chrono::steady_clock::now());
  if (resume_from_.has_value() && NumberOfShardsChanged(resume_from_->manifest, replay_addresses_.size())) {
    // Until there is a checkpoint of this number of shards, one that dies would begin with the old one again.
    checkpoint_schedule_->MakeDue();
  }
  resume_from_.reset();
  init_from_.reset();
  counters_.clear_end_reason();
  RETURN_IF_ERROR(Publish());
  members_->Open(MakeLease(), [this](uint64_t actors) {
    const uint64_t done = updates_->env_steps();
    const uint64_t left = experience_.random_steps > done ? experience_.random_steps - done : 0;
    // There may be more of them than configured, where they are scaled by others.
    const uint64_t sharers = std::max<uint64_t>(actors, config_.actor().processes());
    return (left + sharers - 1) / sharers;
  });
  return absl::OkStatus();
}

absl::Status Learner::OpenInference() {
  if (inference_ == nullptr) return absl::OkStatus();
  std::vector<std::unique_ptr<Policy>> policies;
  const uint32_t threads = InferenceTuning::Wanted(config_) ? InferenceTuning::MostPredictionThreads(config_)
                                                            : config_.inference().threads();
  for (uint32_t i = 0; i < threads; ++i) {
    ASSIGN_OR_RETURN(policies.emplace_back(), MakePolicy(config_, environment_));
  }
  ASSIGN_OR_RETURN(const v1::Column observation, SeenObservation(environment_));
  int64_t state_size = 0;
  for (const v1::Column& column : experience_.signature.columns()) {
    if (column.name() == "recurrent_state") state_size = column.shape(0);
  }
  return inference_->Open(observation, std::move(policies), state_size);
}

absl::Status Learner::StartUpdates() {
  if (gradients_ != nullptr) {
    RETURN_IF_ERROR(PushedUpdates::CheckSize(FactsOf(config_)->name, learned_->algorithm()->StateTensors()));
    ASSIGN_OR_RETURN(updates_, PushedUpdates::Start(config_.gradients(), counters_.env_steps(), PackedVersion(),
                                                    learned_->parameter_groups(), learned_->algorithm(),
                                                    learned_->optimizers(), gradients_));
    return absl::OkStatus();
  }
  SampledUpdates::Options options;
  options.config = config_;
  options.experience = experience_;
  options.peer = MakePeer(identity_.run_id(), "learner");
  options.addresses = replay_addresses_;
  options.env_steps = counters_.env_steps();
  options.updates = counters_.updates();
  options.resume_from = resume_from_.has_value() ? &*resume_from_ : nullptr;
  ASSIGN_OR_RETURN(updates_,
                   SampledUpdates::Start(options, learned_->algorithm(), &learned_->optimizers()->front(), metrics_));
  return absl::OkStatus();
}

v1::Lease Learner::MakeLease() const {
  v1::Lease lease;
  lease.set_run_id(identity_.run_id());
  *lease.mutable_table() = MakeTableSpec(config_, experience_);
  lease.set_observation_moments(experience_.observation_moments);
  return lease;
}

absl::Status Learner::Run() {
  try {
    RETURN_IF_ERROR(SetUp());
    return Train();
  } catch (const std::exception& error) {
    return absl::InternalError(error.what());  // of LibTorch
  }
}

absl::Status Learner::Train() {
  metrics_->training_timestamp.Set(Seconds(std::chrono::system_clock::now().time_since_epoch()));
  waiting_.Begin();
  while (!ShutdownSignal::Requested()) {
    const absl::StatusOr<UpdateSource::Arrival> arrival =
        updates_->Next(Moment(), std::chrono::steady_clock::now() + kHousekeepingInterval);
    if (arrival.ok()) {
      if (arrival->usable) RETURN_IF_ERROR(UpdateOnce(*arrival));
    } else if (absl::IsDeadlineExceeded(arrival.status())) {
      waiting_.Count(updates_->stats().wait);
    } else {
      return arrival.status();
    }
    if (std::chrono::steady_clock::now() - last_housekeeping_ < kHousekeepingInterval) continue;
    RETURN_IF_ERROR(KeepHouse());
    if (EndReached().empty()) continue;
    WriteProgress();
    RETURN_IF_ERROR(EvaluateFinally());
    // Asked again: the final weights may fall short of a score that those before them reached.
    const std::string end = EndReached();
    if (end.empty() || ShutdownSignal::Requested()) continue;
    LogInfo("%s", end);
    return Finish(end);
  }
  RETURN_IF_ERROR(Finish(""));
  return absl::CancelledError("interrupted");
}

UpdateSource::Moment Learner::Moment() const {
  return {.version = PackedVersion(), .published_version = published_version_, .progress = Progress()};
}

void Learner::CountUpdate() {
  counters_.set_updates(counters_.updates() + 1);
  metrics_->updates.Increment();
  TellPosition();
}

absl::Status Learner::BeginAnotherRound() {
  if (!updates_->RoundLost()) return absl::OkStatus();
  CountUpdate();
  return Publish();
}

absl::Status Learner::UpdateOnce(const UpdateSource::Arrival& arrival) {
  const Time begin = std::chrono::steady_clock::now();
  const double waited = waiting_.Waited(begin);
  metrics_->batch_wait.Observe(waited);
  progress_->AddWait(waited);
  // Of a queue a batch is asked for before it is there, and what was waited for then is its items.
  const bool before_asking = arrival.waited_for != ReplaySampler::Wait::kItems;
  waiting_.Count(arrival.waited_for, before_asking ? arrival.asked : begin);
  waiting_.Count(ReplaySampler::Wait::kBatch, begin);
  RETURN_IF_ERROR(updates_->Update(Moment()));
  updated_ = true;
  CountUpdate();
  const Time end = std::chrono::steady_clock::now();
  metrics_->update.Observe(Seconds(end - begin));
  const int threads = threads_.threads();
  threads_.Add(Seconds(end - begin));
  if (threads_.threads() != threads) at::set_num_threads(threads_.threads());

  const bool awaited = config_.deterministic() || experience_.round_steps > 0;
  if (awaited || Seconds(end - last_publish_) >= config_.learner().publish_interval_seconds()) {
    RETURN_IF_ERROR(Publish());
  }
  // Asking for the next batch is time that goes by without an update, too.
  waiting_.Begin();
  updates_->Done(Moment());
  return absl::OkStatus();
}

absl::Status Learner::Publish() {
  if (published_version_ == PackedVersion()) return absl::OkStatus();
  const Time begin = std::chrono::steady_clock::now();
  ASSIGN_OR_RETURN(std::string policy, learned_->PolicyFile(updates_->Metrics()));
  if (inference_ != nullptr) inference_->Publish(PackedVersion(), policy);
  metrics_->published_bytes.Increment(static_cast<double>(policy.size()));
  parameters_->Publish(PackedVersion(), counters_.env_steps(), std::move(policy));
  published_version_ = PackedVersion();
  last_publish_ = std::chrono::steady_clock::now();
  metrics_->policy_version.Set(static_cast<double>(counters_.updates()));
  metrics_->publishing.Increment(Seconds(last_publish_ - begin));
  return absl::OkStatus();
}

absl::Status Learner::KeepHouse() {
  last_housekeeping_ = std::chrono::steady_clock::now();
  const double published = metrics_->publishing.Value();
  CountSteps(updates_->env_steps());
  TellPosition();
  TakeReports();
  RETURN_IF_ERROR(BeginAnotherRound());
  if (evaluations_->due(Position())) RETURN_IF_ERROR(OrderEvaluation());
  if (Seconds(last_housekeeping_ - last_progress_) >= config_.learner().log_interval_seconds()) WriteProgress();
  checkpoints_->Poll();
  const bool writing = checkpoints_->writing() || evaluations_->keeping_best();
  if (!writing && checkpoint_schedule_->due(last_housekeeping_)) {
    RETURN_IF_ERROR(StartCheckpoint(CheckpointWriter::kShardPatience));
  }
  if (tuning_ != nullptr) tuning_->Look(last_housekeeping_, counters_.updates());
  const auto duration = std::chrono::steady_clock::now() - last_housekeeping_;
  metrics_->housekeeping.Increment(Seconds(duration) - (metrics_->publishing.Value() - published));
  waiting_.LeaveOut(duration);
  return absl::OkStatus();
}

void Learner::TakeReports() {
  // Asked before the reports are taken: a result that comes in between is then not mistaken for one that will not come.
  const bool evaluating = members_->Evaluating();
  const RunService::Reports reports = members_->TakeReports();
  uint64_t interrupted = 0;
  const v1::Episode* newest_interrupted = nullptr;
  for (const v1::Episode& episode : reports.episodes) {
    counters_.set_episodes(counters_.episodes() + 1);
    metrics_->episodes.Increment();
    progress_->AddEpisode(episode);
    if (episode.end() == v1::INTERRUPTED) {
      metrics_->interrupted_episodes.Increment();
      ++interrupted;
      newest_interrupted = &episode;
    }
  }
  // A simulator that always fails does so many times a second.
  const uint64_t told = interruptions_.Count(interrupted, std::chrono::steady_clock::now());
  if (newest_interrupted != nullptr && told > 0) {
    LogWarning("%d episodes were interrupted, the last of them after %d steps: %s", told, newest_interrupted->length(),
               newest_interrupted->cause());
  }
  learned_->MergeMoments(reports.moments, reports.return_moments);
  evaluations_->Take(reports.evaluations, evaluating);
}

absl::Status Learner::OrderEvaluation() {
  if (!members_->HasEvaluator()) return absl::OkStatus();
  RETURN_IF_ERROR(Publish());
  evaluations_->Order(Position(), published_version_);
  return absl::OkStatus();
}

void Learner::SetStatus(const std::string& waiting_for) {
  v1::RunStatus status;
  status.set_env_steps(counters_.env_steps());
  status.set_updates(counters_.updates());
  status.set_episodes(counters_.episodes());
  status.set_recent_return(progress_->RecentReturn());
  status.set_waiting_for(waiting_for);
  members_->SetStatus(status);
}

double Learner::SubscriberLag() const {
  // A gradient says which weights its actor has; an action is chosen with the newest that were published.
  if (gradients_ != nullptr) return updates_->policy_lag();
  const std::optional<uint64_t> oldest =
      inference_ != nullptr ? std::optional(published_version_) : parameters_->OldestReceived();
  if (!oldest.has_value()) return kNotKnownYet;
  const std::optional<uint64_t> lag = PolicyLag(PackedVersion(), *oldest);
  return lag.has_value() ? static_cast<double>(*lag) : kNotKnownYet;
}

void Learner::WriteProgress() {
  last_progress_ = std::chrono::steady_clock::now();
  ReplaySampler::Stats stats = updates_->stats();
  progress_->SetPolicyLag(updates_->policy_lag());
  metrics_->policy_lag.Set(updates_->policy_lag());
  metrics_->prefetched_batches.Set(stats.ready_batches);
  metrics_->connected_shards.Set(stats.connected_shards);
  metrics_->subscribers.Set(static_cast<double>(parameters_->subscribers()));
  metrics_->subscriber_lag.Set(SubscriberLag());
  metrics_->actors.Set(members_->actors());
  metrics_->training_return.With({identity_.run_id()}).Set(progress_->RecentReturn());
  metrics_->training_return_deviation.Set(progress_->RecentReturnDeviation());
  const double lost = static_cast<double>(stats.lost_steps) - metrics_->lost_steps.Value();
  if (lost > 0) metrics_->lost_steps.Increment(lost);
  stats.lost_steps += counters_.lost_steps();  // of earlier starts
  metrics_->run_lost_steps.Set(static_cast<double>(stats.lost_steps));

  SetStatus(stats.waiting_for);
  ProgressLog::Scalars losses;
  if (updated_) {
    const at::Tensor values = updates_->Metrics().to(at::kCPU, at::kDouble);
    const std::vector<std::string>& names = learned_->algorithm()->MetricNames();
    for (size_t i = 0; i < names.size(); ++i) {
      losses.emplace_back(names[i], values.data_ptr<double>()[i]);
      metrics_->losses.With({losses.back().first}).Set(losses.back().second);
    }
  }
  metrics_->CountWrite(progress_->Write(Position(), stats, losses));
}

absl::Status Learner::StartCheckpoint(std::chrono::milliseconds patience, bool last) {
  checkpoint_schedule_->Started(std::chrono::steady_clock::now());
  CheckpointWriter::Cut cut{.last = last};
  // Both of one moment: the writer adds what each shard inserted after it.
  ReplaySampler::Stats stats = updates_->stats();
  CountSteps(stats.env_steps);
  cut.states = std::move(stats.states);
  cut.manifest.set_run_id(identity_.run_id());
  cut.manifest.set_name(CheckpointName(counters_.updates()));
  v1::Counters& counters = *cut.manifest.mutable_counters();
  counters = counters_;
  counters.set_learner_incarnation(identity_.incarnation());
  counters.set_wall_seconds(WallSeconds());
  counters.set_lost_steps(counters_.lost_steps() + stats.lost_steps);
  *counters.mutable_recent_episodes() = progress_->RecentEpisodes();
  ASSIGN_OR_RETURN(cut.files, learned_->CheckpointFiles(updates_->Metrics()));
  checkpoints_->Start(std::move(cut), patience);
  return absl::OkStatus();
}

absl::Status Learner::EvaluateFinally() {
  if (config_.evaluation().processes() == 0) return absl::OkStatus();
  SetStatus("evaluator: the final weights are being evaluated");
  FinalEvaluation final(std::chrono::steady_clock::now());
  const int failures_before = evaluations_->failures();
  // One that is under way comes first; then the final weights, unless it was of them.
  while (!ShutdownSignal::Requested()) {
    TakeReports();
    if (evaluations_->evaluated_version() == PackedVersion()) break;
    const std::string given_up = final.GivenUp(std::chrono::steady_clock::now(), members_->HasEvaluator(),
                                               evaluations_->failures() - failures_before);
    if (!given_up.empty()) {
      LogError("the final weights were not evaluated: %s", given_up);
      break;
    }
    if (!evaluations_->under_way()) RETURN_IF_ERROR(OrderEvaluation());
    std::this_thread::sleep_for(kHousekeepingInterval);
    waiting_.Count(metrics_->waiting.evaluator);
  }
  waiting_.Begin();
  if (tuning_ != nullptr) tuning_->Pause();
  return absl::OkStatus();
}

absl::Status Learner::Finish(const std::string& reason) {
  // Of the time in which the final weights were evaluated a row would say that learning had come to a halt.
  if (!progress_->UpToDate(Position())) WriteProgress();
  const Time end = std::chrono::steady_clock::now() + kLastCheckpointsPatience;
  (void)checkpoints_->Wait();
  evaluations_->FinishKeeping();
  counters_.set_end_reason(reason);
  const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(end - std::chrono::steady_clock::now());
  RETURN_IF_ERROR(
      StartCheckpoint(std::min<std::chrono::milliseconds>(left, CheckpointWriter::kShardPatience), /*last=*/true));
  const absl::Status written = checkpoints_->Wait();
  if (!reason.empty()) {
    members_->Stop(reason);
    if (!members_->WaitUntilEmpty(std::chrono::steady_clock::now() + kLeavePatience)) {
      LogWarning("not everybody has left; ending all the same");
    }
  }
  if (written.ok()) return absl::OkStatus();
  return absl::InternalError(absl::StrCat("the last checkpoint failed: ", std::string(written.message())));
}

}  // namespace headrace
