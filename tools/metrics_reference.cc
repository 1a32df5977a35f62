// Prints docs/metrics.md: every metric of every process, from the code that declares them.
//
//   bazel run //tools:metrics_reference > docs/metrics.md
#include <iostream>
#include <memory>
#include <string>
#include <tuple>
#include <vector>

#include "absl/strings/str_join.h"
#include "actor/actor_metrics.h"
#include "common/certificate_metrics.h"
#include "common/metrics.h"
#include "common/refusals.h"
#include "common/rpc_metrics.h"
#include "learner/gradient_metrics.h"
#include "learner/inference_metrics.h"
#include "learner/learner_metrics.h"
#include "replay/shard_metrics.h"

namespace headrace {
namespace {

constexpr char kHead[] = R"(# Metrics

Every process serves its metrics for Prometheus at `http://HOST:PORT/metrics`; `--metrics_listen` says where, and
`targets.json` in a run directory names all of them. Seconds, bytes, environment steps and updates are the units; a
counter ends in `_total`. A histogram `h` is served as `h_bucket`, `h_sum` and `h_count`. Labels have few values, which do
not grow with the length of a run. A gauge that has no value yet is `NaN`.

Prometheus adds the labels `job` (`headrace_learner`, `headrace_actor`, `headrace_replay`, `headrace_evaluator`),
`process` (such as `actor-0`) and `run` to all of them. Rules and alerts made of these are in `deploy/prometheus/rules`,
what to do about an alert in [runbook.md](runbook.md).

This page is made by `bazel run //tools:metrics_reference > docs/metrics.md`.
)";

void PrintSection(const std::string& title, const std::vector<MetricDescription>& descriptions, bool of_every_process) {
  std::cout << "\n## " << title << "\n\n| metric | type | labels | what it is |\n|---|---|---|---|\n";
  for (const MetricDescription& one : descriptions) {
    const bool common = one.name.starts_with("process_") || one.name == "headrace_build_info" ||
                        one.name == "headrace_grpc_refusals_total" ||
                        one.name == "headrace_certificate_expiry_timestamp_seconds";
    if (common != of_every_process) continue;
    std::cout << "| `" << one.name << "` | " << one.type << " | "
              << absl::StrJoin(one.labels, ", ",
                               [](std::string* out, const std::string& label) { out->append("`" + label + "`"); })
              << " | " << one.help << " |\n";
  }
}

template <typename... Metrics>
void PrintProcess(const std::string& title) {
  MetricRegistry registry(title);
  [[maybe_unused]] const std::tuple<std::unique_ptr<Metrics>...> metrics = {std::make_unique<Metrics>(registry)...};
  PrintSection(title, registry.Descriptions(), false);
}

void PrintAll() {
  std::cout << kHead;
  PrintProcess<ActorMetrics>("Actor");
  PrintProcess<ShardMetrics, RpcMetrics>("Replay shard");
  PrintProcess<LearnerMetrics, RpcMetrics>("Learner");
  PrintProcess<InferenceMetrics>("Learner with central inference");
  PrintProcess<GradientMetrics>("Learner with asynchronous gradients");
  PrintProcess<EvaluatorMetrics>("Evaluator");
  MetricRegistry registry("");
  const RefusalCounters refusals(registry);
  ExportCertificateExpiry("", registry);
  PrintSection("Every process", registry.Descriptions(), true);
}

}  // namespace
}  // namespace headrace

int main() {
  headrace::PrintAll();
  return 0;
}
