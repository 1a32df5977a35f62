// What the file of an environment hands to the list in registry.cc.
//
//   EnvironmentEntries Pendulum() { return {EntryOf<PendulumEnvironment>(PendulumFacts())}; }
//
// Thread-safe: an entry does not change, and `make` may be called on several threads at once.
#ifndef HEADRACE_ACTOR_ENV_ENTRY_H_
#define HEADRACE_ACTOR_ENV_ENTRY_H_

#include <cstddef>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "actor/env/environment.h"

namespace headrace {

struct EnvironmentEntry {
  EnvironmentFacts facts;
  std::function<absl::StatusOr<std::unique_ptr<Environment>>(const EnvironmentFacts&)> make;
};

using EnvironmentEntries = std::vector<EnvironmentEntry>;

// The entry of a class that is constructed from its facts and cannot fail to be.
template <typename T>
EnvironmentEntry EntryOf(EnvironmentFacts facts) {
  return {std::move(facts), [](const EnvironmentFacts& known) -> absl::StatusOr<std::unique_ptr<Environment>> {
            return std::make_unique<T>(known);
          }};
}

// For SetState: InvalidArgument unless the size is the expected one.
inline absl::Status CheckStateSize(const EnvironmentFacts& facts, size_t expected, size_t actual) {
  if (actual == expected) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("the state of ", facts.name, " is ", expected, " numbers, got ", actual));
}

}  // namespace headrace

#endif  // HEADRACE_ACTOR_ENV_ENTRY_H_
