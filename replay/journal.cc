#include "replay/journal.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <filesystem>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/checksum.h"
#include "common/file.h"
#include "common/log.h"
#include "common/status_macros.h"
#include "replay/journal_format.h"

namespace headrace {
namespace {

constexpr char kSuffix[] = ".journal";
constexpr std::chrono::seconds kRetryInterval{1};
// Of what waits, about so much is brought into the form of the file, written and synchronised at a time.
constexpr size_t kBytesAtATime = 16 << 20;

template <typename T>
std::string_view BytesOf(const T& value) {
  return {reinterpret_cast<const char*>(&value), sizeof(value)};
}

v1::JournalEntry CreateEntry(const std::string& run_id, const v1::TableSpec& spec) {
  v1::JournalEntry entry;
  entry.set_run_id(run_id);
  *entry.mutable_create() = spec;
  return entry;
}

// An entry as it stands in the file. The request is the last field of its message, so that it need not be parsed.
void AppendEntry(v1::JournalEntry head, const grpc::ByteBuffer& request, std::string& out) {
  std::string body = head.SerializeAsString();
  if (request.Valid()) {
    std::vector<grpc::Slice> slices;
    (void)request.Dump(&slices);
    std::string bytes;
    for (const grpc::Slice& slice : slices) {
      bytes.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
    }
    v1::JournalEntry rest;
    rest.set_request(std::move(bytes));
    rest.AppendToString(&body);
  }
  const JournalEntryHead sizes = {body.size(), Checksum(body)};
  out.append(BytesOf(sizes));
  out.append(body);
}

absl::Status WriteBytes(int file, std::string_view bytes, const std::string& path) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(file, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return ErrnoStatus("write", path);
    bytes.remove_prefix(static_cast<size_t>(written));
  }
  return absl::OkStatus();
}

}  // namespace

std::string Journal::Path(const std::string& directory, uint64_t number) {
  return absl::StrFormat("%s/%012d%s", directory, number, kSuffix);
}

std::vector<uint64_t> Journal::Files(const std::string& directory) {
  std::vector<uint64_t> numbers;
  const absl::StatusOr<std::vector<std::string>> names = ListDirectory(directory);
  if (!names.ok()) return numbers;
  for (const std::string& name : *names) {
    const std::filesystem::path path(name);
    uint64_t number;
    if (path.extension() == kSuffix && absl::SimpleAtoi(path.stem().string(), &number)) numbers.push_back(number);
  }
  std::sort(numbers.begin(), numbers.end());
  return numbers;
}

absl::StatusOr<std::unique_ptr<Journal>> Journal::Start(const std::string& directory, uint64_t last) {
  RETURN_IF_ERROR(MakeDirectories(directory));
  for (const uint64_t file : Files(directory)) last = std::max(last, file);
  return std::unique_ptr<Journal>(new Journal(directory, last + 1));
}

Journal::Journal(std::string directory, uint64_t file)
    : directory_(std::move(directory)), file_(file), thread_([this] { Run(); }) {}

Journal::~Journal() {
  {
    MutexLock lock(&mutex_);
    stopping_ = true;
    changed_.NotifyAll();
  }
  thread_.join();
  if (open_ >= 0) ::close(open_);
}

void Journal::AddTable(const std::string& run_id, const v1::TableSpec& spec) {
  MutexLock lock(&mutex_);
  Add(CreateEntry(run_id, spec), grpc::ByteBuffer());
}

uint64_t Journal::AddChunk(const std::string& table, uint64_t writer, const grpc::ByteBuffer& request) {
  v1::JournalEntry head;
  head.set_table(table);
  head.set_writer(writer);
  MutexLock lock(&mutex_);
  Add(std::move(head), request);
  return added_;
}

void Journal::TellDurable(std::function<void(uint64_t entries)> told) {
  MutexLock lock(&mutex_);
  told_ = std::move(told);
}

void Journal::Add(v1::JournalEntry head, const grpc::ByteBuffer& request) {
  queue_.push_back({file_, std::move(head), request});
  ++added_;
  changed_.NotifyAll();
}

uint64_t Journal::added() const {
  MutexLock lock(&mutex_);
  return added_;
}

uint64_t Journal::durable() const {
  MutexLock lock(&mutex_);
  return durable_;
}

bool Journal::WaitDurable(uint64_t entries, Waiter waiter) {
  MutexLock lock(&mutex_);
  if (durable_ >= entries) return true;
  waiting_[waiter.owner] = {entries, std::move(waiter.wake)};
  return false;
}

