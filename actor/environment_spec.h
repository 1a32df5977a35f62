// What an actor tells the learner about its environment.
#ifndef HEADRACE_ACTOR_ENVIRONMENT_SPEC_H_
#define HEADRACE_ACTOR_ENVIRONMENT_SPEC_H_

#include "actor/env/environment.h"
#include "proto/config.pb.h"
#include "proto/run.pb.h"

namespace headrace {

// As the configuration has it seen: with its time limit, and with stacks of frames as observations.
v1::EnvironmentSpec MakeEnvironmentSpec(const EnvironmentFacts& facts, const v1::EnvironmentConfig& config);

}  // namespace headrace

#endif  // HEADRACE_ACTOR_ENVIRONMENT_SPEC_H_
