// How one row, the columns of one step, lies in a shard's memory: a link to the lane's next row, in tables whose items
// have context the row's age, then the columns in the order of the signature, packed. Rows rather than columns, because
// a random transition then costs two cache misses instead of two for each column. Of a compressed column the row has a
// slot, which says where its cell lies (replay/cell.h).
//
// Immutable, so thread-safe.
#ifndef HEADRACE_REPLAY_ROW_LAYOUT_H_
#define HEADRACE_REPLAY_ROW_LAYOUT_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "proto/column.pb.h"

namespace headrace {

// Bytes of one value. 0: not a known type.
size_t BytesOf(v1::DataType type);
// Bytes of one step of a column; SIZE_MAX if there are more.
size_t BytesOf(const v1::Column& column);
// "observation FLOAT32 [3]", for error messages.
std::string Describe(const v1::Column& column);
// FailedPrecondition: what differs, as "expected ..., got ...".
absl::Status CheckSameSignature(const v1::Signature& expected, const v1::Signature& actual);
bool AllFinite(const std::byte* values, size_t bytes, v1::DataType type);

class RowLayout {
 public:
  struct ColumnLayout {
    std::string name;
    v1::DataType type;
    size_t offset;  // in a row
    size_t bytes;   // of a step, not compressed
    bool compressed;
  };

  // A row takes at least so much of what its compressed columns would take uncompressed, as far as memory is planned.
  static constexpr size_t kMostCompression = 8;

  // with_age: rows have one, see RowStore::Age. InvalidArgument: no columns, two of one name, an unknown type or
  // compression, a compressed column of floating-point numbers, an empty one, or a row over 16 MiB.
  static absl::StatusOr<RowLayout> Create(const v1::Signature& signature, bool with_age = false);

  const std::vector<ColumnLayout>& columns() const { return columns_; }
  // Index of a column; -1: there is none of that name.
  int Find(const std::string& name) const;
  // Bytes that a row takes in memory, without its cells.
  size_t stride() const { return stride_; }
  // Bytes of a row's columns: all of them as long as nothing is compressed, and those that never are.
  size_t payload_bytes() const { return fixed_bytes_ + inflated_bytes_; }
  size_t fixed_bytes() const { return fixed_bytes_; }
  // Of its compressed columns, before they are.
  size_t inflated_bytes() const { return inflated_bytes_; }
  size_t compressed_columns() const { return compressed_columns_; }
  // Bytes that a row takes in memory with its cells.
  size_t most_row_bytes() const { return stride_ + inflated_bytes_; }
  size_t least_row_bytes() const { return stride_ + inflated_bytes_ / kMostCompression; }

  // Of the cells that a row's slots tell of, the bytes in all; and whether each is of a size that it can have.
  size_t CellBytes(const std::byte* row) const;
  bool CellsFit(const std::byte* row) const;

 private:
  std::vector<ColumnLayout> columns_;
  size_t stride_ = 0;
  size_t fixed_bytes_ = 0;
  size_t inflated_bytes_ = 0;
  size_t compressed_columns_ = 0;
};

}  // namespace headrace

#endif  // HEADRACE_REPLAY_ROW_LAYOUT_H_
