// Whom this process has turned away at its ports, those of metrics and health among them, counted:
// headrace_grpc_refusals_total{reason}. Most of them before a service was asked, so these stand beside a service's own
// counts.
//
// Thread-safe.
#ifndef HEADRACE_COMMON_REFUSALS_H_
#define HEADRACE_COMMON_REFUSALS_H_

#include <cstdint>

#include "absl/strings/string_view.h"
#include "common/metrics.h"

namespace headrace {

enum class Refusal {
  kHandshake,   // no certificate, one that is not accepted, no TLS at all, or another protocol
  kToken,       // a call without a token that is accepted
  kConnection,  // more connections than may be open
  kSilence,     // a connection whose first bytes, a stream whose first message, or a question for metrics whose end did
                // not come in time
  kUnread,      // a stream whose client does not take what is sent to it
  kSize,        // a stream with a message that is too large or finds no room, headers that are too large
};

// While an object of this class is there, what is counted goes to the registry. One at a time.
class RefusalCounters {
 public:
  explicit RefusalCounters(MetricRegistry& registry);
  ~RefusalCounters();
};

// `peer`: who it was, for the log, to which some lines a second of it go; empty: nobody knows.
void CountRefusal(Refusal refusal, absl::string_view peer = "");

// Calls that were refused for their token, since the process began. No interceptor or service hears of them.
int64_t CallsWithoutToken();

// From now on gRPC's own log goes to ours, no more than some lines a second of it, and whom gRPC itself turns away is
// counted: failed handshakes and what is too large.
void TakeOverGrpcLog();

}  // namespace headrace

#endif  // HEADRACE_COMMON_REFUSALS_H_
