#include "common/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <filesystem>
#include <system_error>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"

namespace headrace {
namespace {

absl::Status ErrorCodeStatus(const std::string& verb, const std::string& path, const std::error_code& error) {
  return absl::ErrnoToStatus(error.value(), absl::StrCat(verb, " ", path));
}

absl::Status WriteAll(int file, std::string_view contents, const std::string& path) {
  while (!contents.empty()) {
    const ssize_t written = ::write(file, contents.data(), contents.size());
    if (written < 0) {
      if (errno == EINTR) continue;
      return ErrnoStatus("write", path);
    }
    contents.remove_prefix(static_cast<size_t>(written));
  }
  return absl::OkStatus();
}

absl::Status WriteAndSync(const std::string& path, std::string_view contents) {
  const int file = ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
  if (file < 0) return ErrnoStatus("create", path);
  absl::Status status = WriteAll(file, contents, path);
  if (status.ok() && ::fsync(file) != 0) status = ErrnoStatus("sync", path);
  // A network file system reports a full disk as late as here.
  if (::close(file) != 0 && status.ok()) status = ErrnoStatus("close", path);
  return status;
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

absl::Status WriteFileAtomically(const std::string& path, std::string_view contents) {
  static std::atomic<uint64_t> count = 0;
  const std::string temporary = absl::StrCat(path, ".", ::getpid(), ".", count.fetch_add(1), ".tmp");
  // Left by a process of the same number that crashed.
  ::unlink(temporary.c_str());
  absl::Status status = WriteAndSync(temporary, contents);
  if (status.ok() && ::rename(temporary.c_str(), path.c_str()) != 0) status = ErrnoStatus("rename to", path);
  if (!status.ok()) {
    ::unlink(temporary.c_str());
    return status;
  }
  return SyncDirectoryOf(path);
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

absl::Status RemoveTree(const std::string& path) {
  std::error_code error;
  std::filesystem::remove_all(path, error);
  if (error) return ErrorCodeStatus("remove", path, error);
  return absl::OkStatus();
}

}  // namespace headrace
