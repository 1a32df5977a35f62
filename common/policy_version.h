// Versions of a policy (PolicyVersion in proto/parameter.proto), packed into the 64 bits that travel with each step.
//
//   const uint64_t version = PackPolicyVersion(/*incarnation=*/2, /*update=*/1500);
//   if (const std::optional<uint64_t> lag = PolicyLag(version, row_version)) histogram.Observe(*lag);
//
// Packed versions compare as integers: a newer incarnation of the learner is newer than every update of an older one.
// 0 is the version of no policy at all: steps with random actions carry it.
#ifndef HEADRACE_COMMON_POLICY_VERSION_H_
#define HEADRACE_COMMON_POLICY_VERSION_H_

#include <cstdint>
#include <optional>
#include <string>

#include "absl/strings/str_cat.h"
#include "common/check.h"

namespace headrace {

inline constexpr int kPolicyUpdateBits = 48;

constexpr uint64_t PackPolicyVersion(uint32_t incarnation, uint64_t update) {
  HEADRACE_CHECK(incarnation < 1u << (64 - kPolicyUpdateBits) && update < uint64_t{1} << kPolicyUpdateBits);
  return uint64_t{incarnation} << kPolicyUpdateBits | update;
}

constexpr uint32_t PolicyIncarnation(uint64_t version) { return static_cast<uint32_t>(version >> kPolicyUpdateBits); }
constexpr uint64_t PolicyUpdate(uint64_t version) { return version & ((uint64_t{1} << kPolicyUpdateBits) - 1); }

// Updates by which `version` is behind `current`; nullopt: not known. A resumed learner goes on counting where its
// checkpoint was, so that updates of earlier incarnations count, too, but for those that the crash has taken back.
constexpr std::optional<uint64_t> PolicyLag(uint64_t current, uint64_t version) {
  if (version == 0 || version > current || PolicyUpdate(version) > PolicyUpdate(current)) return std::nullopt;
  return PolicyUpdate(current) - PolicyUpdate(version);
}

// "2:1500", for logs and error messages.
inline std::string PolicyVersionName(uint64_t version) {
  return absl::StrCat(PolicyIncarnation(version), ":", PolicyUpdate(version));
}

}  // namespace headrace

#endif  // HEADRACE_COMMON_POLICY_VERSION_H_
