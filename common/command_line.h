// Command lines, by Abseil's flags but with mistakes as statuses: a process must choose its exit code itself.
//
//   ABSL_FLAG(int, shard, 0, "number of this shard");
//   ASSIGN_OR_RETURN(CommandLine line, ReadCommandLine({argv + 1, argv + argc}));
//   if (line.help) std::cout << HelpText("replay: one shard of the replay service");
//
// --flag=value and --flag value mean the same; --flag and --noflag suffice for booleans. --set may be given several
// times. Not thread-safe.
#ifndef HEADRACE_COMMON_COMMAND_LINE_H_
#define HEADRACE_COMMON_COMMAND_LINE_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace headrace {

struct CommandLine {
  bool help = false;
  std::vector<std::string> overrides;  // the values of all --set, in order
};

// Sets the flags. InvalidArgument: no such flag (the nearest one is named), a value that it does not take, or words
// that are no flags.
absl::StatusOr<CommandLine> ReadCommandLine(const std::vector<std::string>& arguments);

// `usage`, and every flag of the program with its meaning and default.
std::string HelpText(const std::string& usage);

}  // namespace headrace

#endif  // HEADRACE_COMMON_COMMAND_LINE_H_
