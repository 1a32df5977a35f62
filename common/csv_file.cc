#include "common/csv_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cmath>
#include <cstdint>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "common/file.h"
#include "common/log.h"
#include "common/status_macros.h"

namespace headrace {
namespace {

// The shortest text that reads back as the same number, integers without an exponent.
std::string NumberText(double value) {
  constexpr double kExact = 9007199254740992;  // 2^53
  if (std::nearbyint(value) == value && std::abs(value) <= kExact) return absl::StrCat(static_cast<int64_t>(value));
  char text[32];
  const std::to_chars_result result = std::to_chars(text, text + sizeof(text), value);
  return std::string(text, result.ptr);
}

size_t CountCells(absl::string_view line) { return static_cast<size_t>(std::count(line.begin(), line.end(), ',')) + 1; }

absl::Status CheckColumnName(const std::string& name) {
  if (!name.empty() && name.find_first_of(",\"\r\n") == std::string::npos) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("\"", name, "\" cannot name a column of a CSV file"));
}

// Complete lines; what follows the last line end is what a crash left of a row.
std::vector<std::string> CompleteLines(const std::string& text) {
  std::vector<std::string> lines = absl::StrSplit(text, '\n');
  lines.pop_back();
  return lines;
}

}  // namespace

CsvFile::CsvFile(std::string path) : path_(std::move(path)) {}

CsvFile::~CsvFile() {
  if (file_ >= 0) ::close(file_);
}

absl::StatusOr<std::unique_ptr<CsvFile>> CsvFile::Open(const std::string& path,
                                                       const std::vector<std::string>& columns) {
  for (const std::string& column : columns) RETURN_IF_ERROR(CheckColumnName(column));
  std::unique_ptr<CsvFile> file(new CsvFile(path));
  absl::StatusOr<std::string> text = ReadFile(path);
  if (!text.ok() && text.status().code() != absl::StatusCode::kNotFound) return text.status();
  std::vector<std::string> lines = text.ok() ? CompleteLines(*text) : std::vector<std::string>();
  if (lines.empty()) {
    file->columns_ = columns;
    RETURN_IF_ERROR(file->Rewrite({}));
    return file;
  }

  file->columns_ = absl::StrSplit(lines.front(), ',');
  // A loss of power may leave a last line of which only the length was written.
  if (lines.size() > 1 && CountCells(lines.back()) != file->columns_.size()) lines.pop_back();
  lines.erase(lines.begin());
  const size_t damaged =
      std::erase_if(lines, [&](const std::string& line) { return CountCells(line) != file->columns_.size(); });
  if (damaged > 0) {
    RETURN_IF_ERROR(WriteFileAtomically(path + ".damaged", *text));
    LogError("%s: %d lines that have not %d cells as the header has are left out; %s.damaged is what it was", path,
             damaged, file->columns_.size(), path);
  }
  RETURN_IF_ERROR(file->Rewrite(lines));
  RETURN_IF_ERROR(file->AddColumns(columns));
  return file;
}

absl::Status CsvFile::Append(const std::vector<std::pair<std::string, double>>& row) {
  std::vector<std::string> names;
  for (const auto& [name, value] : row) {
    RETURN_IF_ERROR(CheckColumnName(name));
    if (std::find(names.begin(), names.end(), name) != names.end()) {
      return absl::InvalidArgumentError(absl::StrCat("a row of ", path_, " has two values for ", name));
    }
    names.push_back(name);
  }
  RETURN_IF_ERROR(AddColumns(names));

  std::vector<std::string> cells(columns_.size());
  for (const auto& [name, value] : row) {
    cells[std::find(columns_.begin(), columns_.end(), name) - columns_.begin()] = NumberText(value);
  }
  const std::string line = absl::StrCat(absl::StrJoin(cells, ","), "\n");
  const off_t end = ::lseek(file_, 0, SEEK_END);
  const ssize_t written = ::write(file_, line.data(), line.size());
  if (written == static_cast<ssize_t>(line.size())) return absl::OkStatus();
  const absl::Status status =
      written < 0 ? ErrnoStatus("append to", path_)
                  : absl::ResourceExhaustedError(absl::StrCat("append to ", path_, ": only part of a row fitted"));
  // Half a row would be joined by the next one.
  if (written > 0 && ::ftruncate(file_, end) != 0) return ErrnoStatus("truncate", path_);
  return status;
}

absl::Status CsvFile::TruncateAfter(const std::string& column, double value) {
  ASSIGN_OR_RETURN(const size_t found, Find(column));
  ASSIGN_OR_RETURN(const std::vector<std::string> rows, ReadRows());
  std::vector<std::string> kept;
  for (const std::string& row : rows) {
    const std::vector<absl::string_view> cells = absl::StrSplit(row, ',');
    double cell = 0;
    const bool is_number = absl::SimpleAtod(cells[found], &cell);
    if (!is_number || !(cell > value)) kept.push_back(row);
  }
  return kept.size() == rows.size() ? absl::OkStatus() : Rewrite(kept);
}

absl::StatusOr<double> CsvFile::Highest(const std::string& column) const {
  ASSIGN_OR_RETURN(const size_t found, Find(column));
  ASSIGN_OR_RETURN(const std::vector<std::string> rows, ReadRows());
  double highest = 0;
  for (const std::string& row : rows) {
    const std::vector<absl::string_view> cells = absl::StrSplit(row, ',');
    double cell = 0;
    if (absl::SimpleAtod(cells[found], &cell)) highest = std::max(highest, cell);
  }
  return highest;
}

absl::StatusOr<size_t> CsvFile::Find(const std::string& column) const {
  const auto found = std::find(columns_.begin(), columns_.end(), column);
  if (found == columns_.end()) return absl::InvalidArgumentError(absl::StrCat(path_, " has no column ", column));
  return static_cast<size_t>(found - columns_.begin());
}

absl::Status CsvFile::AddColumns(const std::vector<std::string>& columns) {
  const size_t before = columns_.size();
  for (const std::string& column : columns) {
    if (std::find(columns_.begin(), columns_.end(), column) == columns_.end()) columns_.push_back(column);
  }
  if (columns_.size() == before) return absl::OkStatus();
  absl::StatusOr<std::vector<std::string>> rows = ReadRows();
  absl::Status status = rows.status();
  if (status.ok()) {
    for (std::string& row : *rows) row.append(columns_.size() - before, ',');
    status = Rewrite(*rows);
  }
  if (!status.ok()) columns_.resize(before);
  return status;
}

absl::Status CsvFile::Rewrite(const std::vector<std::string>& lines) {
  std::string text = absl::StrCat(absl::StrJoin(columns_, ","), "\n");
  for (const std::string& line : lines) absl::StrAppend(&text, line, "\n");
  RETURN_IF_ERROR(WriteFileAtomically(path_, text));
  if (file_ >= 0) ::close(file_);
  file_ = ::open(path_.c_str(), O_WRONLY | O_APPEND | O_CLOEXEC);
  return file_ >= 0 ? absl::OkStatus() : ErrnoStatus("open", path_);
}

absl::StatusOr<std::vector<std::string>> CsvFile::ReadRows() const {
  ASSIGN_OR_RETURN(const std::string text, ReadFile(path_));
  std::vector<std::string> lines = CompleteLines(text);
  if (!lines.empty()) lines.erase(lines.begin());
  return lines;
}

}  // namespace headrace
