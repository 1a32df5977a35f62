// An actor that learns by itself: acts with the newest weights it has, makes an Update of what each round brought, and
// hands the gradients to the learner, which steps the parameters and answers with newer weights. Mnih et al.,
// "Asynchronous Methods for Deep Reinforcement Learning", arXiv:1602.01783.
//
// The acting loop sees both ends of it: what chooses actions, and what takes rows.
//
// Not thread-safe, but for what gRPC's threads do in the connection.
#ifndef HEADRACE_ACTOR_ACTOR_LEARNER_H_
#define HEADRACE_ACTOR_ACTOR_LEARNER_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "actor/action_source.h"
#include "actor/actor_metrics.h"
#include "actor/gradient_client.h"
#include "algorithm/algorithm.h"
#include "algorithm/batch_slots.h"
#include "algorithm/gradient_sink.h"
#include "common/random.h"
#include "proto/gradient.pb.h"
#include "replay/row_writer.h"

namespace headrace {

class ActorLearner final : public ActionSource, public RowWriter, private GradientSink {
 public:
  // `experience`: in rounds, a batch of which has an item of each lane. `client` and `metrics` must outlive this.
  // InvalidArgument: a slice of a column that the signature lacks.
  static absl::StatusOr<std::unique_ptr<ActorLearner>> Create(const Experience& experience,
                                                              std::unique_ptr<Algorithm> algorithm,
                                                              std::unique_ptr<Policy> policy, RandomStream exploration,
                                                              GradientClient* client, ActorMetrics* metrics);

  absl::StatusOr<uint64_t> Act(const at::Tensor& observations, ActMode mode, at::Tensor& recurrent_state,
                               at::Tensor& actions, at::Tensor& log_probs) override;
  // The answer to the newest gradient has brought the newest weights there are: nobody waits for newer ones.
  absl::Status WaitFor(uint64_t version, ActionSource::Deadline deadline) override { return absl::OkStatus(); }

  void Append(uint32_t lane, std::span<const std::byte* const> columns, v1::EpisodeEnd end) override;
  absl::Status Send(Deadline deadline) override { return absl::OkStatus(); }
  // Learns from the round, once every lane has ended it with v1::CUT. The deadline is not kept: a gradient that is on
  // its way is waited for, until the actor is to stop.
  absl::Status Drain(Deadline deadline) override;
  bool HasRoom() const override { return true; }
  uint64_t policy_version() const override { return version_; }
  uint64_t unacknowledged_bytes() const override { return 0; }
  uint64_t sent_bytes() const override { return sent_bytes_; }
  uint64_t reconnects() const override { return client_->reconnects(); }

 private:
  // Where the column of a row goes: in the memory of a slice, for each lane and each of its rows.
  struct Target {
    size_t column;  // number in the signature
    int64_t first_row;
    int64_t rows;
    size_t row_bytes;
    std::byte* memory;
  };

  ActorLearner(const Experience& experience, std::unique_ptr<Algorithm> algorithm, std::unique_ptr<Policy> policy,
               RandomStream exploration, std::unique_ptr<BatchSlots> slots, GradientClient* client,
               ActorMetrics* metrics);

  absl::Status SetTargets(const Experience& experience);
  void Apply(size_t group, const std::vector<at::Tensor>& gradients) override;
  absl::Status Load(const v1::PushResponse& response);
  // Slices that reach beyond a lane's rows repeat the last one.
  void PadLanes();

  const std::unique_ptr<Algorithm> algorithm_;
  const std::unique_ptr<Policy> policy_;
  RandomStream exploration_;
  const std::unique_ptr<BatchSlots> slots_;
  GradientClient* const client_;
  ActorMetrics* const metrics_;
  std::vector<std::pair<at::Tensor, at::Tensor>> policy_tensors_;  // of the policy, and of the algorithm

  std::vector<Target> targets_;
  std::vector<int64_t> rows_;  // of each lane in this round
  uint64_t steps_ = 0;         // in this round, that no gradient has told of
  size_t cut_lanes_ = 0;       // that have ended the round
  uint64_t sent_bytes_ = 0;    // of gradients
  bool updated_ = false;       // there are metrics to tell of
  uint64_t version_ = 0;       // of the weights
  absl::Status pushed_;        // why the newest gradient was not
};

}  // namespace headrace

#endif  // HEADRACE_ACTOR_ACTOR_LEARNER_H_
