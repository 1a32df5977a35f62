// Preallocated memory for batches on their way from the replay shards into Update: 64-byte aligned, pinned where the
// learner computes on a GPU. Each byte of a sampled batch is copied into it exactly once. On a GPU the copy to the
// device runs on a stream of its own, beside the update before it.
//
//   const Batch& batch = slots->OnDevice(slot);
//   algorithm->Update(batch, optimizer);
//   slots->Release(slot);      // now the sampler may fill it again
//
// Thread-safety: a slot belongs to the sampler between Done and Next, and to the learner's thread otherwise.
#ifndef HEADRACE_ALGORITHM_BATCH_SLOTS_H_
#define HEADRACE_ALGORITHM_BATCH_SLOTS_H_

#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "algorithm/algorithm.h"
#include "c10/core/Device.h"
#include "c10/core/Event.h"
#include "c10/core/Stream.h"

namespace headrace {

class BatchSlots {
 public:
  // InvalidArgument: a slice of a column that the signature lacks, or a type that tensors do not have.
  static absl::StatusOr<std::unique_ptr<BatchSlots>> Create(const Experience& experience, size_t count,
                                                            c10::Device device);

  // The memory as bytes, for each slot, for each slice.
  std::vector<std::vector<std::span<std::byte>>> Blocks() const;
  // Where the slot's importance weights belong before OnDevice; empty: its experience has none.
  std::span<float> Weights(size_t slot);
  // The same of its items' numbers of rows.
  std::span<int32_t> Rows(size_t slot);
  // The slot's contents on the device; on a GPU the copy is only under way when this returns. Of rounds, whose items
  // differ in length, slices of whole items reach as far as the longest.
  Batch OnDevice(size_t slot);
  // After the update that used the slot was started. Returns when its host memory may be overwritten.
  void Release(size_t slot);
  // The slice's values where they arrived.
  const at::Tensor& OnHost(size_t slot, size_t slice) const { return slots_[slot].host.slices[slice]; }

 private:
  struct Slot {
    Batch host;
    Batch device;                      // the same tensors as `host` on a CPU
    std::optional<c10::Event> copied;  // GPU only
    std::optional<c10::Event> used;
  };

  BatchSlots(c10::Device device, int64_t round_rows) : device_(device), round_rows_(round_rows) {}

  void CopyToDevice(Slot& slot);

  const c10::Device device_;
  const int64_t round_rows_;  // of items in rounds; 0: there are no rounds
  std::optional<c10::Stream> copy_stream_;
  std::vector<Slot> slots_;
};

}  // namespace headrace

#endif  // HEADRACE_ALGORITHM_BATCH_SLOTS_H_
