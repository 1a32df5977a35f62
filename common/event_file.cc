#include "common/event_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <chrono>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/crc32c.h"
#include "common/event.pb.h"
#include "common/file.h"
#include "common/machine.h"
#include "common/status_macros.h"

namespace headrace {
namespace {

template <typename T>
void AppendLittleEndian(T value, std::string* out) {
  for (size_t i = 0; i < sizeof(T); ++i) out->push_back(static_cast<char>(value >> (8 * i)));
}

// TFRecord's checksum: rotated and shifted, so that the checksum of data which holds checksums is still a good one.
uint32_t MaskedCrc32c(std::string_view bytes) {
  const uint32_t crc = Crc32c(bytes);
  return ((crc >> 15) | (crc << 17)) + 0xA282EAD8;
}

tensorboard::Event MakeEvent(int64_t step, const Clock& clock) {
  tensorboard::Event event;
  event.set_wall_time(std::chrono::duration<double>(clock.WallNow().time_since_epoch()).count());
  event.set_step(step);
  return event;
}

}  // namespace

absl::StatusOr<std::unique_ptr<EventFile>> EventFile::Create(const std::string& directory, int64_t first_step,
                                                             const Clock* clock) {
  // TensorBoard reads a directory's files in the order of their names: the time comes first, with all its digits.
  static std::atomic<int> count = 0;
  const int64_t seconds = std::chrono::duration_cast<std::chrono::seconds>(clock->WallNow().time_since_epoch()).count();
  const std::string path = absl::StrFormat("%s/events.out.tfevents.%010d.%s.%d.%d", directory, seconds,
                                           ThisMachine().hostname, ::getpid(), count.fetch_add(1));
  const int file = ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0644);
  if (file < 0) return ErrnoStatus("create", path);
  std::unique_ptr<EventFile> events(new EventFile(path, file, clock));

  tensorboard::Event version = MakeEvent(0, *clock);
  version.set_file_version("brain.Event:2");
  RETURN_IF_ERROR(events->WriteRecord(version.SerializeAsString()));
  tensorboard::Event start = MakeEvent(first_step, *clock);
  start.mutable_session_log()->set_status(tensorboard::SessionLog::START);
  RETURN_IF_ERROR(events->WriteRecord(start.SerializeAsString()));
  return events;
}

EventFile::~EventFile() { ::close(file_); }

absl::Status EventFile::Append(int64_t step, const std::vector<std::pair<std::string, double>>& scalars) {
  tensorboard::Event event = MakeEvent(step, clock_);
  for (const auto& [tag, value] : scalars) {
    tensorboard::Summary::Value* summary = event.mutable_summary()->add_value();
    summary->set_tag(tag);
    summary->set_simple_value(static_cast<float>(value));
  }
  return WriteRecord(event.SerializeAsString());
}

absl::Status EventFile::WriteRecord(const std::string& event) {
  std::string record;
  AppendLittleEndian<uint64_t>(event.size(), &record);
  AppendLittleEndian(MaskedCrc32c(record), &record);
  record += event;
  AppendLittleEndian(MaskedCrc32c(event), &record);

  const off_t end = ::lseek(file_, 0, SEEK_END);
  const ssize_t written = ::write(file_, record.data(), record.size());
  if (written == static_cast<ssize_t>(record.size())) return absl::OkStatus();
  if (written < 0) return ErrnoStatus("append to", path_);
  // Readers stop at a broken record: takes back what was written of it.
  if (::ftruncate(file_, end) != 0) return ErrnoStatus("truncate", path_);
  return absl::ResourceExhaustedError(absl::StrCat("append to ", path_, ": only part of a record fitted"));
}

}  // namespace headrace
