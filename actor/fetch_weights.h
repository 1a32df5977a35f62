// One version of the weights, for evaluators.
#ifndef HEADRACE_ACTOR_FETCH_WEIGHTS_H_
#define HEADRACE_ACTOR_FETCH_WEIGHTS_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "actor/weights_assembler.h"
#include "common/mutex.h"
#include "proto/handshake.pb.h"

namespace headrace {

// Asks the learner at `address` for exactly `version`, which it holds (RunOrder.evaluate). One attempt, on a connection
// of its own. NotFound: it is held no longer; Unavailable: the learner is away; FailedPrecondition: another run or
// protocol; DataLoss: what arrived does not add up; DeadlineExceeded.
absl::StatusOr<std::shared_ptr<const Weights>> FetchWeights(const std::string& address, const v1::Peer& peer,
                                                            uint64_t version,
                                                            ConditionVariable::Clock::time_point deadline);

}  // namespace headrace

#endif  // HEADRACE_ACTOR_FETCH_WEIGHTS_H_
