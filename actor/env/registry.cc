#include "actor/env/registry.h"

#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "actor/env/entry.h"
#include "common/nearest.h"
#include "common/status_macros.h"

// The list. Each line is a function EnvironmentEntries NAME(), which the file of that environment (or family) defines.
#define HEADRACE_ENVIRONMENTS(ENVIRONMENT) \
  ENVIRONMENT(Pendulum)                    \
  ENVIRONMENT(CartPole)                    \
  ENVIRONMENT(Acrobot)                     \
  ENVIRONMENT(MountainCar)                 \
  ENVIRONMENT(MountainCarContinuous)       \
  ENVIRONMENT(Catch)                       \
  ENVIRONMENT(MemoryChain)                 \
  ENVIRONMENT(LaserNav)                    \
  ENVIRONMENT(MinAtarAsterix)              \
  ENVIRONMENT(MinAtarBreakout)             \
  ENVIRONMENT(MinAtarFreeway)              \
  ENVIRONMENT(MinAtarSeaquest)             \
  ENVIRONMENT(MinAtarSpaceInvaders)        \
  ENVIRONMENT(Mujoco)

namespace headrace {

#define HEADRACE_DECLARE(function) EnvironmentEntries function();
#define HEADRACE_ADDRESS(function) &function,

HEADRACE_ENVIRONMENTS(HEADRACE_DECLARE)

namespace {

constexpr EnvironmentEntries (*kFunctions[])() = {HEADRACE_ENVIRONMENTS(HEADRACE_ADDRESS)};

const EnvironmentEntries& Entries() {
  static const EnvironmentEntries* const entries = [] {
    auto* list = new EnvironmentEntries;
    for (const auto function : kFunctions) {
      for (EnvironmentEntry& entry : function()) list->push_back(std::move(entry));
    }
    return list;
  }();
  return *entries;
}

absl::StatusOr<const EnvironmentEntry*> FindEntry(std::string_view name) {
  std::vector<std::string> names;
  for (const EnvironmentEntry& entry : Entries()) {
    if (entry.facts.name == name) return &entry;
    names.push_back(entry.facts.name);
  }
  return absl::InvalidArgumentError(absl::StrCat("environment.name: there is no environment \"",
                                                 absl::Utf8SafeCHexEscape({name.data(), name.size()}), "\"",
                                                 Suggestion(name, names)));
}

}  // namespace

const std::vector<EnvironmentFacts>& AllEnvironments() {
  static const std::vector<EnvironmentFacts>* const all = [] {
    auto* facts = new std::vector<EnvironmentFacts>;
    for (const EnvironmentEntry& entry : Entries()) facts->push_back(entry.facts);
    return facts;
  }();
  return *all;
}

absl::StatusOr<EnvironmentFacts> FindEnvironment(std::string_view name) {
  ASSIGN_OR_RETURN(const EnvironmentEntry* entry, FindEntry(name));
  return entry->facts;
}

absl::StatusOr<std::unique_ptr<Environment>> MakeEnvironment(std::string_view name) {
  ASSIGN_OR_RETURN(const EnvironmentEntry* entry, FindEntry(name));
  return entry->make(entry->facts);
}

}  // namespace headrace
