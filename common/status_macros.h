// Early return on absl::Status.
//
//   RETURN_IF_ERROR(file.Close());
//   ASSIGN_OR_RETURN(RunConfig config, LoadRunConfig(path, overrides));
#ifndef HEADRACE_COMMON_STATUS_MACROS_H_
#define HEADRACE_COMMON_STATUS_MACROS_H_

#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#define HEADRACE_CONCAT_INNER(a, b) a##b
#define HEADRACE_CONCAT(a, b) HEADRACE_CONCAT_INNER(a, b)

#define RETURN_IF_ERROR(expression)                                         \
  do {                                                                      \
    if (absl::Status status_ = (expression); !status_.ok()) return status_; \
  } while (false)

#define ASSIGN_OR_RETURN(declaration, expression) \
  HEADRACE_ASSIGN_OR_RETURN(HEADRACE_CONCAT(status_or_, __LINE__), declaration, expression)

#define HEADRACE_ASSIGN_OR_RETURN(result, declaration, expression) \
  auto result = (expression);                                      \
  if (!result.ok()) return std::move(result).status();             \
  declaration = *std::move(result)

#endif  // HEADRACE_COMMON_STATUS_MACROS_H_
