// The MuJoCo environments of mujoco_tasks.cc: one class, run by a record.
//
// State(): MuJoCo's integration state (mjSTATE_INTEGRATION), then the robot's position on x that the next step measures
// its progress from. The latter is not a function of the former: MuJoCo updates positions of bodies before it
// integrates, so after a step they are those of the last but one simulation state.
#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <utility>

#include "absl/strings/str_cat.h"
#include "actor/env/entry.h"
#include "actor/env/mujoco_model.h"
#include "actor/env/mujoco_task.h"
#include "common/status_macros.h"

namespace headrace {
namespace {

EnvironmentFacts FactsOf(const MujocoTask& task) {
  return {.name = task.name,
          .summary = task.summary,
          .source = "Gymnasium 1.4, MuJoCo",
          .observation = {.data_type = v1::FLOAT64, .shape = {static_cast<uint32_t>(task.observation_size)}},
          .action = {.low = std::vector<double>(task.actions, -task.action_bound),
                     .high = std::vector<double>(task.actions, task.action_bound)},
          .max_episode_steps = task.max_episode_steps,
          .reward_threshold = task.reward_threshold};
}

class MujocoEnvironment final : public Environment {
 public:
  MujocoEnvironment(EnvironmentFacts facts, const MujocoTask& task, std::shared_ptr<const mjModel> model)
      : facts_(std::move(facts)), task_(task), model_(std::move(model)), data_(MakeMujocoData(*model_)) {}

  const EnvironmentFacts& facts() const override { return facts_; }

  void Reset(RandomStream& random, std::span<std::byte> observation) override {
    const std::span<double> qpos(data_->qpos, model_->nq), qvel(data_->qvel, model_->nv);
    CallMujoco([&] { mj_resetData(model_.get(), data_.get()); });
    for (double& position : qpos) position += random.Uniform(-task_.position_noise, task_.position_noise);
    for (double& velocity : qvel) velocity += VelocityNoise(random);
    if (task_.finish_reset != nullptr) task_.finish_reset(random, qpos, qvel);
    CallMujoco([&] { mj_forward(model_.get(), data_.get()); });
    progress_ = Progress();
    Observe(observation);
  }

  StepResult Step(const Action& action, std::span<std::byte> observation) override {
    std::copy(action.continuous.begin(), action.continuous.end(), data_->ctrl);
    CallMujoco([&] {
      for (int i = 0; i < task_.frame_skip; ++i) mj_step(model_.get(), data_.get());
      if (task_.contact_forces) mj_rnePostConstraint(model_.get(), data_.get());
    });
    CheckStability();

    const double before = std::exchange(progress_, Progress());
    const double velocity = (progress_ - before) / (model_->opt.timestep * task_.frame_skip);
    const bool healthy = Healthy();
    double reward = task_.forward_weight * velocity + (healthy ? task_.healthy_reward : 0) - ControlCost(action);
    if (task_.contact_weight > 0) reward -= ContactCost();
    if (task_.extra_reward != nullptr) reward += task_.extra_reward(*model_, *data_);
    Observe(observation);
    return {.reward = reward, .terminated = !healthy};
  }

  std::vector<double> State() const override {
    std::vector<double> state(StateSize());
    mj_getState(model_.get(), data_.get(), state.data(), mjSTATE_INTEGRATION);
    state.back() = progress_;
    return state;
  }

  absl::Status SetState(std::span<const double> state) override {
    RETURN_IF_ERROR(CheckStateSize(facts_, StateSize(), state.size()));
    try {
      CallMujoco([&] {
        mj_resetData(model_.get(), data_.get());
        mj_setState(model_.get(), data_.get(), state.data(), mjSTATE_INTEGRATION);
        mj_forward(model_.get(), data_.get());
      });
    } catch (const std::runtime_error& error) {
      return absl::InvalidArgumentError(absl::StrCat(facts_.name, " cannot continue from this state: ", error.what()));
    }
    progress_ = state.back();
    return absl::OkStatus();
  }

