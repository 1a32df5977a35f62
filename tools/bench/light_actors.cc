// Many actors that do next to nothing, in one process: each with its own connections, lease, subscription to the
// weights and writer, and a row of zeros now and then.
//
//   light_actors --config=FILE [--set=...] --learner=HOST:PORT --replay=HOST:PORT --actors=250 --steps_per_second=1
//
// Prints a JSON object a second: `actors`, all of which hold a lease, `oldest_version` and `newest_version` of the
// weights that they have (0: some have none), and `steps` handed over so far. Ends with the run, or on SIGTERM.
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <iostream>
#include <limits>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "actor/acting.h"
#include "actor/attendance.h"
#include "actor/env/registry.h"
#include "actor/environment_spec.h"
#include "actor/parameter_subscriber.h"
#include "algorithm/registry.h"
#include "common/metrics.h"
#include "common/process.h"
#include "common/protocol.h"
#include "common/shutdown.h"
#include "common/status_macros.h"
#include "nlohmann/json.hpp"
#include "replay/moving_writer.h"
#include "replay/row_layout.h"

ABSL_FLAG(std::string, learner, "", "HOST:PORT of the learner");
ABSL_FLAG(std::string, replay, "", "HOST:PORT of a shard");
ABSL_FLAG(uint32_t, actors, 250, "how many");
ABSL_FLAG(double, steps_per_second, 1, "of each actor");

namespace headrace {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::seconds kPatience{60};
constexpr uint64_t kEpisodeSteps = 20;

class LightActor {
 public:
  LightActor(const v1::RunConfig& config, const v1::EnvironmentSpec& environment)
      : attendance_(absl::GetFlag(FLAGS_learner), MakeJoin(config, environment)) {}

  absl::Status Start(const v1::RunConfig& config, const Experience& experience) {
    ASSIGN_OR_RETURN(const v1::Lease lease, attendance_.WaitForLease(Clock::now() + kPatience));
    const v1::Peer peer = MakePeer(lease.run_id(), absl::StrCat("light actor ", lease.index()));
    parameters_ = std::make_unique<ParameterSubscriber>(absl::GetFlag(FLAGS_learner), peer);
    const ActingOptions options = {config, lease, experience};
    ASSIGN_OR_RETURN(writer_, StartReplayWriter(options, {absl::GetFlag(FLAGS_replay)}));
    return absl::OkStatus();
  }

  // False: replay takes nothing now.
  bool Step(std::span<const std::byte* const> columns) {
    if (!writer_->HasRoom()) return false;
    writer_->Append(/*lane=*/0, columns, ++steps_ % kEpisodeSteps == 0 ? v1::TERMINATED : v1::NOT_ENDED);
    return writer_->Send(Clock::now()).ok();
  }

  bool stopped() const { return attendance_.stopped(); }
  uint64_t version() const { return parameters_->newest_version(); }
  uint64_t steps() const { return steps_; }

 private:
  static v1::Join MakeJoin(const v1::RunConfig& config, const v1::EnvironmentSpec& environment) {
    v1::Join join;
    *join.mutable_peer() = MakePeer("", "light actor");
    join.set_role(v1::ACTOR);
    *join.mutable_environment() = environment;
    join.set_environments(config.actor().environments());
    join.set_process_id(getpid());
    join.set_host("light");
    return join;
  }

  Attendance attendance_;
  std::unique_ptr<ParameterSubscriber> parameters_;
  std::unique_ptr<MovingWriter> writer_;
  uint64_t steps_ = 0;
};

// A row of zeros: as long as the longest column, which all columns share.
class ZeroRow {
 public:
  explicit ZeroRow(const RowLayout& layout) {
    size_t longest = 0;
    for (const RowLayout::ColumnLayout& column : layout.columns()) longest = std::max<size_t>(longest, column.bytes);
    zeros_.resize(longest);
    columns_.assign(layout.columns().size(), zeros_.data());
  }
  std::span<const std::byte* const> columns() const { return columns_; }

 private:
  std::vector<std::byte> zeros_;
  std::vector<const std::byte*> columns_;
};

void Print(const std::vector<std::unique_ptr<LightActor>>& actors) {
  uint64_t oldest = std::numeric_limits<uint64_t>::max(), newest = 0, steps = 0;
  for (const auto& actor : actors) {
    oldest = std::min(oldest, actor->version());
    newest = std::max(newest, actor->version());
    steps += actor->steps();
  }
  std::cout << nlohmann::json{{"actors", actors.size()},
                              {"oldest_version", oldest},
                              {"newest_version", newest},
                              {"steps", steps}}
                   .dump()
            << std::endl;
}

absl::Status Play(const ProcessFlags& flags) {
  MetricRegistry registry("actor");
  ASSIGN_OR_RETURN(const std::unique_ptr<ProcessPorts> ports, ProcessPorts::Open(flags, registry));
  RETURN_IF_ERROR(ports->Ready(flags, ""));
  ASSIGN_OR_RETURN(const EnvironmentFacts facts, FindEnvironment(flags.config.environment().name()));
  const v1::EnvironmentSpec environment = MakeEnvironmentSpec(facts, flags.config.environment());
  ASSIGN_OR_RETURN(const Experience experience, MakeExperience(flags.config, environment));
  ASSIGN_OR_RETURN(const RowLayout layout, RowLayout::Create(experience.signature));

  std::vector<std::unique_ptr<LightActor>> actors(absl::GetFlag(FLAGS_actors));
  for (auto& actor : actors) actor = std::make_unique<LightActor>(flags.config, environment);
  for (const auto& actor : actors) RETURN_IF_ERROR(actor->Start(flags.config, experience));

  const ZeroRow row(layout);
  const auto period = std::chrono::duration_cast<Clock::duration>(
      std::chrono::duration<double>(1 / absl::GetFlag(FLAGS_steps_per_second)));
  auto next_step = Clock::now(), next_print = next_step;
  while (!ShutdownSignal::WaitUntil(next_step)) {
    if (std::ranges::any_of(actors, [](const auto& actor) { return actor->stopped(); })) return absl::OkStatus();
    for (const auto& actor : actors) actor->Step(row.columns());
    next_step = std::max(next_step + period, Clock::now());
    if (Clock::now() < next_print) continue;
    Print(actors);
    next_print += std::chrono::seconds(1);
  }
  return absl::CancelledError("terminated");
}

}  // namespace
}  // namespace headrace

int main(int argc, char** argv) {
  return headrace::RunProcess(argc, argv, "light_actors: many actors that do next to nothing", headrace::Play);
}
