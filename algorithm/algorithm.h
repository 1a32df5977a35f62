// What an algorithm is: a facts record, the experience it needs, a policy for actors, and one Update for the learner.
//
// An algorithm is one file that composes the parts in model/, algorithm/target/ and algorithm/loss/, and one line in
// registry.cc. docs/adding_an_algorithm.md walks through it. Nothing outside its file knows it by name.
#ifndef HEADRACE_ALGORITHM_ALGORITHM_H_
#define HEADRACE_ALGORITHM_ALGORITHM_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "algorithm/gradient_sink.h"
#include "common/random.h"
#include "model/named_tensor.h"
#include "proto/config.pb.h"
#include "proto/replay.pb.h"
#include "proto/run.pb.h"

namespace headrace {

// What can be known of an algorithm without building it; a run that does not fit is refused before anything starts.
struct AlgorithmFacts {
  std::string name;     // of its field in RunConfig: "sac"
  std::string summary;  // one line, for `headrace list`
  std::string paper;
  std::vector<v1::Topology> topologies;
  bool continuous_actions = false;
  bool discrete_actions = false;
};

// The experience an algorithm asks for.
struct Experience {
  v1::Signature signature;   // the columns that actors record
  uint32_t item_rows = 2;    // rows of an item; a transition is two
  uint32_t item_stride = 1;  // rows between the starts of two items
  // Rows of the same episode that are kept with an item, before its own, for slices with a stack.
  uint32_t context_rows = 0;
  // At the end of an episode items may be as short as this; slices that reach beyond one repeat its last row. 0: none
  // is.
  uint32_t least_item_rows = 0;
  v1::Selector sampler = v1::UNIFORM;
  v1::Selector remover = v1::FIRST_IN_FIRST_OUT;
  uint32_t max_times_sampled = 0;
  // Experience travels through a queue: actors wait while it is full, where otherwise the oldest items would go.
  bool queue = false;
  bool span_episodes = false;  // items reach over the ends of episodes
  // Actors take so many steps in each environment with one policy, hand them in as one item of up to item_rows rows,
  // and wait for the next policy. 0: they go on with whatever is newest.
  uint32_t round_steps = 0;
  double priority_exponent = 1;         // of v1::PROPORTIONAL
  double importance_exponent = 0;       // with which its weights begin; they end with 1
  std::vector<v1::ColumnSlice> slices;  // what a batch consists of, in this order
  uint32_t batch_size = 0;
  double updates_per_step = 1;
  uint64_t random_steps = 0;         // of the whole run, taken before the policy acts
  bool observation_moments = false;  // actors report moments of raw observations, for SetObservationMoments
  double return_discount = 0;        // above 0: those of rewards summed with this discount, for SetReturnMoments

  uint32_t ShortestItemRows() const { return least_item_rows > 0 ? least_item_rows : item_rows; }
};

// A sampled batch: for slice i of Experience.slices a tensor [batch, rows, shape...] on the learner's device, where a
// slice with a stack has so many times the column's first dimension. The
// memory belongs to the caller and is reused after Update returns.
struct Batch {
  std::vector<at::Tensor> slices;
  // Where Experience.sampler is v1::PROPORTIONAL: [batch], float32, the importance weights of its items, the largest 1.
  at::Tensor weights = {};
  // Where Experience.least_item_rows is set: [batch], int32, how many rows each item has.
  at::Tensor rows = {};
  // The share of the run that is done, from 0 to 1; 0 in one without an end.
  double progress = 0;
};

enum class ActMode {
  kRandom,   // uniformly random actions, for warm-up
  kExplore,  // the behaviour policy
  kGreedy,   // deterministic, for evaluation
};

// The policy as actors and evaluators run it. Not thread-safe.
class Policy {
 public:
  virtual ~Policy() = default;
  // observations: [lanes, shape...] of the observation column's type, on the CPU. Writes actions [lanes, shape...] of
  // the action column's type, and, for algorithms that record it, the log-probabilities [lanes]; empty otherwise.
  // recurrent_state: [lanes, shape...] of the column of that name, undefined where there is none. The caller keeps it,
  // zeros for lanes whose episode begins; it is overwritten by that for the lanes' next observations.
  virtual void Act(const at::Tensor& observations, ActMode mode, RandomStream& random, at::Tensor& recurrent_state,
                   at::Tensor& actions, at::Tensor& log_probs) = 0;
  // Live tensors under the names the learner gives them; loading a version copies into them.
  virtual std::vector<NamedTensor> Tensors() const = 0;
};

// The learner's half. All methods are called from one thread.
class Algorithm {
 public:
  virtual ~Algorithm() = default;

  // Trainable parameters by group; each group is one optimiser. Called once.
  virtual std::vector<ParameterGroup> ParameterGroups() = 0;

  // One update. Hands each group's gradients to the sink in the order the paper steps them. Does not wait for the
  // device.
  virtual void Update(const Batch& batch, GradientSink& sink) = 0;
  // Called in the learner after each Update or, where actors update and push, after each gradient that was applied: for
  // what depends on how many there were (target networks, schedules). `progress`: Batch.progress.
  virtual void AfterUpdate(double progress) {}

  // Where Experience.sampler is v1::PROPORTIONAL: [batch], float32, new priorities for the items of the last update.
  virtual at::Tensor Priorities() const { return {}; }

  // Live tensors. Policy: what actors load. State: everything that Update changes besides the optimisers, random
  // generators included; copying all of them back restores the algorithm to the bit.
  virtual std::vector<NamedTensor> PolicyTensors() const = 0;
  virtual std::vector<NamedTensor> StateTensors() const = 0;
  // To be called after StateTensors were written to.
  virtual absl::Status StateLoaded() { return absl::OkStatus(); }

  // Raw observation moments, merged over all actors; only called if the algorithm normalises observations.
  virtual void SetObservationMoments(const v1::Moments& moments) {}
  // The same of sum_k discount^k r_{t-k}, the rewards so far of an episode; only called if it asks for them.
  virtual void SetReturnMoments(const v1::Moments& moments) {}

  // Losses and the like of the last update, one scalar for each name ("losses/critic"); stays on the device until read.
  virtual const std::vector<std::string>& MetricNames() const = 0;
  virtual at::Tensor Metrics() const = 0;
};

}  // namespace headrace

#endif  // HEADRACE_ALGORITHM_ALGORITHM_H_
