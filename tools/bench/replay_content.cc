#include "tools/bench/replay_content.h"

#include <cstring>
#include <random>
#include <utility>

#include "absl/strings/str_cat.h"
#include "replay/row_layout.h"

namespace headrace {
namespace {

constexpr size_t kRows = 256;
constexpr size_t kSide = 84;
constexpr size_t kChannels = 4;

v1::Signature FrameSignature() {
  v1::Signature signature;
  v1::Column& column = *signature.add_columns();
  column.set_name("observation");
  column.set_data_type(v1::UINT8);
  for (const size_t length : {kSide, kSide, kChannels}) column.add_shape(static_cast<uint32_t>(length));
  return signature;
}

size_t GamePixel(size_t time, size_t y, size_t x) {
  for (size_t square = 0; square < 6; ++square) {
    const size_t top = 12 + 12 * square, left = (17 * square + (square + 1) * time) % (kSide - 8);
    if (y < top || y >= top + 8 || x < left || x >= left + 8) continue;
    return (31 * (x - left) + 17 * (y - top) + 53 * square) % 256;
  }
  return 40 + 24 * (y / 21);
}

}  // namespace

ReplayContent::ReplayContent(const v1::Signature& signature, std::vector<std::byte> bytes)
    : signature_(signature), row_bytes_(RowLayout::Create(signature)->payload_bytes()), bytes_(std::move(bytes)) {
  const RowLayout layout = *RowLayout::Create(signature);
  const std::byte* next = bytes_.data();
  while (next < bytes_.data() + bytes_.size()) {
    std::vector<const std::byte*>& row = rows_.emplace_back();
    for (const RowLayout::ColumnLayout& column : layout.columns()) {
      row.push_back(next);
      next += column.bytes;
    }
  }
}

ReplayContent ReplayContent::Floats(uint32_t columns, uint32_t floats_of_each) {
  v1::Signature signature;
  for (uint32_t i = 0; i < columns; ++i) {
    v1::Column& column = *signature.add_columns();
    column.set_name(absl::StrCat("column", i));
    column.set_data_type(v1::FLOAT32);
    column.add_shape(floats_of_each);
  }
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  std::vector<float> values(kRows * columns * floats_of_each);
  for (float& value : values) value = normal(random);
  std::vector<std::byte> bytes(values.size() * sizeof(float));
  std::memcpy(bytes.data(), values.data(), bytes.size());
  return ReplayContent(signature, std::move(bytes));
}

ReplayContent ReplayContent::NoiseFrames() {
  std::mt19937 random(1);
  std::vector<std::byte> bytes(kRows * kSide * kSide * kChannels);
  for (std::byte& value : bytes) value = static_cast<std::byte>(random() % 256);
  return ReplayContent(FrameSignature(), std::move(bytes));
}

ReplayContent ReplayContent::GameFrames() {
  std::vector<std::byte> bytes;
  for (size_t step = 0; step < kRows; ++step) {
    for (size_t pixel = 0; pixel < kSide * kSide; ++pixel) {
      for (size_t channel = 0; channel < kChannels; ++channel) {
        bytes.push_back(static_cast<std::byte>(GamePixel(step + channel, pixel / kSide, pixel % kSide)));
      }
    }
  }
  return ReplayContent(FrameSignature(), std::move(bytes));
}

}  // namespace headrace
