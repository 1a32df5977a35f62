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

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace headrace {

absl::StatusOr<std::string> ReadFile(const std::string& path);

// A reader sees the old contents or the new, also after a loss of power: writes PATH.PID.N.tmp beside it, syncs,
// renames and syncs the directory. What a crash leaves is such a .tmp file, which nobody reads.
absl::Status WriteFileAtomically(const std::string& path, std::string_view contents);

// Names of the entries, without "." and "..", sorted.
absl::StatusOr<std::vector<std::string>> ListDirectory(const std::string& path);

// Creates what is missing, parents first; a directory that exists is fine.
absl::Status MakeDirectories(const std::string& path);

// Removes a file, or a directory and all below it, without following links. A path that does not exist is fine.
absl::Status RemoveTree(const std::string& path);

// "VERB PATH: what errno says", for those who make system calls of their own. Call it before errno can change.
absl::Status ErrnoStatus(const std::string& verb, const std::string& path);

}  // namespace headrace

#endif  // HEADRACE_COMMON_FILE_H_
