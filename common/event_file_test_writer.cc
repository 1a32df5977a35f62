// Writes what event_file_test.py expects: a run's first start, and a resume at step 20 of it.
#include <chrono>
#include <iostream>

#include "common/clock.h"
#include "common/event_file.h"

namespace {

absl::Status WriteStart(const std::string& directory, int64_t first_step, const std::vector<int64_t>& steps,
                        double value, const headrace::Clock& clock) {
  absl::StatusOr<std::unique_ptr<headrace::EventFile>> events =
      headrace::EventFile::Create(directory, first_step, &clock);
  if (!events.ok()) return events.status();
  for (const int64_t step : steps) {
    const absl::Status status =
        (*events)->Append(step, {{"rollout/ep_rew_mean", value * static_cast<double>(step)}, {"charts/SPS", 0.5}});
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

}  // namespace

int main(int argc, char** argv) {
  headrace::FakeClock clock;
  absl::Status status = WriteStart(argv[1], 0, {10, 20, 30, 40}, -1.25, clock);
  clock.Advance(std::chrono::seconds(100));
  if (status.ok()) status = WriteStart(argv[1], 21, {30, 3'000'000'000}, 2, clock);
  if (!status.ok()) std::cerr << status << std::endl;
  return status.ok() ? 0 : 1;
}
