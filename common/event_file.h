// TensorBoard event files: scalars over environment steps.
//
//   ASSIGN_OR_RETURN(std::unique_ptr<EventFile> events, EventFile::Create(run.tensorboard(), first_step, RealClock()));
//   RETURN_IF_ERROR(events->Append(12000, {{"rollout/ep_rew_mean", -151.5}, {"charts/SPS", 25000}}));
//
// A file is a sequence of TFRecords, each an Event (event.proto):
//   uint64 length | uint32 masked CRC-32C of the length | the event | uint32 masked CRC-32C of the event
// all little-endian. Every start of a run makes a new file in the same directory; readers join them by name. A record
// that a crash cut short is the last of its file, where readers expect it.
//
// Not thread-safe.
#ifndef HEADRACE_COMMON_EVENT_FILE_H_
#define HEADRACE_COMMON_EVENT_FILE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/clock.h"

namespace headrace {

class EventFile {
 public:
  // `first_step` is the first that may follow; what earlier files of the directory hold from there on is forgotten by
  // readers: a resumed run passes the step of its checkpoint plus 1. `clock` outlives the file.
  static absl::StatusOr<std::unique_ptr<EventFile>> Create(const std::string& directory, int64_t first_step,
                                                           const Clock* clock);
  ~EventFile();

  // One event with all `scalars`, in the file when this returns. Values are stored as float.
  absl::Status Append(int64_t step, const std::vector<std::pair<std::string, double>>& scalars);

  const std::string& path() const { return path_; }

 private:
  EventFile(std::string path, int file, const Clock* clock) : path_(std::move(path)), file_(file), clock_(*clock) {}

  absl::Status WriteRecord(const std::string& event);

  const std::string path_;
  const int file_;
  const Clock& clock_;
};

}  // namespace headrace

#endif  // HEADRACE_COMMON_EVENT_FILE_H_
