// How one row, the columns of one step, lies in a shard's memory: a link to the lane's next row, in tables whose items
// have context the row's age, then the columns in the order of the signature, packed. Rows rather than columns, because
// a random transition then costs two cache misses instead of two for each column.
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
    size_t bytes;   // in a row
  };

  // with_age: rows have one, see RowStore::Age. InvalidArgument: no columns, two of one name, an unknown type, an empty
  // one, or a row over 16 MiB.
  static absl::StatusOr<RowLayout> Create(const v1::Signature& signature, bool with_age = false);

  const std::vector<ColumnLayout>& columns() const { return columns_; }
  // Index of a column; -1: there is none of that name.
  int Find(const std::string& name) const;
  // Bytes that a row takes in memory.
  size_t stride() const { return stride_; }
  // Bytes that a row takes on the wire.
  size_t payload_bytes() const { return payload_bytes_; }

 private:
  std::vector<ColumnLayout> columns_;
  size_t stride_ = 0;
  size_t payload_bytes_ = 0;
};

}  // namespace headrace

#endif  // HEADRACE_REPLAY_ROW_LAYOUT_H_
