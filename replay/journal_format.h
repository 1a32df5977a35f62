// A shard's journal files: their form. docs/formats/journal.md describes them.
#ifndef HEADRACE_REPLAY_JOURNAL_FORMAT_H_
#define HEADRACE_REPLAY_JOURNAL_FORMAT_H_

#include <cstdint>
#include <string_view>

namespace headrace {

inline constexpr std::string_view kJournalMagic = "HEADRACE JOURNAL";

// Before each entry.
struct JournalEntryHead {
  uint64_t bytes;  // of the v1::JournalEntry, which follows
  uint64_t xxh3;   // of it
};
static_assert(sizeof(JournalEntryHead) == 16);

}  // namespace headrace

#endif  // HEADRACE_REPLAY_JOURNAL_FORMAT_H_
