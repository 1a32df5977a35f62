// Brings back what a journal holds.
#ifndef HEADRACE_REPLAY_JOURNAL_REPLAY_H_
#define HEADRACE_REPLAY_JOURNAL_REPLAY_H_

#include <cstdint>
#include <string>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "google/protobuf/repeated_ptr_field.h"
#include "proto/checkpoint.pb.h"
#include "replay/shard.h"

namespace headrace {

// Inserts into `shard`, before it serves, what the files from `first` on hold and it does not have yet. A file ends
// where an entry is cut off or damaged, as a crash leaves it: that entry was not acknowledged, and the rest is
// reported. Returns the number of steps that were inserted. DataLoss: a file of this name is no journal. Cancelled:
// `interrupted`, which is asked before each entry, said so.
absl::StatusOr<uint64_t> ReplayJournal(
    const std::string& directory, uint64_t first, Shard& shard,
    absl::FunctionRef<bool()> interrupted = [] { return false; });

// How many chunks the files from `first` on hold that came after what `writers` have in a checkpoint.
absl::StatusOr<uint64_t> CountChunksAfter(const std::string& directory, uint64_t first,
                                          const google::protobuf::RepeatedPtrField<v1::WriterCheckpoint>& writers);

}  // namespace headrace

#endif  // HEADRACE_REPLAY_JOURNAL_REPLAY_H_
