#include "common/file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <system_error>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "common/status_macros.h"

namespace headrace {
namespace {

absl::Status ErrorCodeStatus(const std::string& verb, const std::string& path, const std::error_code& error) {
  return absl::ErrnoToStatus(error.value(), absl::StrCat(verb, " ", path));
}

}  // namespace

absl::Status ErrnoStatus(const std::string& verb, const std::string& path) {
  return absl::ErrnoToStatus(errno, absl::StrCat(verb, " ", path));
}

absl::StatusOr<std::string> ReadFile(const std::string& path) {
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) return ErrnoStatus("open", path);
  absl::Cleanup close = [file] { ::close(file); };
  struct stat info;
  if (::fstat(file, &info) != 0) return ErrnoStatus("stat", path);

  // The size is a hint: files in /proc have none, and others may grow. One byte more, so that the usual file ends with
  // the second read.
  constexpr size_t kGrowth = 64 << 10;
  std::string contents;
  size_t size = 0;
  contents.resize(info.st_size > 0 ? static_cast<size_t>(info.st_size) + 1 : kGrowth);
  while (true) {
    if (size == contents.size()) contents.resize(size + std::max(kGrowth, size / 2));
    const ssize_t count = ::read(file, contents.data() + size, contents.size() - size);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return ErrnoStatus("read", path);
    if (count == 0) break;
    size += static_cast<size_t>(count);
  }
  contents.resize(size);
  return contents;
}

absl::StatusOr<std::unique_ptr<AtomicFile>> AtomicFile::Create(const std::string& path) {
  static std::atomic<uint64_t> count = 0;
  const std::string temporary = absl::StrCat(path, ".", ::getpid(), ".", count.fetch_add(1), ".tmp");
  // Left by a process of the same number that crashed.
  ::unlink(temporary.c_str());
  const int file = ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
  if (file < 0) return ErrnoStatus("create", temporary);
  return std::unique_ptr<AtomicFile>(new AtomicFile(path, temporary, file));
}

AtomicFile::~AtomicFile() {
  if (file_ >= 0) ::close(file_);
  if (!committed_) ::unlink(temporary_.c_str());
}

absl::Status AtomicFile::Append(std::string_view contents) {
  constexpr size_t kBufferBytes = 1 << 20;
  if (buffer_.size() + contents.size() < kBufferBytes) {
    buffer_.append(contents);
    return absl::OkStatus();
  }
  absl::Status status = Write(buffer_);
  if (status.ok()) status = Write(contents);
  buffer_.clear();
  return status;
}

absl::Status AtomicFile::Write(std::string_view contents) {
  while (!contents.empty()) {
    const ssize_t written = ::write(file_, contents.data(), contents.size());
    if (written < 0) {
      if (errno == EINTR) continue;
      return ErrnoStatus("write", temporary_);
    }
    contents.remove_prefix(static_cast<size_t>(written));
  }
  return absl::OkStatus();
}

absl::Status AtomicFile::Commit() {
  absl::Status status = Write(buffer_);
  if (status.ok() && ::fsync(file_) != 0) status = ErrnoStatus("sync", temporary_);
  // A network file system reports a full disk as late as here.
  if (::close(std::exchange(file_, -1)) != 0 && status.ok()) status = ErrnoStatus("close", temporary_);
  if (status.ok() && ::rename(temporary_.c_str(), path_.c_str()) != 0) status = ErrnoStatus("rename to", path_);
  if (!status.ok()) return status;
  committed_ = true;
  return SyncDirectoryOf(path_);
}

absl::StatusOr<std::unique_ptr<FileLock>> FileLock::Take(const std::string& path) {
  const int file = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (file < 0) return ErrnoStatus("open", path);
  std::unique_ptr<FileLock> lock(new FileLock(file));
  if (::flock(file, LOCK_EX | LOCK_NB) == 0) return lock;
  if (errno == ENOLCK || errno == ENOSYS || errno == EOPNOTSUPP) return lock;
  if (errno != EWOULDBLOCK) return ErrnoStatus("lock", path);
  return absl::FailedPreconditionError(absl::StrCat("another process has locked ", path));
}

FileLock::~FileLock() { ::close(file_); }

absl::Status WriteFileAtomically(const std::string& path, std::string_view contents) {
  absl::StatusOr<std::unique_ptr<AtomicFile>> file = AtomicFile::Create(path);
  if (!file.ok()) return file.status();
  if (absl::Status status = (*file)->Append(contents); !status.ok()) return status;
  return (*file)->Commit();
}

absl::StatusOr<std::vector<std::string>> ListDirectory(const std::string& path) {
  std::error_code error;
  std::vector<std::string> names;
  std::filesystem::directory_iterator entry(path, error);
  while (!error && entry != std::filesystem::directory_iterator()) {
    names.push_back(entry->path().filename().string());
    entry.increment(error);
  }
  if (error) return ErrorCodeStatus("list", path, error);
  std::sort(names.begin(), names.end());
  return names;
}

absl::Status MakeDirectories(const std::string& path) {
  std::error_code error;
  std::filesystem::create_directories(path, error);
  if (error) return ErrorCodeStatus("create directory", path, error);
  // create_directories accepts an existing file at the end of the path in silence.
  if (!std::filesystem::is_directory(path, error)) {
    return absl::AlreadyExistsError(absl::StrCat("create directory ", path, ": there is a file of this name"));
  }
  return absl::OkStatus();
}

absl::Status SyncDirectoryOf(const std::string& path) {
  std::string directory = std::filesystem::path(path).parent_path().string();
  if (directory.empty()) directory = ".";
  const int file = ::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (file < 0) return ErrnoStatus("open", directory);
  absl::Cleanup close = [file] { ::close(file); };
  // File systems that cannot sync a directory say EINVAL: there is nothing more to be done there.
  if (::fsync(file) != 0 && errno != EINVAL) return ErrnoStatus("sync", directory);
  return absl::OkStatus();
}

absl::Status ReplaceDirectory(const std::string& from, const std::string& to) {
  if (::renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), RENAME_EXCHANGE) == 0) {
    RETURN_IF_ERROR(SyncDirectoryOf(to));
    return RemoveTree(from);
  }
  // Network file systems cannot exchange: there is then a moment without either.
  if (errno != EINVAL && errno != ENOSYS) return ErrnoStatus("replace", to);
  RETURN_IF_ERROR(RemoveTree(to));
  if (::rename(from.c_str(), to.c_str()) != 0) return ErrnoStatus("rename to", to);
  return SyncDirectoryOf(to);
}

absl::Status RemoveTree(const std::string& path) {
  std::error_code error;
  std::filesystem::remove_all(path, error);
  if (error) return ErrorCodeStatus("remove", path, error);
  return absl::OkStatus();
}

}  // namespace headrace
