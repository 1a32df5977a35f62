// The directory of a run, as the learner keeps it:
//
//   config.textproto   what ran, defaults written out
//   metadata.json      each start: command line, version, machine
//   progress.csv       a row each log interval
//   evaluations.csv    a row each evaluation
//   checkpoints/  logs/  tb/
//
//   ASSIGN_OR_RETURN(std::unique_ptr<RunDirectory> run, RunDirectory::Open(path, config, command_line, *RealClock()));
//   if (restored) RETURN_IF_ERROR(run->ForgetAfter(counters.env_steps(), counters.updates()));
//   RETURN_IF_ERROR(run->AppendProgress({.env_steps = 1000, .wall_seconds = 2, .updates = 10}, {{"charts/SPS", 500}}));
//
// Not thread-safe. One process at a time may open a directory.
#ifndef HEADRACE_COMMON_RUN_DIRECTORY_H_
#define HEADRACE_COMMON_RUN_DIRECTORY_H_

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/clock.h"
#include "common/csv_file.h"
#include "proto/config.pb.h"

namespace headrace {

// Where a run is: the first columns of both CSV files.
struct RunPosition {
  uint64_t env_steps = 0;
  double wall_seconds = 0;  // of all starts together
  uint64_t updates = 0;
};

struct EvaluationRow {
  double mean_return = 0;
  double std_return = 0;
  double mean_length = 0;
  uint64_t episodes = 0;
};

class RunDirectory {
 public:
  // Creates the directory, or opens that of an earlier start. FAILED_PRECONDITION: the configuration differs from the
  // stored one in more than a resume allows (CheckResumable); nothing is then changed. Also what reading and writing
  // the files returns.
  static absl::StatusOr<std::unique_ptr<RunDirectory>> Open(const std::string& path, const v1::RunConfig& config,
                                                            const std::vector<std::string>& command_line,
                                                            const Clock& clock);

  std::string checkpoints() const { return path_ + "/checkpoints"; }
  std::string logs() const { return path_ + "/logs"; }
  std::string tensorboard() const { return path_ + "/tb"; }

  // Keeps in the metadata, for all later starts, which run or checkpoint the networks began with.
  absl::Status NoteInitialisation(const std::string& source) const;

  // New names in `scalars` become new columns.
  absl::Status AppendProgress(const RunPosition& position, const std::vector<std::pair<std::string, double>>& scalars);
  absl::Status AppendEvaluation(const RunPosition& position, const EvaluationRow& row);

  // Drops the rows of both files that lie beyond the restored checkpoint, so that the curves have no fold. Returns the
  // wall time of the newest row there was: it was spent, also on what is forgotten.
  absl::StatusOr<double> ForgetAfter(uint64_t env_steps, uint64_t updates);

 private:
  explicit RunDirectory(std::string path) : path_(std::move(path)) {}

  std::string metadata() const { return path_ + "/metadata.json"; }

  const std::string path_;
  std::unique_ptr<CsvFile> progress_;
  std::unique_ptr<CsvFile> evaluations_;
};

}  // namespace headrace

#endif  // HEADRACE_COMMON_RUN_DIRECTORY_H_
