// MuJoCo's C library behind an interface without its pitfalls: models are compiled into the program and shared, its
// fatal errors become exceptions instead of ending the process, and its messages are written to no file.
//
//   std::shared_ptr<const mjModel> model = *SharedMujocoModel("half_cheetah.xml");
//   MujocoData data = MakeMujocoData(*model);
//   CallMujoco([&] { mj_step(model.get(), data.get()); });
//
// Thread-safe; an mjData belongs to one thread at a time.
#ifndef HEADRACE_ACTOR_ENV_MUJOCO_MODEL_H_
#define HEADRACE_ACTOR_ENV_MUJOCO_MODEL_H_

#include <mujoco/mujoco.h>

#include <csetjmp>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/statusor.h"

namespace headrace {

// The model in a file of Gymnasium's mujoco/assets, loaded once for all who hold it at the same time. NotFound: there
// is no such file in the program. Internal: MuJoCo refused it.
absl::StatusOr<std::shared_ptr<const mjModel>> SharedMujocoModel(const std::string& file);

struct MujocoDataDeleter {
  void operator()(mjData* data) const { mj_deleteData(data); }
};
using MujocoData = std::unique_ptr<mjData, MujocoDataDeleter>;

MujocoData MakeMujocoData(const mjModel& model);

// MuJoCo's last warning on this thread since the last call of CallMujoco; "" if there was none.
std::string LastMujocoWarning();

namespace mujoco_internal {

// Makes `escape` the place where MuJoCo's errors on this thread go, and returns the one before.
std::jmp_buf* SetEscape(std::jmp_buf* escape);
[[noreturn]] void ThrowLastError();

}  // namespace mujoco_internal

// Runs `function`, which calls MuJoCo. If MuJoCo reports a fatal error meanwhile, throws std::runtime_error with its
// message; the mjData in use must then be reset before anything else.
//
// MuJoCo's errors must not return, and C++ exceptions cannot pass through it: its library has a C++ runtime of its own
// linked into it. So the error jumps back to here, as in MuJoCo's Python bindings. Destructors in between do not run:
// `function` must hold no object that has one.
template <typename Function>
void CallMujoco(Function&& function) {
  std::jmp_buf here;
  std::jmp_buf* const outer = mujoco_internal::SetEscape(&here);
  if (setjmp(here) == 0) {
    function();
    mujoco_internal::SetEscape(outer);
  } else {
    mujoco_internal::SetEscape(outer);
    mujoco_internal::ThrowLastError();
  }
}

}  // namespace headrace

#endif  // HEADRACE_ACTOR_ENV_MUJOCO_MODEL_H_
