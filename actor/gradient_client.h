// Pushes gradients to the learner and receives weights (proto/gradient.proto). A gradient that was on its way when a
// stream was lost is sent again on the next one, and applied once.
//
// Belongs to one thread, but for reconnects.
#ifndef HEADRACE_ACTOR_GRADIENT_CLIENT_H_
#define HEADRACE_ACTOR_GRADIENT_CLIENT_H_

#include <cstdint>
#include <functional>
#include <string>

#include "absl/status/statusor.h"
#include "actor/request_stream.h"
#include "prometheus/counter.h"
#include "proto/gradient.pb.h"

namespace headrace {

class GradientClient {
 public:
  // `open`: who pushes. `should_stop` is asked in every wait.
  GradientClient(const std::string& address, const v1::PushOpen& open, std::function<bool()> should_stop);

  // The first weights. Cancelled: the actor is to stop. Otherwise what the learner refuses this process with.
  absl::StatusOr<v1::PushResponse> WaitForWeights();
  // Numbers the gradient, sends it, and waits for its answer; `waiting_seconds` grows while it does. The same errors.
  absl::StatusOr<v1::PushResponse> Push(v1::PushRequest& request, prometheus::Counter* waiting_seconds);

  uint64_t reconnects() const { return requests_.reconnects(); }

 private:
  RequestStream<v1::PushResponse> requests_;
};

}  // namespace headrace

#endif  // HEADRACE_ACTOR_GRADIENT_CLIENT_H_
