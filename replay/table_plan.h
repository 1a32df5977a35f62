// Whether a table can be as its specification says, and how large its parts are then.
#ifndef HEADRACE_REPLAY_TABLE_PLAN_H_
#define HEADRACE_REPLAY_TABLE_PLAN_H_

#include <cstddef>
#include <cstdint>

#include "absl/status/statusor.h"
#include "proto/replay.pb.h"
#include "replay/row_layout.h"

namespace headrace {

// max_bytes is shared by the books of so many items and by rows, of which a table over another has none.
struct TablePlan {
  RowLayout layout;
  size_t item_capacity;
  uint64_t row_bytes;
  bool rows_singly;  // see RowStore
};

// The table that another has its items over.
struct RowsTable {
  const v1::TableSpec* spec;
  uint64_t rows;  // that it can hold
  bool singly;
};

// `over`: the table that the specification names; null: it names none. InvalidArgument: the specification is not
// usable; the message says what was expected of the table named.
absl::StatusOr<TablePlan> PlanTable(const v1::TableSpec& spec, const RowsTable* over = nullptr);

}  // namespace headrace

#endif  // HEADRACE_REPLAY_TABLE_PLAN_H_
