// An environment whose observations are the last `frames` ones of another, one after the other along their first
// dimension, oldest first, with zeros for those before the episode began (as in Mnih et al., "Human-level control
// through deep reinforcement learning", 2015). Of an observation [shape...] the newest frame is the last elements.
#ifndef HEADRACE_ACTOR_ENV_FRAME_STACK_H_
#define HEADRACE_ACTOR_ENV_FRAME_STACK_H_

#include <memory>

#include "actor/env/environment.h"

namespace headrace {

// What a stack of so many frames looks like; with 1 frame, the frame.
ArraySpec StackedFrames(ArraySpec frame, int frames);

// `frames` must be positive; with 1 it is the environment itself.
std::unique_ptr<Environment> StackFrames(std::unique_ptr<Environment> environment, int frames);

}  // namespace headrace

#endif  // HEADRACE_ACTOR_ENV_FRAME_STACK_H_
