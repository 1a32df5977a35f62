#include "common/shard_addresses.h"

#include <netdb.h>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "common/log.h"

namespace headrace {
namespace {

constexpr char kNumber[] = "{}";
constexpr uint32_t kNobody = 4294967295;  // a number that no shard has

std::string HostOf(const std::string& address) { return address.substr(0, address.rfind(':')); }

}  // namespace

bool HasAddress(const std::string& host) {
  addrinfo* found = nullptr;
  if (::getaddrinfo(host.c_str(), nullptr, nullptr, &found) != 0) return false;
  ::freeaddrinfo(found);
  return true;
}

absl::StatusOr<std::vector<std::string>> ShardAddresses(
    const std::vector<std::string>& given, uint32_t shards,
    const std::function<bool(const std::string& host)>& has_address) {
  if (shards == 0) return std::vector<std::string>();  // of whatever there is, such a run needs none
  if (given.size() != 1 || !absl::StrContains(given[0], kNumber)) {
    if (given.size() == shards) return given;
    return absl::InvalidArgumentError(
        absl::StrFormat("expected %d addresses in --replay (replay.shards), or one with {} for the number of the "
                        "shard, got %d",
                        shards, given.size()));
  }
  const auto address = [&](uint32_t shard) { return absl::StrReplaceAll(given[0], {{kNumber, absl::StrCat(shard)}}); };
  std::vector<std::string> addresses;
  for (uint32_t shard = 0; shard < shards; ++shard) {
    addresses.push_back(address(shard));
    // It may be on its way.
    if (!has_address(HostOf(addresses.back()))) {
      LogWarning("%s has no address yet: expected %d replay shards (replay.shards)", HostOf(addresses.back()), shards);
    }
  }
  // Where any name at all has an address, as with a wildcard in DNS, this does not tell.
  if (const std::string next = HostOf(address(shards)); has_address(next) && !has_address(HostOf(address(kNobody)))) {
    return absl::FailedPreconditionError(
        absl::StrFormat("expected %d replay shards (replay.shards), but %s has an address too", shards, next));
  }
  return addresses;
}

}  // namespace headrace
