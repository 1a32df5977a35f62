#include "learner/learner.h"

#include <algorithm>
#include <cmath>
#include <exception>
#include <numeric>
#include <optional>
#include <span>
#include <thread>
#include <utility>

#include "ATen/Parallel.h"
#include "ATen/core/Tensor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "algorithm/registry.h"
#include "common/log.h"
#include "common/policy_version.h"
#include "common/protocol.h"
#include "common/shutdown.h"
#include "common/status_macros.h"
#include "model/device.h"
#include "model/moments.h"
#include "model/weights.h"

namespace headrace {
namespace {

constexpr char kTable[] = "experience";
constexpr std::chrono::milliseconds kHousekeepingInterval{20};
constexpr std::chrono::milliseconds kSignalInterval{100};
constexpr std::chrono::seconds kFirstActorPatience{3600};
constexpr std::chrono::seconds kTablePatience{2};
// Of the final evaluation: for the whole of it, without any evaluator, and how often it may fail.
constexpr std::chrono::seconds kEvaluationPatience{300};
constexpr std::chrono::seconds kEvaluatorPatience{30};
constexpr int kEvaluationAttempts = 3;
constexpr std::chrono::seconds kLeavePatience{10};
// The policy lag of a batch is measured at every so-manieth update.
constexpr uint64_t kLagInterval = 16;

double Seconds(std::chrono::steady_clock::duration duration) { return std::chrono::duration<double>(duration).count(); }

EvaluationRow Summarize(const v1::EvaluationResult& result) {
  const double n = result.returns_size();
  const double mean = std::accumulate(result.returns().begin(), result.returns().end(), 0.0) / n;
  double squares = 0;
  for (const double value : result.returns()) squares += (value - mean) * (value - mean);
  const double lengths = std::accumulate(result.lengths().begin(), result.lengths().end(), 0.0);
  return {.mean_return = mean,
          .std_return = std::sqrt(squares / n),
          .mean_length = lengths / n,
          .episodes = static_cast<uint64_t>(result.returns_size())};
}

// Mean over those of which it is known; random actions and those of an earlier learner have none.
double MeanPolicyLag(uint64_t current, std::span<const int64_t> versions) {
  double sum = 0;
  double known = 0;
  for (const int64_t version : versions) {
    if (const std::optional<uint64_t> lag = PolicyLag(current, static_cast<uint64_t>(version)); lag.has_value()) {
      sum += static_cast<double>(*lag);
      ++known;
    }
  }
  return known > 0 ? sum / known : 0;
}

Ratio MakeRatio(const v1::RunConfig& config, const Experience& experience) {
  const uint64_t end = config.stop().env_steps();
  return {.updates_per_step = experience.updates_per_step,
          .min_steps = config.replay().min_steps(),
          .lead_steps = config.deterministic() ? 1 : config.replay().lead_steps(),
          .max_steps = end > 0 ? end : UINT64_MAX};
}

}  // namespace

Learner::Learner(LearnerOptions options, RunDirectory* run, RunService* members, ParameterService* parameters,
                 LearnerMetrics* metrics)
    : options_(std::move(options)),
      run_(run),
      members_(members),
      parameters_(parameters),
      metrics_(metrics),
      start_(std::chrono::steady_clock::now()),
      last_checkpoint_(start_),
      waiting_since_(start_) {
  if (options_.resume_from.has_value()) {
    counters_ = options_.resume_from->manifest.counters();
    moments_ = counters_.observation_moments();
  }
}

Learner::~Learner() = default;

RunPosition Learner::Position() const {
  return {.env_steps = counters_.env_steps(), .wall_seconds = WallSeconds(), .updates = counters_.updates()};
}

double Learner::WallSeconds() const {
  return counters_.wall_seconds() + Seconds(std::chrono::steady_clock::now() - start_);
}

uint64_t Learner::PackedVersion() const {
  return PackPolicyVersion(options_.identity.incarnation(), counters_.updates());
}

std::string Learner::EndReached() const {
  const v1::StopConfig& stop = options_.config.stop();
  if (stop.has_score() && counters_.evaluations_at_score() >= stop.consecutive()) {
    return absl::StrFormat("the score of %g is reached: %.1f", stop.score(), counters_.last_evaluation());
  }
  if (stop.env_steps() > 0 && counters_.env_steps() >= stop.env_steps()) {
    // The updates that the last steps allow belong to the run. Before the set-up it is not known how many those are.
    const bool updates_missing =
        algorithm_ != nullptr &&
        counters_.updates() < MakeRatio(options_.config, experience_).BatchesAllowed(stop.env_steps());
    if (!updates_missing) return absl::StrFormat("%d environment steps are done", counters_.env_steps());
  }
  if (stop.wall_seconds() > 0 && WallSeconds() >= stop.wall_seconds()) {
    return absl::StrFormat("%.0f seconds are over", stop.wall_seconds());
  }
  return "";
}

absl::StatusOr<v1::EnvironmentSpec> Learner::WaitForEnvironment() {
  LogInfo("waiting for the first actor");
  while (!ShutdownSignal::Requested()) {
    const Time now = std::chrono::steady_clock::now();
    absl::StatusOr<v1::EnvironmentSpec> environment =
        members_->WaitForEnvironment(std::min(now + kSignalInterval, start_ + kFirstActorPatience));
    if (!absl::IsDeadlineExceeded(environment.status()) || now >= start_ + kFirstActorPatience) return environment;
  }
  return absl::CancelledError("interrupted before the first actor came");
}

absl::Status Learner::SetUp() {
  ASSIGN_OR_RETURN(environment_, WaitForEnvironment());
  ASSIGN_OR_RETURN(experience_, MakeExperience(options_.config, environment_));
  for (size_t i = 0; i < experience_.slices.size(); ++i) {
    if (experience_.slices[i].column() == "policy_version") version_slice_ = i;
  }
  observation_elements_ = 1;
  for (const uint32_t dimension : environment_.observation().shape()) {
    observation_elements_ *= static_cast<int>(dimension);
  }
  const uint32_t threads = options_.config.learner().threads();
  at::set_num_threads(threads > 0 ? static_cast<int>(threads) : static_cast<int>(std::thread::hardware_concurrency()));
  ASSIGN_OR_RETURN(algorithm_, MakeAlgorithm(options_.config, environment_));
  optimizer_ = std::make_unique<LocalOptimizer>(algorithm_->ParameterGroups());
  RETURN_IF_ERROR(RestoreTensors());
  RETURN_IF_ERROR(run_->ForgetAfter(counters_.env_steps()));
  ASSIGN_OR_RETURN(progress_, ProgressLog::Open(run_, Position()));
  const v1::CheckpointConfig& checkpoint = options_.config.checkpoint();
  const v1::Peer peer = MakePeer(options_.identity.run_id(), "learner");
  checkpoints_ = std::make_unique<CheckpointWriter>(
      run_->checkpoints(), checkpoint.replay() ? options_.replay_addresses : std::vector<std::string>(), peer,
      checkpoint.keep());
  RETURN_IF_ERROR(StartSampler(experience_));
  // Actors would be turned away by shards that have no table yet. A shard that is gone is not waited for.
  (void)sampler_->WaitConnected(std::chrono::steady_clock::now() + kTablePatience);
  RETURN_IF_ERROR(Publish());
  v1::Lease lease;
  lease.set_run_id(options_.identity.run_id());
  *lease.mutable_table() = MakeTable(experience_);
  lease.set_observation_moments(experience_.observation_moments);
  members_->Open(std::move(lease), [this] {
    const uint64_t done = sampler_->env_steps();
    const uint64_t left = experience_.random_steps > done ? experience_.random_steps - done : 0;
    const uint64_t processes = std::max<uint64_t>(1, options_.config.actor().processes());
    return (left + processes - 1) / processes;
  });
  return absl::OkStatus();
}

absl::Status Learner::RestoreTensors() {
  if (options_.resume_from.has_value()) {
    const auto& files = options_.resume_from->files;
    for (const auto& [file, tensors] : {std::pair(kAlgorithmFile, algorithm_->StateTensors()),
                                        std::pair(kOptimizerFile, optimizer_->StateTensors())}) {
      const auto contents = files.find(file);
      if (contents == files.end()) return absl::DataLossError(absl::StrCat("the checkpoint has no ", file));
      RETURN_IF_ERROR(LoadTensors(contents->second, tensors));
    }
    RETURN_IF_ERROR(algorithm_->StateLoaded());
    if (moments_.count() > 0) algorithm_->SetObservationMoments(moments_);
    metrics_->updates.Increment(static_cast<double>(counters_.updates()));
    LogInfo("resumed at %d environment steps and %d updates", counters_.env_steps(), counters_.updates());
  } else if (!options_.init_from.empty()) {
    ASSIGN_OR_RETURN(const std::optional<LoadedCheckpoint> other,
                     LoadNewestCheckpoint(options_.init_from + "/checkpoints"));
    if (!other.has_value()) return absl::NotFoundError(absl::StrCat(options_.init_from, " has no checkpoint"));
    RETURN_IF_ERROR(LoadTensors(other->files.at(kAlgorithmFile), algorithm_->StateTensors()));
    RETURN_IF_ERROR(algorithm_->StateLoaded());
    LogInfo("networks taken from %s, checkpoint %s", options_.init_from, other->manifest.name());
  }
  return absl::OkStatus();
}

v1::TableSpec Learner::MakeTable(const Experience& experience) const {
  const v1::ReplayConfig& replay = options_.config.replay();
  v1::TableSpec table;
  table.set_name(kTable);
  *table.mutable_signature() = experience.signature;
  table.set_sampler(experience.sampler);
  table.set_remover(experience.remover);
  table.set_max_items(std::max<uint64_t>(1, replay.capacity() / replay.shards()));
  table.set_max_bytes(replay.budget_bytes() / replay.shards());
  table.set_max_times_sampled(experience.max_times_sampled);
  table.set_max_item_rows(experience.item_rows);
  table.set_lockstep(options_.config.deterministic());
  return table;
}

absl::Status Learner::StartSampler(const Experience& experience) {
  ASSIGN_OR_RETURN(const at::Device device, ParseDevice(options_.config.device()));
  const size_t prefetch = options_.config.learner().prefetch();
  ASSIGN_OR_RETURN(slots_, BatchSlots::Create(experience, prefetch + 1, device));
  ReplaySamplerOptions sampler;
  sampler.addresses = options_.replay_addresses;
  sampler.peer = MakePeer(options_.identity.run_id(), "learner");
  sampler.table = MakeTable(experience);
  sampler.slices = experience.slices;
  sampler.batch_size = experience.batch_size;
  sampler.ratio = MakeRatio(options_.config, experience);
  sampler.seed = options_.config.seed();
  sampler.slots = slots_->Blocks();
  sampler.env_steps = counters_.env_steps();
  sampler.batches = counters_.updates();
  if (options_.resume_from.has_value()) {
    sampler.states.resize(options_.replay_addresses.size());
    for (const v1::CheckpointResponse& shard : options_.resume_from->manifest.shards()) {
      for (const v1::TableState& state : shard.tables()) {
        if (state.table() == kTable && shard.shard() < sampler.states.size()) sampler.states[shard.shard()] = state;
      }
    }
  }
  ASSIGN_OR_RETURN(sampler_, ReplaySampler::Start(std::move(sampler)));
  return absl::OkStatus();
}

absl::Status Learner::Run() {
  try {
    RETURN_IF_ERROR(SetUp());
    waiting_since_ = std::chrono::steady_clock::now();
    while (true) {
      if (ShutdownSignal::Requested()) {
        RETURN_IF_ERROR(Finish(""));
        return absl::CancelledError("interrupted");
      }
      const absl::StatusOr<ReplaySampler::Filled> filled =
          sampler_->Next(std::chrono::steady_clock::now() + kHousekeepingInterval);
      if (filled.ok()) {
        RETURN_IF_ERROR(UpdateOnce(*filled));
      } else if (!absl::IsDeadlineExceeded(filled.status())) {
        return filled.status();
      }
      if (std::chrono::steady_clock::now() - last_housekeeping_ >= kHousekeepingInterval) {
        RETURN_IF_ERROR(KeepHouse());
        if (!EndReached().empty()) {
          RETURN_IF_ERROR(EvaluateFinally());
          // Asked again: the final weights may fall short of a score that those before them reached.
          if (const std::string end = EndReached(); !end.empty()) {
            LogInfo("%s", end);
            return Finish(end);
          }
          waiting_since_ = std::chrono::steady_clock::now();
        }
      }
    }
  } catch (const std::exception& error) {
    return absl::InternalError(error.what());  // of LibTorch
  }
}

absl::Status Learner::UpdateOnce(const ReplaySampler::Filled& filled) {
  const Time begin = std::chrono::steady_clock::now();
  const double waited = Seconds(begin - waiting_since_);
  metrics_->batch_wait.Observe(waited);
  progress_->AddWait(waited);

  const Batch& batch = slots_->OnDevice(filled.slot);
  algorithm_->Update(batch, *optimizer_);
  counters_.set_updates(counters_.updates() + 1);
  if (version_slice_.has_value() && counters_.updates() % kLagInterval == 0) {
    const at::Tensor& versions = slots_->OnHost(filled.slot, *version_slice_);
    const int64_t* const values = versions.data_ptr<int64_t>();
    const double lag = MeanPolicyLag(PackedVersion(), {values, static_cast<size_t>(versions.numel())});
    progress_->AddUpdate(lag);
    metrics_->policy_lag.Set(lag);
  }
  slots_->Release(filled.slot);

  const v1::LearnerConfig& config = options_.config.learner();
  const Time end = std::chrono::steady_clock::now();
  if (options_.config.deterministic() || Seconds(end - last_publish_) >= config.publish_interval_seconds()) {
    RETURN_IF_ERROR(Publish());
  }
  sampler_->Done(filled.slot, published_version_);
  waiting_since_ = std::chrono::steady_clock::now();
  metrics_->update.Observe(Seconds(waiting_since_ - begin));
  metrics_->updates.Increment();
  return absl::OkStatus();
}

absl::Status Learner::Publish() {
  if (published_version_ == PackedVersion()) return absl::OkStatus();
  ASSIGN_OR_RETURN(std::string policy, SaveTensors(algorithm_->PolicyTensors(), {}));
  parameters_->Publish(PackedVersion(), counters_.env_steps(), std::move(policy));
  published_version_ = PackedVersion();
  last_publish_ = std::chrono::steady_clock::now();
  metrics_->policy_version.Set(static_cast<double>(counters_.updates()));
  return absl::OkStatus();
}

absl::Status Learner::KeepHouse() {
  last_housekeeping_ = std::chrono::steady_clock::now();
  const uint64_t env_steps = sampler_->env_steps();
  metrics_->env_steps.Increment(static_cast<double>(env_steps) - metrics_->env_steps.Value());
  counters_.set_env_steps(env_steps);
  RETURN_IF_ERROR(TakeReports());
  if (!evaluation_.has_value() && counters_.updates() > 0 &&
      counters_.env_steps() >= counters_.next_evaluation_step()) {
    RETURN_IF_ERROR(OrderEvaluation());
  }
  if (Seconds(last_housekeeping_ - last_progress_) >= options_.config.learner().log_interval_seconds()) {
    RETURN_IF_ERROR(WriteProgress());
  }
  if (const std::optional<absl::Status> written = checkpoints_->Poll(); written.has_value()) {
    CountCheckpoint(*written);
  }
  const double interval = options_.config.checkpoint().interval_seconds();
  if (interval > 0 && !checkpoints_->writing() && Seconds(last_housekeeping_ - last_checkpoint_) >= interval) {
    RETURN_IF_ERROR(StartCheckpoint());
  }
  return absl::OkStatus();
}

absl::Status Learner::TakeReports() {
  // Asked before the reports are taken: a result that comes in between is then not mistaken for one that will not come.
  const bool evaluating = members_->Evaluating();
  RunService::Reports reports = members_->TakeReports();
  for (const v1::Episode& episode : reports.episodes) {
    counters_.set_episodes(counters_.episodes() + 1);
    metrics_->episodes.Increment();
    progress_->AddEpisode(episode);
    if (episode.end() == v1::INTERRUPTED) {
      metrics_->interrupted_episodes.Increment();
      LogWarning("an episode was interrupted after %d steps: %s", episode.length(), episode.cause());
    }
  }
  for (const v1::Moments& moments : reports.moments) {
    // An actor that reports nonsense must not end the run, nor spoil what the others have reported.
    const absl::StatusOr<v1::Moments> merged =
        moments.mean_size() == observation_elements_
            ? MergeMoments(moments_, moments)
            : absl::InvalidArgumentError(
                  absl::StrFormat("expected %d means, got %d", observation_elements_, moments.mean_size()));
    if (!merged.ok()) {
      LogWarning("observation moments dropped: %s", merged.status().ToString());
      continue;
    }
    moments_ = *merged;
    algorithm_->SetObservationMoments(moments_);
  }
  for (const v1::EvaluationResult& result : reports.evaluations) RETURN_IF_ERROR(TakeEvaluation(result));
  // The evaluator died over it: another one will be asked.
  if (evaluation_.has_value() && !evaluating) {
    parameters_->Release(evaluation_->order.version());
    evaluation_.reset();
  }
  return absl::OkStatus();
}

absl::Status Learner::OrderEvaluation() {
  if (!members_->HasEvaluator()) return absl::OkStatus();
  RETURN_IF_ERROR(Publish());
  Ordered ordered;
  ordered.order.set_version(published_version_);
  ordered.order.set_episodes(options_.config.evaluation().episodes());
  ordered.order.set_seed(options_.config.seed());
  ordered.position = Position();
  ASSIGN_OR_RETURN(ordered.policy, SaveTensors(algorithm_->PolicyTensors(), {}));
  parameters_->Hold(published_version_);
  if (!members_->Evaluate(ordered.order)) {
    parameters_->Release(published_version_);
    return absl::OkStatus();  // no evaluator is idle; tried again
  }
  evaluation_ = std::move(ordered);
  return absl::OkStatus();
}

absl::Status Learner::TakeEvaluation(const v1::EvaluationResult& result) {
  if (!evaluation_.has_value() || result.version() != evaluation_->order.version()) return absl::OkStatus();
  const Ordered ordered = *std::exchange(evaluation_, std::nullopt);
  parameters_->Release(ordered.order.version());
  // Only now: an evaluation whose evaluator or learner dies over it is ordered again.
  const uint64_t interval = options_.config.evaluation().interval_steps();
  counters_.set_next_evaluation_step((ordered.position.env_steps / interval + 1) * interval);
  if (!result.error().empty() || result.returns().empty()) {
    ++failed_evaluations_;
    LogError("evaluation failed: %s", result.error());
    return absl::OkStatus();
  }
  failed_evaluations_ = 0;
  evaluated_version_ = ordered.order.version();
  const EvaluationRow row = Summarize(result);
  LogInfo("evaluation at %d steps: mean return %.1f (std %.1f) over %d episodes", ordered.position.env_steps,
          row.mean_return, row.std_return, row.episodes);
  metrics_->evaluations.Increment();
  metrics_->evaluation_return.Set(row.mean_return);
  RETURN_IF_ERROR(progress_->WriteEvaluation(ordered.position, row));
  counters_.set_last_evaluation(row.mean_return);
  const v1::StopConfig& stop = options_.config.stop();
  const bool reached = stop.has_score() && row.mean_return >= stop.score();
  counters_.set_evaluations_at_score(reached ? counters_.evaluations_at_score() + 1 : 0);
  if (counters_.has_best_evaluation() && row.mean_return <= counters_.best_evaluation()) return absl::OkStatus();
  counters_.set_best_evaluation(row.mean_return);
  v1::CheckpointManifest manifest;
  manifest.set_run_id(options_.identity.run_id());
  manifest.set_name(kBestCheckpoint);
  *manifest.mutable_counters() = counters_;
  manifest.mutable_counters()->set_env_steps(ordered.position.env_steps);
  manifest.mutable_counters()->set_updates(ordered.position.updates);
  manifest.mutable_counters()->set_wall_seconds(ordered.position.wall_seconds);
  return SaveCheckpoint(absl::StrCat(run_->checkpoints(), "/", kBestCheckpoint), manifest,
                        {{kPolicyFile, ordered.policy}});
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

absl::Status Learner::WriteProgress() {
  last_progress_ = std::chrono::steady_clock::now();
  const ReplaySampler::Stats stats = sampler_->stats();
  metrics_->prefetched_batches.Set(stats.ready_batches);
  metrics_->subscribers.Set(static_cast<double>(parameters_->subscribers()));
  metrics_->actors.Set(members_->actors());
  const double lost = static_cast<double>(stats.lost_steps) - metrics_->lost_steps.Value();
  if (lost > 0) metrics_->lost_steps.Increment(lost);

  SetStatus(stats.waiting_for);
  ProgressLog::Scalars losses;
  if (counters_.updates() > 0) {
    const at::Tensor values = algorithm_->Metrics().to(at::kCPU, at::kDouble);
    for (size_t i = 0; i < algorithm_->MetricNames().size(); ++i) {
      losses.emplace_back(algorithm_->MetricNames()[i], values.data_ptr<double>()[i]);
    }
  }
  for (const auto& [name, value] : losses) {
    if (!std::isfinite(value)) return absl::InternalError(absl::StrCat(name, " is ", value, ": training has diverged"));
  }
  return progress_->Write(Position(), stats, losses);
}

absl::Status Learner::StartCheckpoint() {
  last_checkpoint_ = std::chrono::steady_clock::now();
  CheckpointWriter::Cut cut;
  // Both of one moment: the writer adds what each shard inserted after it.
  ReplaySampler::Stats stats = sampler_->stats();
  counters_.set_env_steps(stats.env_steps);
  cut.states = std::move(stats.states);
  cut.manifest.set_run_id(options_.identity.run_id());
  cut.manifest.set_name(CheckpointName(counters_.updates()));
  v1::Counters& counters = *cut.manifest.mutable_counters();
  counters = counters_;
  counters.set_learner_incarnation(options_.identity.incarnation());
  counters.set_wall_seconds(WallSeconds());
  *counters.mutable_observation_moments() = moments_;
  ASSIGN_OR_RETURN(cut.files[kAlgorithmFile], SaveTensors(algorithm_->StateTensors(), {}));
  ASSIGN_OR_RETURN(cut.files[kOptimizerFile], SaveTensors(optimizer_->StateTensors(), {}));
  ASSIGN_OR_RETURN(cut.files[kPolicyFile], SaveTensors(algorithm_->PolicyTensors(), {}));
  checkpoints_->Start(std::move(cut));
  return absl::OkStatus();
}

absl::Status Learner::EvaluateFinally() {
  if (options_.config.evaluation().processes() == 0) return absl::OkStatus();
  SetStatus("evaluator: the final weights are being evaluated");
  const Time begin = std::chrono::steady_clock::now();
  Time evaluator_seen = begin;
  failed_evaluations_ = 0;
  std::string trouble;
  // One that is under way comes first; then the final weights, unless it was of them.
  while (trouble.empty()) {
    RETURN_IF_ERROR(TakeReports());
    if (evaluated_version_ == PackedVersion()) return absl::OkStatus();
    if (!evaluation_.has_value()) RETURN_IF_ERROR(OrderEvaluation());
    const Time now = std::chrono::steady_clock::now();
    if (members_->HasEvaluator()) evaluator_seen = now;
    if (ShutdownSignal::Requested()) trouble = "interrupted";
    if (failed_evaluations_ >= kEvaluationAttempts)
      trouble = absl::StrFormat("it failed %d times", failed_evaluations_);
    if (now - evaluator_seen >= kEvaluatorPatience) {
      trouble = absl::StrFormat("there was no evaluator for %d s", kEvaluatorPatience.count());
    }
    if (now - begin >= kEvaluationPatience) {
      trouble = absl::StrFormat("it took more than %d s", kEvaluationPatience.count());
    }
    std::this_thread::sleep_for(kHousekeepingInterval);
  }
  LogWarning("the final weights were not evaluated: %s", trouble);
  return absl::OkStatus();
}

void Learner::CountCheckpoint(const absl::Status& written) {
  (written.ok() ? metrics_->checkpoints : metrics_->checkpoint_failures).Increment();
  if (!written.ok()) LogError("checkpoint failed, the ones before it stay: %s", written.ToString());
}

absl::Status Learner::Finish(const std::string& reason) {
  RETURN_IF_ERROR(WriteProgress());
  if (checkpoints_->writing()) CountCheckpoint(checkpoints_->Wait());
  RETURN_IF_ERROR(StartCheckpoint());
  const absl::Status written = checkpoints_->Wait();
  CountCheckpoint(written);
  if (!reason.empty()) {
    members_->Stop(reason);
    if (!members_->WaitUntilEmpty(std::chrono::steady_clock::now() + kLeavePatience)) {
      LogWarning("not everybody has left; ending all the same");
    }
  }
  if (written.ok()) return absl::OkStatus();
  return absl::InternalError(
      absl::StrCat("the last checkpoint failed, the ones before it stay: ", std::string(written.message())));
}

}  // namespace headrace
