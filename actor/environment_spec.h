// What an actor tells the learner about its environment.
#ifndef HEADRACE_ACTOR_ENVIRONMENT_SPEC_H_
#define HEADRACE_ACTOR_ENVIRONMENT_SPEC_H_

#include "actor/env/environment.h"
#include "proto/run.pb.h"

namespace headrace {

// max_episode_steps: a time limit instead of the environment's own; 0: none.
v1::EnvironmentSpec MakeEnvironmentSpec(const EnvironmentFacts& facts, int max_episode_steps);

}  // namespace headrace

#endif  // HEADRACE_ACTOR_ENVIRONMENT_SPEC_H_
