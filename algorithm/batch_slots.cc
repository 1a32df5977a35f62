#include "algorithm/batch_slots.h"

#include <algorithm>
#include <exception>

#include "ATen/core/Tensor.h"
#include "ATen/ops/empty.h"
#include "absl/strings/str_cat.h"
#include "c10/core/StreamGuard.h"
#include "c10/core/impl/VirtualGuardImpl.h"

namespace headrace {
namespace {

absl::StatusOr<at::ScalarType> ToScalarType(v1::DataType type) {
  switch (type) {
    case v1::FLOAT32:
      return at::kFloat;
    case v1::FLOAT64:
      return at::kDouble;
    case v1::UINT8:
      return at::kByte;
    case v1::INT32:
      return at::kInt;
    case v1::INT64:
      return at::kLong;
    case v1::BFLOAT16:
      return at::kBFloat16;
    default:
      return absl::InvalidArgumentError(absl::StrCat("no tensor has the type ", v1::DataType_Name(type)));
  }
}

absl::StatusOr<at::Tensor> HostTensor(const Experience& experience, const v1::ColumnSlice& slice, bool pinned) {
  for (const v1::Column& column : experience.signature.columns()) {
    if (column.name() != slice.column()) continue;
    absl::StatusOr<at::ScalarType> type = ToScalarType(column.data_type());
    if (!type.ok()) return type.status();
    std::vector<int64_t> shape = {experience.batch_size, slice.rows()};
    shape.insert(shape.end(), column.shape().begin(), column.shape().end());
    if (slice.stack() > 1) shape[2] *= slice.stack();
    return at::empty(shape, at::TensorOptions().dtype(*type).pinned_memory(pinned));
  }
  return absl::InvalidArgumentError(absl::StrCat("the signature has no column ", slice.column()));
}

}  // namespace

absl::StatusOr<std::unique_ptr<BatchSlots>> BatchSlots::Create(const Experience& experience, size_t count,
                                                               c10::Device device) {
  try {
    std::unique_ptr<BatchSlots> slots(new BatchSlots(device, experience.round_steps > 0 ? experience.item_rows : 0));
    if (!device.is_cpu()) {
      slots->copy_stream_ = c10::impl::VirtualGuardImpl(device.type()).getStreamFromGlobalPool(device);
    }
    for (size_t i = 0; i < count; ++i) {
      Slot& slot = slots->slots_.emplace_back();
      for (const v1::ColumnSlice& slice : experience.slices) {
        absl::StatusOr<at::Tensor> host = HostTensor(experience, slice, !device.is_cpu());
        if (!host.ok()) return host.status();
        slot.host.slices.push_back(*host);
        slot.device.slices.push_back(
            device.is_cpu() ? *host : at::empty(host->sizes(), host->options().device(device).pinned_memory(false)));
      }
      const auto add = [&](at::Tensor Batch::*tensor, at::ScalarType type) {
        const auto options = at::TensorOptions().dtype(type);
        slot.host.*tensor = at::empty({experience.batch_size}, options.pinned_memory(!device.is_cpu()));
        slot.device.*tensor =
            device.is_cpu() ? slot.host.*tensor : at::empty({experience.batch_size}, options.device(device));
      };
      if (experience.sampler == v1::PROPORTIONAL) add(&Batch::weights, at::kFloat);
      if (experience.least_item_rows > 0) add(&Batch::rows, at::kInt);
      if (device.is_cpu()) continue;
      slot.copied.emplace(device.type());
      slot.used.emplace(device.type());
    }
    return slots;
  } catch (const std::exception& error) {
    return absl::ResourceExhaustedError(absl::StrCat("memory for ", count, " batches: ", error.what()));
  }
}

std::vector<std::vector<std::span<std::byte>>> BatchSlots::Blocks() const {
  std::vector<std::vector<std::span<std::byte>>> blocks;
  for (const Slot& slot : slots_) {
    std::vector<std::span<std::byte>>& of_slot = blocks.emplace_back();
    for (const at::Tensor& slice : slot.host.slices) {
      of_slot.emplace_back(static_cast<std::byte*>(slice.data_ptr()), slice.nbytes());
    }
  }
  return blocks;
}

std::span<float> BatchSlots::Weights(size_t slot) {
  const at::Tensor& weights = slots_[slot].host.weights;
  if (!weights.defined()) return {};
  return {weights.data_ptr<float>(), static_cast<size_t>(weights.numel())};
}

std::span<int32_t> BatchSlots::Rows(size_t slot) {
  const at::Tensor& rows = slots_[slot].host.rows;
  if (!rows.defined()) return {};
  return {rows.data_ptr<int32_t>(), static_cast<size_t>(rows.numel())};
}

Batch BatchSlots::OnDevice(size_t number) {
  CopyToDevice(slots_[number]);
  Batch batch = slots_[number].device;
  if (round_rows_ == 0) return batch;
  const int64_t longest = std::ranges::max(Rows(number));
  for (at::Tensor& slice : batch.slices) {
    if (slice.size(1) == round_rows_) slice = slice.narrow(1, 0, longest);
  }
  return batch;
}

void BatchSlots::CopyToDevice(Slot& slot) {
  if (!copy_stream_.has_value()) return;
  const c10::Stream compute = c10::impl::VirtualGuardImpl(device_.type()).getStream(device_);
  {
    const c10::StreamGuard guard(*copy_stream_);
    slot.used->block(*copy_stream_);  // the update that used this slot last may not have ended
    for (size_t i = 0; i < slot.host.slices.size(); ++i) {
      slot.device.slices[i].copy_(slot.host.slices[i], /*non_blocking=*/true);
    }
    if (slot.host.weights.defined()) slot.device.weights.copy_(slot.host.weights, /*non_blocking=*/true);
    if (slot.host.rows.defined()) slot.device.rows.copy_(slot.host.rows, /*non_blocking=*/true);
    slot.copied->record(*copy_stream_);
  }
  slot.copied->block(compute);
}

void BatchSlots::Release(size_t number) {
  Slot& slot = slots_[number];
  if (!copy_stream_.has_value()) return;
  slot.used->record(c10::impl::VirtualGuardImpl(device_.type()).getStream(device_));
  slot.copied->synchronize();
}

}  // namespace headrace
