#include "learner/evaluations.h"

#include <cmath>
#include <numeric>
#include <utility>

#include "absl/status/statusor.h"
#include "common/check.h"
#include "common/checkpoint.h"
#include "common/log.h"

namespace headrace {
namespace {

// An evaluation that fails so often in a row is given up until the next one is due.
constexpr int kMostAttempts = 3;

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

}  // namespace

Evaluations::Evaluations(const v1::RunConfig& config, Surroundings surroundings)
    : config_(config.evaluation()),
      stop_(config.stop()),
      seed_(config.seed()),
      around_(std::move(surroundings)),
      best_(around_.checkpoints) {
  // A crash takes the run back to a checkpoint from before the best evaluation, and takes nothing of that back.
  RecallBest();
}

void Evaluations::RecallBest() {
  const absl::StatusOr<LoadedCheckpoint> best = LoadCheckpoint(around_.checkpoints + "/" + kBestCheckpoint);
  if (!best.ok() || best->manifest.run_id() != around_.run_id) return;
  const double kept = best->manifest.counters().best_evaluation();
  v1::Counters& counters = *around_.counters;
  if (std::isfinite(kept) && (!counters.has_best_evaluation() || kept > counters.best_evaluation())) {
    counters.set_best_evaluation(kept);
  }
}

bool Evaluations::due(const RunPosition& position) const {
  // Without updates since the last one it would be the same once more: while lost steps come again, there are none.
  return !under_way() && position.updates > evaluated_updates_ &&
         position.env_steps >= around_.counters->next_evaluation_step();
}

void Evaluations::Order(const RunPosition& position, uint64_t version) {
  std::optional<grpc::Slice> policy = around_.parameters->Hold(version);
  HEADRACE_CHECK(policy.has_value());
  v1::Evaluate order;
  order.set_version(version);
  order.set_episodes(config_.episodes());
  // Other initial states each time: a score that ends the run, or the best of many, would otherwise be one that suits
  // these states. The same again if the run is repeated.
  order.set_seed(seed_ + (position.updates << 20));
  if (!around_.members->Evaluate(order)) {
    around_.parameters->Release(version);
    return;
  }
  ordered_ = {position, version, *std::move(policy)};
}

void Evaluations::Take(const std::vector<v1::EvaluationResult>& results, bool evaluating) {
  TellKept(best_.Poll());
  for (const v1::EvaluationResult& result : results) {
    if (ordered_.has_value() && result.version() == ordered_->version) TakeOne(result);
  }
  if (!ordered_.has_value() || evaluating) return;
  // The evaluator has gone over it: another one will be asked.
  around_.parameters->Release(ordered_->version);
  ordered_.reset();
}

void Evaluations::TakeOne(const v1::EvaluationResult& result) {
  const Subject subject = *std::exchange(ordered_, std::nullopt);
  around_.parameters->Release(subject.version);
  const bool failed = !result.error().empty() || result.returns().empty();
  failures_ = failed ? failures_ + 1 : 0;
  if (failed) LogError("evaluation failed: %s", result.error());
  // Only now, and not when it was ordered: one whose evaluator or learner dies over it is ordered again.
  v1::Counters& counters = *around_.counters;
  if (!failed || failures_ % kMostAttempts == 0) {
    const uint64_t interval = config_.interval_steps();
    counters.set_next_evaluation_step((subject.position.env_steps / interval + 1) * interval);
  }
  if (failed) return;
  evaluated_version_ = subject.version;
  evaluated_updates_ = subject.position.updates;
  const EvaluationRow row = Summarize(result);
  LogInfo("evaluation at %d steps: mean return %.1f (std %.1f) over %d episodes", subject.position.env_steps,
          row.mean_return, row.std_return, row.episodes);
  around_.metrics->evaluations.Increment();
  around_.metrics->evaluation_return.Set(row.mean_return);
  around_.metrics->CountWrite(around_.progress->WriteEvaluation(subject.position, row));
  counters.set_last_evaluation(row.mean_return);
  if (stop_.has_score()) {
    const uint32_t before = counters.counted_score() == stop_.score() ? counters.evaluations_at_score() : 0;
    counters.set_evaluations_at_score(row.mean_return >= stop_.score() ? before + 1 : 0);
    counters.set_counted_score(stop_.score());
  }
  KeepIfBest(subject, row.mean_return);
}

void Evaluations::KeepIfBest(const Subject& subject, double mean_return) {
  v1::Counters& counters = *around_.counters;
  if (counters.has_best_evaluation() && mean_return <= counters.best_evaluation()) return;
  counters.set_best_evaluation(mean_return);
  v1::CheckpointManifest manifest;
  manifest.set_run_id(around_.run_id);
  *manifest.mutable_counters() = counters;
  manifest.mutable_counters()->set_env_steps(subject.position.env_steps);
  manifest.mutable_counters()->set_updates(subject.position.updates);
  manifest.mutable_counters()->set_wall_seconds(subject.position.wall_seconds);
  best_.Write(std::move(manifest), subject.policy);
}

void Evaluations::FinishKeeping() { TellKept(best_.Wait()); }

void Evaluations::TellKept(const absl::Status& written) {
  around_.metrics->CountWrite(written);
  if (written.ok() || best_.writing()) return;
  // The best is that of which the weights are on disk: the next one that is better than it is kept.
  around_.counters->clear_best_evaluation();
  RecallBest();
}

}  // namespace headrace
