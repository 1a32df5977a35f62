// What peers agree on first.
#ifndef HEADRACE_COMMON_PROTOCOL_H_
#define HEADRACE_COMMON_PROTOCOL_H_

#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_format.h"
#include "proto/handshake.pb.h"

namespace headrace {

inline constexpr uint32_t kProtocolVersion = 2;

// How the names of checkpoints begin that a shard writes when it is told to end (docs/formats/replay.md).
inline constexpr char kEndOfALife[] = "end-";

inline v1::Peer MakePeer(const std::string& run_id, const std::string& name) {
  v1::Peer peer;
  peer.set_protocol_version(kProtocolVersion);
  peer.set_run_id(run_id);
  peer.set_name(name);
  return peer;
}

// FailedPrecondition: another protocol version, or another run. Who knows no run yet passes.
inline absl::Status CheckPeer(const v1::Peer& peer, const std::string& run_id) {
  if (peer.protocol_version() != kProtocolVersion) {
    return absl::FailedPreconditionError(
        absl::StrFormat("%s speaks protocol version %d, this process %d: both must be of one release", peer.name(),
                        peer.protocol_version(), kProtocolVersion));
  }
  if (!peer.run_id().empty() && !run_id.empty() && peer.run_id() != run_id) {
    return absl::FailedPreconditionError(
        absl::StrFormat("%s belongs to run %s, this process to run %s", peer.name(), peer.run_id(), run_id));
  }
  return absl::OkStatus();
}

}  // namespace headrace

#endif  // HEADRACE_COMMON_PROTOCOL_H_
