// Gymnasium's MuJoCo models, compiled into the program (BUILD.bazel writes the source from the wheel's XML files).
//
// Thread-safe.
#ifndef HEADRACE_ACTOR_ENV_MUJOCO_MODEL_FILES_H_
#define HEADRACE_ACTOR_ENV_MUJOCO_MODEL_FILES_H_

#include <string_view>

namespace headrace {

// The text of "half_cheetah.xml" and its like; empty: there is no such file.
std::string_view MujocoModelFile(std::string_view name);

}  // namespace headrace

#endif  // HEADRACE_ACTOR_ENV_MUJOCO_MODEL_FILES_H_
