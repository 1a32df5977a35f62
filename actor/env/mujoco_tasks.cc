// The MuJoCo tasks of Gymnasium 1.4, version 5, with the default arguments of their constructors.
#include <algorithm>
#include <cmath>

#include "actor/env/mujoco_task.h"

namespace headrace {
namespace {

std::span<const double> Rows(const mjtNum* matrix, int rows, int columns) {
  return {matrix, static_cast<size_t>(rows) * columns};
}

// Quantities of the whole robot. Of those with one row for each body, the first row, the world's, is always zero and
// left out.
std::span<const double> Positions(const mjModel& m, const mjData& d) { return Rows(d.qpos, m.nq, 1); }
std::span<const double> Velocities(const mjModel& m, const mjData& d) { return Rows(d.qvel, m.nv, 1); }
std::span<const double> ActuatorForces(const mjModel& m, const mjData& d) { return Rows(d.qfrc_actuator, m.nv, 1); }
std::span<const double> ConstraintForces(const mjModel& m, const mjData& d) { return Rows(d.qfrc_constraint, m.nv, 1); }
std::span<const double> BodyInertias(const mjModel& m, const mjData& d) { return Rows(d.cinert + 10, m.nbody - 1, 10); }
std::span<const double> BodyVelocities(const mjModel& m, const mjData& d) { return Rows(d.cvel + 6, m.nbody - 1, 6); }
std::span<const double> ContactForces(const mjModel& m, const mjData& d) {
  return Rows(d.cfrc_ext + 6, m.nbody - 1, 6);
}

// Positions on x.
double RootPosition(const mjModel&, const mjData& d) { return d.qpos[0]; }
double TorsoPosition(const mjModel&, const mjData& d) { return d.xpos[3]; }  // of body 1
double MassCentre(const mjModel& m, const mjData& d) {
  double moment = 0, mass = 0;
  for (int body = 0; body < m.nbody; ++body) {
    moment += m.body_mass[body] * d.xipos[3 * body];
    mass += m.body_mass[body];
  }
  return moment / mass;
}

// The double pendulum is up while its tip is above 1 m; it loses reward for the tip's distance from (0, 2) and for the
// speeds of its joints.
bool TipIsUp(const mjModel&, const mjData& d) { return d.site_xpos[2] > 1; }
double TipPenalties(const mjModel&, const mjData& d) {
  const double x = d.site_xpos[0], z = d.site_xpos[2];
  const double distance_penalty = 0.01 * (x * x) + (z - 2) * (z - 2);
  const double velocity_penalty = 1e-3 * (d.qvel[1] * d.qvel[1]) + 5e-3 * (d.qvel[2] * d.qvel[2]);
  return -distance_penalty - velocity_penalty;
}

// Between the origins of two bodies.
double Distance(const mjData& d, int a, int b) {
  const mjtNum *p = d.xpos + 3 * a, *q = d.xpos + 3 * b;
  return std::hypot(p[0] - q[0], p[1] - q[1], p[2] - q[2]);
}

// Reacher's model has the bodies world, two links, fingertip and target, and the target's position is qpos[2:4].
constexpr int kFingertip = 3, kTarget = 4;

void PlaceTarget(RandomStream& random, std::span<double> qpos, std::span<double> qvel) {
  do {
    qpos[2] = random.Uniform(-0.2, 0.2);
    qpos[3] = random.Uniform(-0.2, 0.2);
  } while (std::hypot(qpos[2], qpos[3]) >= 0.2);
  qvel[2] = qvel[3] = 0;
}

double* FingertipToTarget(const mjModel&, const mjData& d, double* out) {
  for (int axis = 0; axis < 2; ++axis) *out++ = d.xpos[3 * kFingertip + axis] - d.xpos[3 * kTarget + axis];
  return out;
}

double TargetDistance(const mjModel&, const mjData& d) { return -Distance(d, kFingertip, kTarget); }

// Pusher's model has, after the arm's links, the bodies fingertip, object and goal; qpos[7:9] is where the object is,
// and qpos[9:11] the goal.
constexpr int kPusherTip = 10, kObject = 11, kGoal = 12;

void PlaceObject(RandomStream& random, std::span<double> qpos, std::span<double> qvel) {
  do {
    qpos[7] = random.Uniform(-0.3, 0);
    qpos[8] = random.Uniform(-0.2, 0.2);
  } while (std::hypot(qpos[7], qpos[8]) <= 0.17);
  qpos[9] = qpos[10] = 0;
  std::ranges::fill(qvel.last(4), 0);
}

double* TipObjectAndGoal(const mjModel&, const mjData& d, double* out) {
  return std::copy_n(d.xpos + 3 * kPusherTip, 9, out);
}

double PusherDistances(const mjModel&, const mjData& d) {
  return -Distance(d, kObject, kGoal) - 0.5 * Distance(d, kObject, kPusherTip);
}

// What both tasks of the humanoid observe: without its place on the ground, and without the forces on its root, which
// has no actuators.
std::vector<ObservationPart> HumanoidObservation() {
  return {{Positions, 2}, {Velocities}, {BodyInertias}, {BodyVelocities}, {ActuatorForces, 6}, {ContactForces}};
}

// Of the torso, as a speed from the ground within one step of the simulation.
double HeightReward(const mjModel& m, const mjData& d) { return d.qpos[2] / m.opt.timestep; }

}  // namespace

const std::vector<MujocoTask>& AllMujocoTasks() {
  static const auto* const tasks = new std::vector<MujocoTask>{
      {.name = "InvertedPendulum-v5",
       .summary = "balance a pole on a cart by forces on the cart",
       .model = "inverted_pendulum.xml",
       .observation_size = 4,
       .actions = 1,
       .action_bound = 3,
       .reward_threshold = 950,
       .frame_skip = 2,
       .position_noise = 0.01,
       .velocity_noise = 0.01,
       .observation = {{Positions}, {Velocities}},
       .healthy_reward = 1,
       .healthy = {{1, -0.2, 0.2}}},

      {.name = "InvertedDoublePendulum-v5",
       .summary = "balance two poles, one on the other, on a cart",
       .model = "inverted_double_pendulum.xml",
       .observation_size = 9,
       .actions = 1,
       .action_bound = 1,
       .reward_threshold = 9100,
       .frame_skip = 5,
       .position_noise = 0.1,
       .velocity_noise = 0.1,
       .velocity_noise_kind = Noise::kNormal,
       .observation = {{Positions, 0, 1},
                       {Positions, 1, -1, kInfinity, std::sin},
                       {Positions, 1, -1, kInfinity, std::cos},
                       {Velocities, 0, -1, 10},
                       {ConstraintForces, 0, 1, 10}},
       .healthy_reward = 10,
       .extra_reward = TipPenalties,
       .also_healthy = TipIsUp},

      {.name = "Reacher-v5",
       .summary = "bring the tip of an arm of two links to a target",
       .model = "reacher.xml",
       .observation_size = 10,
       .actions = 2,
       .action_bound = 1,
       .max_episode_steps = 50,
       .reward_threshold = -3.75,
       .frame_skip = 2,
       .position_noise = 0.1,
       .velocity_noise = 0.005,
       .finish_reset = PlaceTarget,
       .observation = {{Positions, 0, 2, kInfinity, std::cos},
                       {Positions, 0, 2, kInfinity, std::sin},
                       {Positions, 2},
                       {Velocities, 0, 2}},
       .finish_observation = FingertipToTarget,
       .control_weight = 1,
       .extra_reward = TargetDistance},

      {.name = "Pusher-v5",
       .summary = "push an object to a goal with an arm of seven joints",
       .model = "pusher_v5.xml",
       .observation_size = 23,
       .actions = 7,
       .action_bound = 2,
       .max_episode_steps = 100,
       .reward_threshold = 0,
       .frame_skip = 5,
       .position_noise = 0,
       .velocity_noise = 0.005,
       .finish_reset = PlaceObject,
       .observation = {{Positions, 0, 7}, {Velocities, 0, 7}},
       .finish_observation = TipObjectAndGoal,
       .control_weight = 0.1,
       .extra_reward = PusherDistances},

      {.name = "Swimmer-v5",
       .summary = "swim forward with three links",
       .model = "swimmer.xml",
       .observation_size = 8,
       .actions = 2,
       .action_bound = 1,
       .reward_threshold = 360,
       .frame_skip = 4,
       .position_noise = 0.1,
       .velocity_noise = 0.1,
       .observation = {{Positions, 2}, {Velocities}},
       .progress = RootPosition,
       .forward_weight = 1,
       .control_weight = 1e-4},

      {.name = "Hopper-v5",
       .summary = "hop forward on one leg",
       .model = "hopper.xml",
       .observation_size = 11,
       .actions = 3,
       .action_bound = 1,
       .reward_threshold = 3800,
       .frame_skip = 4,
       .position_noise = 5e-3,
       .velocity_noise = 5e-3,
       .observation = {{Positions, 1}, {Velocities, 0, -1, 10}},
       .progress = RootPosition,
       .forward_weight = 1,
       .control_weight = 1e-3,
       .healthy_reward = 1,
       .healthy = {{1, 0.7, kInfinity}, {2, -0.2, 0.2}},
       .healthy_state_bound = 100},

      {.name = "Walker2d-v5",
       .summary = "walk forward on two legs in a plane",
       .model = "walker2d_v5.xml",
       .observation_size = 17,
       .actions = 6,
       .action_bound = 1,
       .frame_skip = 4,
       .position_noise = 5e-3,
       .velocity_noise = 5e-3,
       .observation = {{Positions, 1}, {Velocities, 0, -1, 10}},
       .progress = RootPosition,
       .forward_weight = 1,
       .control_weight = 1e-3,
       .healthy_reward = 1,
       .healthy = {{1, 0.8, 2.0}, {2, -1, 1}}},

      {.name = "HalfCheetah-v5",
       .summary = "run forward on two legs in a plane",
       .model = "half_cheetah.xml",
       .observation_size = 17,
       .actions = 6,
       .action_bound = 1,
       .reward_threshold = 4800,
       .frame_skip = 5,
       .position_noise = 0.1,
       .velocity_noise = 0.1,
       .velocity_noise_kind = Noise::kNormal,
       .observation = {{Positions, 1}, {Velocities}},
       .progress = RootPosition,
       .forward_weight = 1,
       .control_weight = 0.1},

      {.name = "Ant-v5",
       .summary = "walk forward on four legs",
       .model = "ant.xml",
       .observation_size = 105,
       .actions = 8,
       .action_bound = 1,
       .reward_threshold = 6000,
       .frame_skip = 5,
       .position_noise = 0.1,
       .velocity_noise = 0.1,
       .velocity_noise_kind = Noise::kNormal,
       .observation = {{Positions, 2}, {Velocities}, {ContactForces, 0, -1, 1}},
       .progress = TorsoPosition,
       .forward_weight = 1,
       .control_weight = 0.5,
       .contact_weight = 5e-4,
       .contact_clip = 1,
       .healthy_reward = 1,
       .healthy = {{2, 0.2, 1.0}},
       .contact_forces = true},

      {.name = "Humanoid-v5",
       .summary = "walk forward with a body like a human's",
       .model = "humanoid.xml",
       .observation_size = 348,
       .actions = 17,
       .action_bound = 0.4,
       .frame_skip = 5,
       .position_noise = 0.01,
       .velocity_noise = 0.01,
       .observation = HumanoidObservation(),
       .progress = MassCentre,
       .forward_weight = 1.25,
       .control_weight = 0.1,
       .contact_weight = 5e-7,
       .max_contact_cost = 10,
       .healthy_reward = 5,
       .healthy = {{2, 1.0, 2.0}},
       .contact_forces = true},

      {.name = "HumanoidStandup-v5",
       .summary = "stand up with a body like a human's",
       .model = "humanoidstandup.xml",
       .observation_size = 348,
       .actions = 17,
       .action_bound = 0.4,
       .frame_skip = 5,
       .position_noise = 0.01,
       .velocity_noise = 0.01,
       .observation = HumanoidObservation(),
       .control_weight = 0.1,
       .contact_weight = 5e-7,
       .max_contact_cost = 10,
       .healthy_reward = 1,
       .extra_reward = HeightReward,
       .contact_forces = true},
  };
  return *tasks;
}

}  // namespace headrace
