// Whole files and directories, with errors that name the path and say what the system said.
//
//   RETURN_IF_ERROR(MakeDirectories(run + "/checkpoints"));
//   RETURN_IF_ERROR(WriteFileAtomically(run + "/metadata.json", text));
//   ASSIGN_OR_RETURN(std::string text, ReadFile(run + "/metadata.json"));
//
// Statuses follow errno: NOT_FOUND for ENOENT, PERMISSION_DENIED for EACCES, RESOURCE_EXHAUSTED for ENOSPC and so on.
// Thread-safe; two writers of the same path leave the contents of one of them, never a mixture.
#ifndef HEADRACE_COMMON_FILE_H_
#define HEADRACE_COMMON_FILE_H_

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace headrace {

absl::StatusOr<std::string> ReadFile(const std::string& path);

// A file that is complete or not there: a reader sees the old contents or the new, also after a loss of power. What is
// appended goes to PATH.PID.N.tmp beside it; Commit syncs, renames and syncs the directory. Without Commit nothing is
// left; what a crash leaves is such a .tmp file, which nobody reads.
//
// One file belongs to one thread.
class AtomicFile {
 public:
  static absl::StatusOr<std::unique_ptr<AtomicFile>> Create(const std::string& path);
  ~AtomicFile();

  // Small pieces are collected.
  absl::Status Append(std::string_view contents);
  // The last call.
  absl::Status Commit();

 private:
  AtomicFile(std::string path, std::string temporary, int file)
      : path_(std::move(path)), temporary_(std::move(temporary)), file_(file) {}

  absl::Status Write(std::string_view contents);

  const std::string path_;
  const std::string temporary_;
  int file_;  // -1: closed
  bool committed_ = false;
  std::string buffer_;
};

// That this process alone may change what is in a directory, as long as the object lives: PATH is made if it is not
// there, and stays. The kernel lets go of it when the process ends, however it does. On a file system that knows no
// locks everybody has it.
class FileLock {
 public:
  // FailedPrecondition: another process has it.
  static absl::StatusOr<std::unique_ptr<FileLock>> Take(const std::string& path);
  ~FileLock();

 private:
  explicit FileLock(int file) : file_(file) {}

  const int file_;
};

// One with these contents.
absl::Status WriteFileAtomically(const std::string& path, std::string_view contents);

// Names of the entries, without "." and "..", sorted.
absl::StatusOr<std::vector<std::string>> ListDirectory(const std::string& path);

// Creates what is missing, parents first; a directory that exists is fine.
absl::Status MakeDirectories(const std::string& path);

// Removes a file, or a directory and all below it, without following links. A path that does not exist is fine.
absl::Status RemoveTree(const std::string& path);

// What was made, renamed or removed beside `path`, and `path` itself, is so after a loss of power.
absl::Status SyncDirectoryOf(const std::string& path);

// Puts the directory `from` in the place of `to`, which exists, in one step, and removes what was there.
absl::Status ReplaceDirectory(const std::string& from, const std::string& to);

// "VERB PATH: what errno says", for those who make system calls of their own. Call it before errno can change.
absl::Status ErrnoStatus(const std::string& verb, const std::string& path);

}  // namespace headrace

#endif  // HEADRACE_COMMON_FILE_H_
