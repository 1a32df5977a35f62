// The configuration of a run: a text-format file of RunConfig, with fields overridden from the command line.
//
//   ASSIGN_OR_RETURN(v1::RunConfig config, LoadRunConfig("deploy/run/pendulum_sac.textproto", {"actor.processes=4"}));
//   RETURN_IF_ERROR(WriteFileAtomically(directory + "/config.textproto", ResolvedText(config)));
//
// A RunConfig from here is resolved: every field that has a default is set, so that what ran can be read off it. A
// field without a default (stop.score, sac.target_entropy) stays absent where nobody set it.
//
// Checked here is what the schema says: names, types, ranges and the rules of config_check.h. Whether the environment
// and the algorithm exist and fit is for those who know them.
//
// Thread-safe: all functions are pure, LoadRunConfig but for reading the file.
#ifndef HEADRACE_COMMON_CONFIG_H_
#define HEADRACE_COMMON_CONFIG_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/config_sources.h"
#include "proto/config.pb.h"

namespace headrace {

// `overrides` are path.to.field=value, applied in order: see config_override.h.
// INVALID_ARGUMENT names file, line and column, or the override, for whatever is wrong with the contents, ranges all at
// once; NOT_FOUND and the like when the file cannot be read. `sources`, where wanted, are for errors of later checks.
absl::StatusOr<v1::RunConfig> LoadRunConfig(const std::string& path, const std::vector<std::string>& overrides,
                                            ConfigSources* sources = nullptr);

// The same from text; `name` stands for the file in errors.
absl::StatusOr<v1::RunConfig> ParseRunConfig(const std::string& text, const std::string& name,
                                             const std::vector<std::string>& overrides,
                                             ConfigSources* sources = nullptr);

// Text format in the order of the field numbers, defaults written out. Parsing it gives an equal message.
std::string ResolvedText(const v1::RunConfig& config);

// FAILED_PRECONDITION lists every field that differs and does not carry the option `resume`, with both values.
absl::Status CheckResumable(const v1::RunConfig& stored, const v1::RunConfig& now);

}  // namespace headrace

#endif  // HEADRACE_COMMON_CONFIG_H_