 private:
  size_t StateSize() const { return static_cast<size_t>(mj_stateSize(model_.get(), mjSTATE_INTEGRATION)) + 1; }

  double VelocityNoise(RandomStream& random) const {
    const double scale = task_.velocity_noise;
    return task_.velocity_noise_kind == Noise::kNormal ? scale * random.Normal() : random.Uniform(-scale, scale);
  }

  double Progress() const { return task_.progress == nullptr ? 0 : task_.progress(*model_, *data_); }

  // MuJoCo silently starts anew from the model's own state when it meets numbers that are not finite or are huge, and
  // replaces bad controls by zero; either way it counts a warning.
  void CheckStability() const {
    for (int kind : {mjWARN_BADQPOS, mjWARN_BADQVEL, mjWARN_BADQACC, mjWARN_BADCTRL}) {
      if (data_->warning[kind].number == 0) continue;
      throw std::runtime_error(absl::StrCat("the simulation of ", facts_.name, " diverged: ", LastMujocoWarning()));
    }
  }

  double ControlCost(const Action& action) const {
    double squares = 0;
    for (double component : action.continuous) squares += component * component;
    return task_.control_weight * squares;
  }

  double ContactCost() const {
    double squares = 0;
    for (double force : std::span<const double>(data_->cfrc_ext, 6 * static_cast<size_t>(model_->nbody))) {
      const double clipped = std::clamp(force, -task_.contact_clip, task_.contact_clip);
      squares += clipped * clipped;
    }
    return std::min(task_.contact_weight * squares, task_.max_contact_cost);
  }

  bool Healthy() const {
    const auto in_range = [&](const HealthyRange& range) {
      return range.low <= data_->qpos[range.position] && data_->qpos[range.position] <= range.high;
    };
    const auto bounded = [&](double number) { return std::abs(number) < task_.healthy_state_bound; };
    return std::all_of(task_.healthy.begin(), task_.healthy.end(), in_range) &&
           std::all_of(data_->qpos + 2, data_->qpos + model_->nq, bounded) &&
           std::all_of(data_->qvel, data_->qvel + model_->nv, bounded) &&
           (task_.also_healthy == nullptr || task_.also_healthy(*model_, *data_));
  }

  void Observe(std::span<std::byte> observation) const {
    double* out = As<double>(observation).data();
    for (const ObservationPart& part : task_.observation) {
      const std::span<const double> all = part.quantity(*model_, *data_);
      for (double number : all.subspan(part.first, part.count < 0 ? all.size() - part.first : part.count)) {
        const double mapped = part.map == nullptr ? number : part.map(number);
        *out++ = std::clamp(mapped, -part.clip, part.clip);
      }
    }
    if (task_.finish_observation != nullptr) task_.finish_observation(*model_, *data_, out);
  }

  const EnvironmentFacts facts_;
  const MujocoTask& task_;
  const std::shared_ptr<const mjModel> model_;
  const MujocoData data_;
  double progress_ = 0;
};

}  // namespace

EnvironmentEntries Mujoco() {
  EnvironmentEntries entries;
  for (const MujocoTask& task : AllMujocoTasks()) {
    const auto make = [&task](const EnvironmentFacts& facts) -> absl::StatusOr<std::unique_ptr<Environment>> {
      ASSIGN_OR_RETURN(std::shared_ptr<const mjModel> model, SharedMujocoModel(task.model));
      if (model->nu != task.actions) {
        return absl::InternalError(absl::StrCat(task.model, " has ", model->nu, " actuators, not ", task.actions));
      }
      try {
        return std::make_unique<MujocoEnvironment>(facts, task, std::move(model));
      } catch (const std::exception& error) {
        return absl::InternalError(absl::StrCat(facts.name, ": ", error.what()));
      }
    };
    entries.push_back({FactsOf(task), make});
  }
  return entries;
}

}  // namespace headrace
