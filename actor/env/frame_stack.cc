#include "actor/env/frame_stack.h"

#include <algorithm>
#include <utility>

namespace headrace {
namespace {

class FrameStack : public Environment {
 public:
  FrameStack(std::unique_ptr<Environment> environment, int frames)
      : environment_(std::move(environment)),
        frame_bytes_(environment_->facts().observation.bytes()),
        facts_(environment_->facts()),
        frames_(frame_bytes_ * static_cast<size_t>(frames)) {
    facts_.observation = StackedFrames(facts_.observation, frames);
  }

  const EnvironmentFacts& facts() const override { return facts_; }

  void Reset(RandomStream& random, std::span<std::byte> observation) override {
    std::fill(observation.begin(), observation.end(), std::byte{0});
    environment_->Reset(random, observation.last(frame_bytes_));
    std::copy(observation.begin(), observation.end(), frames_.begin());
  }

  StepResult Step(const Action& action, std::span<std::byte> observation) override {
    std::copy(frames_.begin() + static_cast<std::ptrdiff_t>(frame_bytes_), frames_.end(), observation.begin());
    const StepResult result = environment_->Step(action, observation.last(frame_bytes_));
    std::copy(observation.begin(), observation.end(), frames_.begin());
    return result;
  }

  // Of the frames it says nothing: those of before stay.
  std::vector<double> State() const override { return environment_->State(); }
  absl::Status SetState(std::span<const double> state) override { return environment_->SetState(state); }

 private:
  const std::unique_ptr<Environment> environment_;
  const size_t frame_bytes_;
  EnvironmentFacts facts_;
  std::vector<std::byte> frames_;  // the last observation
};

}  // namespace

ArraySpec StackedFrames(ArraySpec frame, int frames) {
  if (frames == 1) return frame;
  if (frame.shape.empty()) frame.shape.push_back(1);
  frame.shape[0] *= static_cast<uint32_t>(frames);
  return frame;
}

std::unique_ptr<Environment> StackFrames(std::unique_ptr<Environment> environment, int frames) {
  if (frames == 1) return environment;
  return std::make_unique<FrameStack>(std::move(environment), frames);
}

}  // namespace headrace
