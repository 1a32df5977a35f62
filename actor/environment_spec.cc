#include "actor/environment_spec.h"

#include "actor/env/frame_stack.h"

namespace headrace {

v1::EnvironmentSpec MakeEnvironmentSpec(const EnvironmentFacts& facts, const v1::EnvironmentConfig& config) {
  const ArraySpec observation = StackedFrames(facts.observation, static_cast<int>(config.frame_stack()));
  v1::EnvironmentSpec spec;
  spec.set_name(facts.name);
  spec.mutable_observation()->set_name("observation");
  spec.mutable_observation()->set_data_type(observation.data_type);
  spec.mutable_observation()->mutable_shape()->Add(observation.shape.begin(), observation.shape.end());
  spec.mutable_action()->set_name("action");
  if (facts.action.continuous()) {
    spec.mutable_action()->set_data_type(v1::FLOAT32);
    spec.mutable_action()->add_shape(static_cast<uint32_t>(facts.action.dimensions()));
    spec.mutable_action_low()->Add(facts.action.low.begin(), facts.action.low.end());
    spec.mutable_action_high()->Add(facts.action.high.begin(), facts.action.high.end());
  } else {
    spec.mutable_action()->set_data_type(v1::INT32);
    spec.set_discrete_actions(static_cast<uint32_t>(facts.action.discrete));
  }
  spec.set_max_episode_steps(config.max_episode_steps() > 0 ? config.max_episode_steps()
                                                            : static_cast<uint32_t>(facts.max_episode_steps));
  return spec;
}

}  // namespace headrace
