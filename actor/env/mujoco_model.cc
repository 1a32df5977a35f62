#include "actor/env/mujoco_model.h"

#include <cstdio>
#include <cstring>
#include <map>
#include <mutex>
#include <stdexcept>
#include <string_view>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "actor/env/mujoco_model_files.h"

namespace headrace {
namespace {

// Plain arrays: a jump out of MuJoCo must not skip a destructor.
thread_local std::jmp_buf* t_escape = nullptr;
thread_local char t_error[sizeof(mjLogMessage::subject)] = "";
thread_local char t_warning[sizeof(mjLogMessage::subject)] = "";

void HandleLogMessage(const mjLogMessage* message) {
  if (message->level == mjLOG_WARNING) std::memcpy(t_warning, message->subject, sizeof(t_warning));
  if (message->level != mjLOG_ERROR) return;
  std::memcpy(t_error, message->subject, sizeof(t_error));
  if (t_escape != nullptr) std::longjmp(*t_escape, 1);
  std::fprintf(stderr, "MuJoCo error outside of CallMujoco: %s\n", t_error);  // and MuJoCo ends the process
}

absl::StatusOr<std::shared_ptr<const mjModel>> Load(const std::string& file) {
  [[maybe_unused]] static const mjfLogHandler previous = mju_setLogHandler(HandleLogMessage);
  const std::string_view xml = MujocoModelFile(file);
  if (xml.empty()) return absl::NotFoundError(absl::StrCat("there is no MuJoCo model ", file));

  mjModel* model = nullptr;
  char error[1024] = "";
  mjVFS files;
  mj_defaultVFS(&files);
  try {
    CallMujoco([&] {
      mj_addBufferVFS(&files, file.c_str(), xml.data(), static_cast<int>(xml.size()));
      model = mj_loadXML(file.c_str(), &files, error, sizeof(error));
    });
  } catch (const std::runtime_error& fatal) {
    std::snprintf(error, sizeof(error), "%s", fatal.what());
  }
  mj_deleteVFS(&files);
  if (model == nullptr) return absl::InternalError(absl::StrCat("MuJoCo does not load ", file, ": ", error));
  return std::shared_ptr<const mjModel>(model,
                                        [](const mjModel* unused) { mj_deleteModel(const_cast<mjModel*>(unused)); });
}

}  // namespace

namespace mujoco_internal {

std::jmp_buf* SetEscape(std::jmp_buf* escape) {
  if (escape != nullptr) t_warning[0] = '\0';
  return std::exchange(t_escape, escape);
}

void ThrowLastError() { throw std::runtime_error(absl::StrCat("MuJoCo: ", t_error)); }

}  // namespace mujoco_internal

absl::StatusOr<std::shared_ptr<const mjModel>> SharedMujocoModel(const std::string& file) {
  static std::mutex mutex;
  static auto* const models = new std::map<std::string, std::weak_ptr<const mjModel>>;  // guarded by mutex
  const std::lock_guard lock(mutex);
  std::weak_ptr<const mjModel>& known = (*models)[file];
  if (std::shared_ptr<const mjModel> model = known.lock()) return model;
  absl::StatusOr<std::shared_ptr<const mjModel>> model = Load(file);
  if (model.ok()) known = *model;
  return model;
}

MujocoData MakeMujocoData(const mjModel& model) {
  mjData* data = nullptr;
  CallMujoco([&] { data = mj_makeData(&model); });
  if (data == nullptr) throw std::runtime_error("MuJoCo has no memory for a simulation");
  return MujocoData(data);
}

std::string LastMujocoWarning() { return t_warning; }

}  // namespace headrace
