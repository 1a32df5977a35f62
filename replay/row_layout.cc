#include "replay/row_layout.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "replay/cell.h"

namespace headrace {
namespace {

constexpr size_t kLinkBytes = sizeof(uint32_t);
constexpr size_t kMaxRowBytes = 16 << 20;

// An IEEE number is finite unless all bits of its exponent are set. Summing a flag over all values, rather than
// stopping at the first, lets the compiler use vector instructions.
template <typename Word, Word kExponent>
bool AllFiniteWords(const std::byte* values, size_t bytes) {
  Word infinite = 0;
  for (size_t i = 0; i + sizeof(Word) <= bytes; i += sizeof(Word)) {
    Word word;
    std::memcpy(&word, values + i, sizeof(Word));
    infinite |= static_cast<Word>((word & kExponent) == kExponent);
  }
  return infinite == 0;
}

bool IsFloatingPoint(v1::DataType type) { return type == v1::FLOAT32 || type == v1::FLOAT64 || type == v1::BFLOAT16; }

}  // namespace

size_t BytesOf(v1::DataType type) {
  switch (type) {
    case v1::FLOAT32:
    case v1::INT32:
      return 4;
    case v1::FLOAT64:
    case v1::INT64:
      return 8;
    case v1::BFLOAT16:
      return 2;
    case v1::UINT8:
    case v1::OPAQUE:
      return 1;
    default:
      return 0;
  }
}

size_t BytesOf(const v1::Column& column) {
  size_t bytes = BytesOf(column.data_type());
  for (const uint32_t dimension : column.shape()) {
    if (__builtin_mul_overflow(bytes, dimension, &bytes)) return SIZE_MAX;
  }
  return bytes;
}

std::string Describe(const v1::Column& column) {
  return absl::StrCat(
      column.name(), " ", v1::DataType_Name(column.data_type()), " [", absl::StrJoin(column.shape(), ", "), "]",
      column.compression() == v1::UNCOMPRESSED ? "" : absl::StrCat(" ", v1::Compression_Name(column.compression())));
}

absl::Status CheckSameSignature(const v1::Signature& expected, const v1::Signature& actual) {
  const auto describe_all = [](const v1::Signature& signature) {
    return absl::StrJoin(signature.columns(), "; ",
                         [](std::string* out, const v1::Column& column) { out->append(Describe(column)); });
  };
  const std::string wanted = describe_all(expected);
  const std::string got = describe_all(actual);
  if (wanted == got) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat("expected the columns {", wanted, "}, got {", got, "}"));
}

bool AllFinite(const std::byte* values, size_t bytes, v1::DataType type) {
  switch (type) {
    case v1::FLOAT32:
      return AllFiniteWords<uint32_t, 0x7f800000u>(values, bytes);
    case v1::FLOAT64:
      return AllFiniteWords<uint64_t, 0x7ff0000000000000u>(values, bytes);
    case v1::BFLOAT16:
      return AllFiniteWords<uint16_t, 0x7f80u>(values, bytes);
    default:
      return true;
  }
}

absl::StatusOr<RowLayout> RowLayout::Create(const v1::Signature& signature, bool with_age) {
  if (signature.columns().empty()) return absl::InvalidArgumentError("expected a signature with columns, got none");
  RowLayout layout;
  size_t end = kLinkBytes + (with_age ? 1 : 0);  // of the row so far
  for (const v1::Column& column : signature.columns()) {
    const size_t bytes = BytesOf(column);
    if (column.name().empty() || bytes == 0 || bytes > kMaxRowBytes) {
      return absl::InvalidArgumentError(absl::StrCat("expected a column with a name, a type and 1 to ", kMaxRowBytes,
                                                     " bytes, got ", Describe(column)));
    }
    if (layout.Find(column.name()) >= 0) {
      return absl::InvalidArgumentError(absl::StrCat("the column ", column.name(), " stands twice in the signature"));
    }
    const bool compressed = column.compression() != v1::UNCOMPRESSED;
    if (compressed && (column.compression() != v1::LZ4 || IsFloatingPoint(column.data_type()))) {
      return absl::InvalidArgumentError(absl::StrCat(
          "expected a column that is not compressed, or by LZ4 if its values are no floating-point numbers, got ",
          Describe(column)));
    }
    layout.columns_.push_back({column.name(), column.data_type(), end, bytes, compressed});
    end += compressed ? Cell::kSlotBytes : bytes;
    (compressed ? layout.inflated_bytes_ : layout.fixed_bytes_) += bytes;
    layout.compressed_columns_ += compressed ? 1 : 0;
  }
  if (layout.payload_bytes() > kMaxRowBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("expected rows of at most ", kMaxRowBytes, " bytes, got ", layout.payload_bytes()));
  }
  // Rounded up so that the links stay aligned.
  layout.stride_ = (end + kLinkBytes - 1) / kLinkBytes * kLinkBytes;
  return layout;
}

size_t RowLayout::CellBytes(const std::byte* row) const {
  size_t bytes = 0;
  for (const ColumnLayout& column : columns_) {
    if (column.compressed) bytes += Cell::Load(row + column.offset).bytes;
  }
  return bytes;
}

bool RowLayout::CellsFit(const std::byte* row) const {
  return std::ranges::all_of(columns_, [&](const ColumnLayout& column) {
    if (!column.compressed) return true;
    const uint32_t bytes = Cell::Load(row + column.offset).bytes;
    return bytes > 0 && bytes <= column.bytes;
  });
}

int RowLayout::Find(const std::string& name) const {
  for (size_t i = 0; i < columns_.size(); ++i) {
    if (columns_[i].name == name) return static_cast<int>(i);
  }
  return -1;
}

}  // namespace headrace
