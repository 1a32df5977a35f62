#include "actor/env/vector_environment.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <exception>
#include <limits>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "actor/env/frame_stack.h"
#include "actor/env/registry.h"
#include "common/printable.h"
#include "common/sign_of_life.h"
#include "common/status_macros.h"

namespace headrace {
namespace {

// Resets of one lane that may fail in a row before the environment counts as broken.
constexpr int kResetAttempts = 3;

// Not for numbers that would only become infinite as a float32, either.
bool IsFinite(double number) { return std::abs(number) <= std::numeric_limits<float>::max(); }

// Says which number is not finite, or nothing.
template <typename T>
std::string DefectOf(std::span<const T> numbers) {
  for (size_t i = 0; i < numbers.size(); ++i) {
    if (!IsFinite(numbers[i])) return absl::StrCat("observation[", i, "] is ", numbers[i]);
  }
  return "";
}

std::string DefectOf(const ArraySpec& spec, std::span<std::byte> observation) {
  if (spec.data_type == v1::FLOAT32) return DefectOf<float>(As<float>(observation));
  if (spec.data_type == v1::FLOAT64) return DefectOf<double>(As<double>(observation));
  return "";
}

// Runs a function that returns what is wrong with its outcome; so does this, exceptions included.
template <typename Function>
std::string CauseOfFailure(Function&& function) {
  try {
    return function();
  } catch (const std::exception& error) {
    return *error.what() == '\0' ? "an exception without a message" : Printable(error.what());
  } catch (...) {
    return "an exception that is not a std::exception";
  }
}

absl::Status CheckActionSpec(const EnvironmentFacts& facts) {
  const ActionSpec& spec = facts.action;
  if (spec.discrete < 0) return absl::InternalError(absl::StrCat(facts.name, " has ", spec.discrete, " actions"));
  if (!spec.continuous()) return absl::OkStatus();
  if (spec.low.empty() || spec.low.size() != spec.high.size()) {
    return absl::InternalError(absl::StrCat(facts.name, " has ", spec.low.size(), " lower and ", spec.high.size(),
                                            " upper bounds of actions"));
  }
  for (size_t i = 0; i < spec.low.size(); ++i) {
    if (std::isfinite(spec.low[i]) && std::isfinite(spec.high[i]) && spec.low[i] < spec.high[i]) continue;
    return absl::InternalError(
        absl::StrCat(facts.name, " has the bounds [", spec.low[i], ", ", spec.high[i], "] for action[", i, "]"));
  }
  return absl::OkStatus();
}

absl::Status CheckActionCount(const EnvironmentFacts& facts, bool continuous, size_t expected, size_t actual) {
  if (continuous != facts.action.continuous()) {
    return absl::InvalidArgumentError(absl::StrCat(facts.name, " takes ", continuous ? "discrete" : "continuous",
                                                   " actions, got ", continuous ? "continuous" : "discrete", " ones"));
  }
  if (actual == expected) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("all lanes of ", facts.name, " together take ", expected, " numbers as actions, got ", actual));
}

}  // namespace

absl::StatusOr<std::unique_ptr<VectorEnvironment>> VectorEnvironment::Create(std::string_view name,
                                                                             const Options& options) {
  std::vector<std::unique_ptr<Environment>> environments;
  for (int lane = 0; lane < options.lanes; ++lane) {
    ASSIGN_OR_RETURN(std::unique_ptr<Environment> environment, MakeEnvironment(name));
    environments.push_back(std::move(environment));
  }
  return Create(std::move(environments), options);
}

absl::StatusOr<std::unique_ptr<VectorEnvironment>> VectorEnvironment::Create(
    std::vector<std::unique_ptr<Environment>> environments, const Options& options) {
  if (options.lanes < 1) return absl::InvalidArgumentError(absl::StrCat("lanes must be positive, not ", options.lanes));
  if (environments.size() != static_cast<size_t>(options.lanes)) {
    return absl::InvalidArgumentError(
        absl::StrCat("got ", environments.size(), " environments for ", options.lanes, " lanes"));
  }
  if (options.max_episode_steps < 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("max_episode_steps must not be negative, but is ", options.max_episode_steps));
  }
  if (options.frame_stack < 1) {
    return absl::InvalidArgumentError(absl::StrCat("frame_stack must be positive, but is ", options.frame_stack));
  }
  RETURN_IF_ERROR(CheckActionSpec(environments[0]->facts()));
  for (auto& environment : environments) environment = StackFrames(std::move(environment), options.frame_stack);

  std::unique_ptr<VectorEnvironment> vector(new VectorEnvironment(std::move(environments), options));
  for (int lane = 0; lane < vector->size(); ++lane) RETURN_IF_ERROR(vector->ResetLane(lane));
  return vector;
}

