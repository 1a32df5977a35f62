// Reads a safetensors file and writes it anew, for safetensors_test.py: safetensors_test_copy FROM TO.
#include <iostream>

#include "common/file.h"
#include "common/safetensors.h"
#include "common/status_macros.h"

namespace {

absl::Status Copy(const std::string& from, const std::string& to) {
  ASSIGN_OR_RETURN(const std::string file, headrace::ReadFile(from));
  ASSIGN_OR_RETURN(const headrace::SafetensorsContents contents, headrace::ReadSafetensors(file));
  ASSIGN_OR_RETURN(const std::string copy, headrace::WriteSafetensors(contents.tensors, contents.metadata));
  return headrace::WriteFileAtomically(to, copy);
}

}  // namespace

int main(int argc, char** argv) {
  const absl::Status status = Copy(argv[1], argv[2]);
  if (!status.ok()) std::cerr << status << std::endl;
  return status.ok() ? 0 : 1;
}
