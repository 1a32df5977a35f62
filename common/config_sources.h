// Where the values of a configuration come from, for errors about them.
//
//   ConfigSources sources;
//   ASSIGN_OR_RETURN(const v1::RunConfig config, LoadRunConfig("run.textproto", overrides, &sources));
//   Print(sources.Locate(ParseDevice(config.device()).status()));  // "run.textproto:4:1: device: expected ..."
//
// Whoever checks a value only has to begin the error with the path of its field.
//
// Thread-safe once a configuration is loaded.
#ifndef HEADRACE_COMMON_CONFIG_SOURCES_H_
#define HEADRACE_COMMON_CONFIG_SOURCES_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/config_text.h"
#include "proto/config.pb.h"

namespace headrace {

class ConfigSources {
 public:
  // The last override of the field or of a group around it, "--set FIELD=VALUE"; or its place, "FILE:LINE:COLUMN"; or
  // the file as a whole, "FILE (default)" for a field that has a default.
  std::string Of(const std::string& path) const;

  // An error that begins with the path of a field, "sac.tau: ...", gets its source in front; others pass unchanged.
  absl::Status Locate(const absl::Status& status) const;

 private:
  friend absl::StatusOr<v1::RunConfig> ParseRunConfig(const std::string& text, const std::string& name,
                                                      const std::vector<std::string>& overrides,
                                                      ConfigSources* sources);

  std::string name_;
  TextLocations locations_;
  std::vector<std::string> overrides_;
};

}  // namespace headrace

#endif  // HEADRACE_COMMON_CONFIG_SOURCES_H_