VectorEnvironment::VectorEnvironment(std::vector<std::unique_ptr<Environment>> environments, const Options& options)
    : facts_(environments[0]->facts()),
      observation_bytes_(facts_.observation.bytes()),
      step_delay_(options.step_delay),
      max_episode_steps_(options.max_episode_steps > 0 ? options.max_episode_steps : facts_.max_episode_steps),
      observations_(environments.size() * observation_bytes_),
      final_observations_(observations_.size()),
      steps_(environments.size()),
      action_(facts_.action.dimensions()) {
  lanes_.reserve(environments.size());
  for (uint32_t lane = 0; lane < environments.size(); ++lane) {
    RandomStream random(options.seed, options.role, options.first_lane + lane, StreamPurpose::kEnvironment);
    lanes_.push_back({std::move(environments[lane]), random});
  }
}

absl::Status VectorEnvironment::Step(std::span<const float> actions) {
  const size_t dimensions = action_.size();
  RETURN_IF_ERROR(CheckActionCount(facts_, /*continuous=*/true, lanes_.size() * dimensions, actions.size()));
  for (size_t i = 0; i < actions.size(); ++i) {
    if (!std::isnan(actions[i])) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("action[", i % dimensions, "] of lane ", i / dimensions, " of ", facts_.name, " is not a number"));
  }
  for (int lane = 0; lane < size(); ++lane) {
    for (size_t i = 0; i < dimensions; ++i) {
      const double low = facts_.action.low[i], high = facts_.action.high[i];
      action_[i] = std::clamp(actions[lane * dimensions + i] * (high - low) / 2 + (high + low) / 2, low, high);
    }
    RETURN_IF_ERROR(StepLane(lane, {.continuous = action_}));
  }
  return absl::OkStatus();
}

absl::Status VectorEnvironment::Step(std::span<const int32_t> actions) {
  RETURN_IF_ERROR(CheckActionCount(facts_, /*continuous=*/false, lanes_.size(), actions.size()));
  for (size_t lane = 0; lane < actions.size(); ++lane) {
    if (actions[lane] >= 0 && actions[lane] < facts_.action.discrete) continue;
    return absl::InvalidArgumentError(absl::StrCat("action ", actions[lane], " of lane ", lane, " of ", facts_.name,
                                                   " is not in [0, ", facts_.action.discrete, ")"));
  }
  for (int lane = 0; lane < size(); ++lane) RETURN_IF_ERROR(StepLane(lane, {.discrete = actions[lane]}));
  return absl::OkStatus();
}

absl::Status VectorEnvironment::StepLane(int lane, const Action& action) {
  if (lanes_[lane].retired) return absl::OkStatus();
  SignOfLife::Give();  // the steps of many lanes may take long together
  LaneStep& step = steps_[lane];
  step =
      step.done() ? LaneStep{} : LaneStep{.episode_return = step.episode_return, .episode_length = step.episode_length};
  const std::span<std::byte> current = Row(observations_, lane);
  const std::span<std::byte> next = Row(final_observations_, lane);

  StepResult result;
  step.cause = CauseOfFailure([&]() -> std::string {
    step.threw = true;
    if (step_delay_.count() > 0) std::this_thread::sleep_for(step_delay_);
    result = lanes_[lane].environment->Step(action, next);
    step.threw = false;
    if (!IsFinite(result.reward)) return absl::StrCat("reward is ", result.reward);
    return DefectOf(facts_.observation, next);
  });
  if (!step.cause.empty()) {
    step.interrupted = true;
    std::copy(current.begin(), current.end(), next.begin());
    return ResetLane(lane);
  }

  step.reward = result.reward;
  step.episode_return += result.reward;
  step.episode_length += 1;
  step.terminated = result.terminated;
  step.truncated = step.episode_length == max_episode_steps_;
  if (step.done()) return ResetLane(lane);
  std::copy(next.begin(), next.end(), current.begin());
  return absl::OkStatus();
}

absl::Status VectorEnvironment::ResetLane(int lane) {
  std::string cause;
  for (int attempt = 0; attempt < kResetAttempts; ++attempt) {
    SignOfLife::Give();
    cause = CauseOfFailure([&] {
      lanes_[lane].environment->Reset(lanes_[lane].random, Row(observations_, lane));
      return DefectOf(facts_.observation, Row(observations_, lane));
    });
    if (cause.empty()) return absl::OkStatus();
  }
  return absl::InternalError(
      absl::StrCat(facts_.name, " in lane ", lane, " failed to reset ", kResetAttempts, " times in a row: ", cause));
}

std::span<std::byte> VectorEnvironment::Row(std::vector<std::byte>& rows, int lane) const {
  return {rows.data() + lane * observation_bytes_, observation_bytes_};
}

std::span<const std::byte> VectorEnvironment::Row(const std::vector<std::byte>& rows, int lane) const {
  return {rows.data() + lane * observation_bytes_, observation_bytes_};
}

}  // namespace headrace