void Journal::StopWaiting(const void* owner) {
  MutexLock lock(&mutex_);
  waiting_.erase(owner);
}

uint64_t Journal::NextFile(const std::string& run_id, const std::vector<v1::TableSpec>& tables) {
  MutexLock lock(&mutex_);
  ++file_;
  for (const v1::TableSpec& table : tables) Add(CreateEntry(run_id, table), grpc::ByteBuffer());
  return file_;
}

void Journal::RemoveFilesBefore(const std::string& directory, uint64_t number) {
  for (const uint64_t file : Files(directory)) {
    if (file >= number) return;
    std::error_code error;
    std::filesystem::remove(Path(directory, file), error);
    if (error) LogWarning("old journal %s cannot be removed: %s", Path(directory, file), error.message());
  }
}

void Journal::Run() {
  while (true) {
    std::deque<Entry> entries;
    {
      MutexLock lock(&mutex_);
      while (queue_.empty() && !stopping_) changed_.Wait(&mutex_);
      if (queue_.empty()) return;
      entries.swap(queue_);
    }
    while (!entries.empty()) {
      const size_t written = WriteFirst(entries);
      if (written == 0) return;
      entries.erase(entries.begin(), entries.begin() + static_cast<ptrdiff_t>(written));
      AddDurable(written);
    }
  }
}

void Journal::AddDurable(size_t entries) {
  uint64_t durable;
  std::function<void(uint64_t)> told;
  {
    MutexLock lock(&mutex_);
    durable = durable_ + entries;
    told = told_;
  }
  told(durable);
  std::vector<std::function<void()>> due;
  {
    MutexLock lock(&mutex_);
    durable_ = durable;
    absl::erase_if(waiting_, [&](auto& waiting) {
      if (waiting.second.entries > durable) return false;
      due.push_back(std::move(waiting.second.wake));
      return true;
    });
  }
  for (const std::function<void()>& wake : due) wake();
}

size_t Journal::WriteFirst(const std::deque<Entry>& entries) {
  const uint64_t file = entries.front().file;
  size_t count = 0;
  std::string bytes;
  for (; count < entries.size() && entries[count].file == file && bytes.size() < kBytesAtATime; ++count) {
    AppendEntry(entries[count].head, entries[count].request, bytes);
  }
  absl::Status written = WriteAndSync(file, bytes);
  if (written.ok()) return count;
  LogError("the journal cannot be written, inserters wait: %s", written.ToString());
  while (true) {
    {
      MutexLock lock(&mutex_);
      const auto until = ConditionVariable::Clock::now() + kRetryInterval;
      while (!stopping_ && changed_.WaitUntil(&mutex_, until)) {
      }
      if (stopping_) return 0;
    }
    written = WriteAndSync(file, bytes);
    if (!written.ok()) continue;
    LogInfo("the journal can be written again");
    return count;
  }
}

absl::Status Journal::WriteAndSync(uint64_t number, const std::string& bytes) {
  if (open_ < 0 || open_number_ != number) RETURN_IF_ERROR(Open(number));
  const std::string path = Path(directory_, number);
  // What an attempt before this one has left is overwritten, or cut off.
  if (::ftruncate(open_, static_cast<off_t>(good_bytes_)) != 0) return ErrnoStatus("truncate", path);
  if (::lseek(open_, static_cast<off_t>(good_bytes_), SEEK_SET) < 0) return ErrnoStatus("seek in", path);
  RETURN_IF_ERROR(WriteBytes(open_, bytes, path));
  if (::fdatasync(open_) != 0) return ErrnoStatus("sync", path);
  good_bytes_ += bytes.size();
  return absl::OkStatus();
}

absl::Status Journal::Open(uint64_t number) {
  if (open_ >= 0) ::close(open_);
  const std::string path = Path(directory_, number);
  open_ = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (open_ < 0) return ErrnoStatus("create", path);
  open_number_ = 0;  // until the file is begun
  RETURN_IF_ERROR(WriteBytes(open_, kJournalMagic, path));
  // The name must be there after a loss of power, too.
  const int directory = ::open(directory_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (directory < 0) return ErrnoStatus("open", directory_);
  const absl::Status synced = ::fsync(directory) == 0 ? absl::OkStatus() : ErrnoStatus("sync", directory_);
  ::close(directory);
  RETURN_IF_ERROR(synced);
  open_number_ = number;
  good_bytes_ = kJournalMagic.size();
  return absl::OkStatus();
}

}  // namespace headrace
