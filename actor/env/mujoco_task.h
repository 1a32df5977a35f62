// A MuJoCo task as a record: mujoco.cc runs any of them, mujoco_tasks.cc lists them.
//
// With a the action, v the speed of the robot's progress along x, and c the contact forces, a step earns
//
//   forward_weight v + (healthy ? healthy_reward : 0) - control_weight |a|^2
//   - min(contact_weight |c|^2, max_contact_cost)
//
// plus extra_reward, and ends the episode when the robot is unhealthy. What differs more than that is a small function.
#ifndef HEADRACE_ACTOR_ENV_MUJOCO_TASK_H_
#define HEADRACE_ACTOR_ENV_MUJOCO_TASK_H_

#include <mujoco/mujoco.h>

#include <limits>
#include <span>
#include <string>
#include <vector>

#include "common/random.h"

namespace headrace {

inline constexpr double kNone = std::numeric_limits<double>::quiet_NaN();
inline constexpr double kInfinity = std::numeric_limits<double>::infinity();

enum class Noise { kUniform, kNormal };  // in [-scale, scale), or of deviation scale

// A run of one quantity's numbers from `first` on (of all if count is negative), each mapped and then clipped to
// [-clip, clip].
struct ObservationPart {
  std::span<const double> (*quantity)(const mjModel& model, const mjData& data);
  int first = 0;
  int count = -1;
  double clip = kInfinity;
  double (*map)(double) = nullptr;
};

// Healthy robots have qpos[position] in [low, high].
struct HealthyRange {
  int position;
  double low;
  double high;
};

struct MujocoTask {
  // Facts. Actions are `actions` numbers in [-action_bound, action_bound].
  std::string name;
  std::string summary;
  std::string model;  // a file of Gymnasium's assets
  int observation_size;
  int actions;
  double action_bound;
  int max_episode_steps = 1000;
  double reward_threshold = kNone;

  // Each action is held for so many steps of the simulation.
  int frame_skip;

  // An episode starts from the model's own state with noise on positions and velocities.
  double position_noise;
  double velocity_noise;
  Noise velocity_noise_kind = Noise::kUniform;
  void (*finish_reset)(RandomStream& random, std::span<double> qpos, std::span<double> qvel) = nullptr;

  std::vector<ObservationPart> observation;
  // Appends what no quantity of MuJoCo holds as it is; returns the end of what it wrote.
  double* (*finish_observation)(const mjModel& model, const mjData& data, double* out) = nullptr;

  // The robot's position on x, whose change is its progress.
  double (*progress)(const mjModel& model, const mjData& data) = nullptr;
  double forward_weight = 0;
  double control_weight = 0;
  double contact_weight = 0;
  double contact_clip = kInfinity;  // for each component of a contact force, before it is squared
  double max_contact_cost = kInfinity;
  double healthy_reward = 0;
  double (*extra_reward)(const mjModel& model, const mjData& data) = nullptr;

  std::vector<HealthyRange> healthy;
  double healthy_state_bound = kInfinity;  // on each of qpos[2:] and qvel
  bool (*also_healthy)(const mjModel& model, const mjData& data) = nullptr;

  // Set by tasks that observe or reward contact forces: they cost time, and nothing else depends on them.
  bool contact_forces = false;
};

const std::vector<MujocoTask>& AllMujocoTasks();

}  // namespace headrace

#endif  // HEADRACE_ACTOR_ENV_MUJOCO_TASK_H_
