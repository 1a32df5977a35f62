// The CSV file of an earlier run: with whatever is in it, it goes on as a whole one, unless its columns cannot be.
#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/str_split.h"
#include "common/check.h"
#include "common/csv_file.h"
#include "common/file.h"
#include "common/fuzz_files.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace headrace;
  const std::string path = FuzzDirectory() + "/progress.csv";
  WriteFuzzFile(path, {reinterpret_cast<const char*>(data), size});
  const absl::StatusOr<std::unique_ptr<CsvFile>> file = CsvFile::Open(path, {"env_steps"});
  if (!file.ok()) return 0;
  HEADRACE_CHECK((*file)->TruncateAfter("env_steps", 1000).ok());
  HEADRACE_CHECK((*file)->Append({{"env_steps", 2000}, {"loss", 0.5}}).ok());
  const std::vector<std::string> lines = absl::StrSplit(*ReadFile(path), '\n');
  HEADRACE_CHECK(lines.size() >= 3 && lines.back().empty());
  for (size_t i = 0; i + 1 < lines.size(); ++i) {
    HEADRACE_CHECK(std::count(lines[i].begin(), lines[i].end(), ',') + 1 ==
                   static_cast<ptrdiff_t>((*file)->columns().size()));
  }
  return 0;
}
