// A CSV file of numbers that grows by a row at a time and survives crashes, restarts and new columns.
//
//   ASSIGN_OR_RETURN(std::unique_ptr<CsvFile> file, CsvFile::Open(directory + "/progress.csv", {"env_steps"}));
//   RETURN_IF_ERROR(file->TruncateAfter("env_steps", restored_steps));
//   RETURN_IF_ERROR(file->Append({{"env_steps", 1000}, {"losses/critic", 0.25}}));
//
// The first line names the columns, each further one is a row; a cell without a value is empty. Every row reaches the
// file in one write, so that a reader sees whole rows, but for the last one after a crash, which Open removes. A column
// that a row brings for the first time is added at the end of every line. Numbers read back as the same double.
//
// Not thread-safe. One process writes a file; others may read it at any time.
#ifndef HEADRACE_COMMON_CSV_FILE_H_
#define HEADRACE_COMMON_CSV_FILE_H_

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace headrace {

class CsvFile {
 public:
  // Creates the file, or goes on with one that exists, adding those of `columns` that it lacks. Lines that have another
  // number of cells than the header are left out: no run should end for the sake of its curve. PATH.damaged keeps them.
  static absl::StatusOr<std::unique_ptr<CsvFile>> Open(const std::string& path,
                                                       const std::vector<std::string>& columns);
  ~CsvFile();

  // INVALID_ARGUMENT: a column is named twice, or its name holds a comma, a quote or a line end.
  absl::Status Append(const std::vector<std::pair<std::string, double>>& row);

  // Removes the rows whose value in `column` is above `value`: what a run did after the checkpoint that it returned to.
  absl::Status TruncateAfter(const std::string& column, double value);

  // The highest number in a column; 0: it has none.
  absl::StatusOr<double> Highest(const std::string& column) const;

  const std::vector<std::string>& columns() const { return columns_; }

 private:
  explicit CsvFile(std::string path);

  absl::Status AddColumns(const std::vector<std::string>& columns);
  // Replaces the file by the header and these lines, and goes on at its end.
  absl::Status Rewrite(const std::vector<std::string>& lines);
  absl::StatusOr<std::vector<std::string>> ReadRows() const;
  absl::StatusOr<size_t> Find(const std::string& column) const;

  const std::string path_;
  std::vector<std::string> columns_;
  int file_ = -1;
};

}  // namespace headrace

#endif  // HEADRACE_COMMON_CSV_FILE_H_
