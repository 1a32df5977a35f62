#include "common/run_directory.h"

#include <algorithm>
#include <ctime>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "common/config.h"
#include "common/file.h"
#include "common/log.h"
#include "common/machine.h"
#include "common/status_macros.h"
#include "common/version.h"

namespace headrace {
namespace {

using Json = nlohmann::ordered_json;

constexpr char kInitialisedFrom[] = "initialised_from";

// ISO 8601 in UTC, to the second.
std::string TimeText(std::chrono::system_clock::time_point time) {
  const std::time_t seconds = std::chrono::system_clock::to_time_t(time);
  std::tm fields;
  ::gmtime_r(&seconds, &fields);
  char text[32];
  std::strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &fields);
  return text;
}

// What earlier starts have written; an empty object of a file that somebody has damaged, for want of which no run must
// end.
absl::StatusOr<Json> StoredMetadata(const std::string& path) {
  const absl::StatusOr<std::string> text = ReadFile(path);
  if (text.status().code() == absl::StatusCode::kNotFound) return Json::object();
  RETURN_IF_ERROR(text.status());
  Json stored = Json::parse(*text, nullptr, /*allow_exceptions=*/false);
  if (stored.is_object()) return stored;
  LogWarning("%s does not tell of earlier starts, and is written anew", path);
  return Json::object();
}

absl::Status StoreMetadata(const std::string& path, const Json& metadata) {
  // Command lines may hold any bytes; JSON may not.
  return WriteFileAtomically(path, metadata.dump(2, ' ', false, Json::error_handler_t::replace) + "\n");
}

// The latest start, and the earlier ones as they were; what the networks were initialised from holds for all of them.
absl::Status AddStart(const std::string& path, const v1::RunConfig& config,
                      const std::vector<std::string>& command_line, const Clock& clock) {
  ASSIGN_OR_RETURN(Json stored, StoredMetadata(path));
  const Machine machine = ThisMachine();
  Json metadata = {
      {"command_line", command_line},
      {"version", kVersion},
      {"revision", Revision()},
      {"seed", config.seed()},
      {"machine",
       {{"hostname", machine.hostname},
        {"cpu", machine.cpu},
        {"cores", machine.cores},
        {"memory_bytes", machine.memory_bytes}}},
      {"started", TimeText(clock.WallNow())},
  };
  if (stored.contains(kInitialisedFrom)) metadata[kInitialisedFrom] = stored[kInitialisedFrom];
  Json earlier = stored.value("earlier_starts", Json());
  if (!earlier.is_array()) earlier = Json::array();
  stored.erase("earlier_starts");
  stored.erase(kInitialisedFrom);
  if (!stored.empty()) earlier.push_back(std::move(stored));
  metadata["earlier_starts"] = std::move(earlier);
  return StoreMetadata(path, metadata);
}

std::vector<std::pair<std::string, double>> PositionCells(const RunPosition& position) {
  return {{"env_steps", static_cast<double>(position.env_steps)},
          {"wall_seconds", position.wall_seconds},
          {"updates", static_cast<double>(position.updates)}};
}

}  // namespace

absl::StatusOr<std::unique_ptr<RunDirectory>> RunDirectory::Open(const std::string& path, const v1::RunConfig& config,
                                                                 const std::vector<std::string>& command_line,
                                                                 const Clock& clock) {
  const std::string config_path = path + "/config.textproto";
  const absl::StatusOr<v1::RunConfig> stored = LoadRunConfig(config_path, {});
  if (stored.ok()) {
    RETURN_IF_ERROR(CheckResumable(*stored, config));
  } else if (stored.status().code() != absl::StatusCode::kNotFound) {
    return stored.status();
  }

  std::unique_ptr<RunDirectory> run(new RunDirectory(path));
  for (const std::string& directory : {run->checkpoints(), run->logs(), run->tensorboard()}) {
    RETURN_IF_ERROR(MakeDirectories(directory));
  }
  RETURN_IF_ERROR(AddStart(run->metadata(), config, command_line, clock));
  ASSIGN_OR_RETURN(run->progress_, CsvFile::Open(path + "/progress.csv", {"env_steps", "wall_seconds", "updates"}));
  ASSIGN_OR_RETURN(run->evaluations_,
                   CsvFile::Open(path + "/evaluations.csv", {"env_steps", "wall_seconds", "updates", "mean_return",
                                                             "std_return", "mean_length", "episodes"}));
  // Last: a directory is a run once it has a configuration.
  RETURN_IF_ERROR(WriteFileAtomically(config_path, ResolvedText(config)));
  return run;
}

absl::Status RunDirectory::NoteInitialisation(const std::string& source) const {
  ASSIGN_OR_RETURN(Json stored, StoredMetadata(metadata()));
  stored[kInitialisedFrom] = source;
  return StoreMetadata(metadata(), stored);
}

absl::Status RunDirectory::AppendProgress(const RunPosition& position,
                                          const std::vector<std::pair<std::string, double>>& scalars) {
  std::vector<std::pair<std::string, double>> row = PositionCells(position);
  row.insert(row.end(), scalars.begin(), scalars.end());
  return progress_->Append(row);
}

absl::Status RunDirectory::AppendEvaluation(const RunPosition& position, const EvaluationRow& row) {
  std::vector<std::pair<std::string, double>> cells = PositionCells(position);
  cells.push_back({"mean_return", row.mean_return});
  cells.push_back({"std_return", row.std_return});
  cells.push_back({"mean_length", row.mean_length});
  cells.push_back({"episodes", static_cast<double>(row.episodes)});
  return evaluations_->Append(cells);
}

absl::StatusOr<double> RunDirectory::ForgetAfter(uint64_t env_steps, uint64_t updates) {
  double wall_seconds = 0;
  for (CsvFile* const file : {progress_.get(), evaluations_.get()}) {
    ASSIGN_OR_RETURN(const double newest, file->Highest("wall_seconds"));
    wall_seconds = std::max(wall_seconds, newest);
    RETURN_IF_ERROR(file->TruncateAfter("env_steps", static_cast<double>(env_steps)));
    // The last updates may come when all steps are done.
    RETURN_IF_ERROR(file->TruncateAfter("updates", static_cast<double>(updates)));
  }
  return wall_seconds;
}

}  // namespace headrace
