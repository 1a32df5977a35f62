// The list of environments: one line each in registry.cc.
#ifndef HEADRACE_ACTOR_ENV_REGISTRY_H_
#define HEADRACE_ACTOR_ENV_REGISTRY_H_

#include <memory>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "actor/env/environment.h"

namespace headrace {

// Facts of every environment, in the order of the list.
const std::vector<EnvironmentFacts>& AllEnvironments();

// InvalidArgument, as "environment.name: ..." with the nearest names: there is no such environment. Internal: it could
// not be built.
absl::StatusOr<EnvironmentFacts> FindEnvironment(std::string_view name);
absl::StatusOr<std::unique_ptr<Environment>> MakeEnvironment(std::string_view name);

}  // namespace headrace

#endif  // HEADRACE_ACTOR_ENV_REGISTRY_H_
