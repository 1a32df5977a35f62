// A shard's journal. An input is entries, each behind two bytes that say its length; they become a file with right
// checksums, which ends in the middle of an entry if the last length is too large. What is taken can be sampled.
#include <algorithm>
#include <array>
#include <cstring>
#include <string>
#include <vector>

#include "common/check.h"
#include "common/checksum.h"
#include "common/fuzz_files.h"
#include "replay/journal.h"
#include "replay/journal_format.h"
#include "replay/journal_replay.h"

namespace headrace {
namespace {

constexpr uint64_t kBudget = 64 << 10;

std::string FileOf(const uint8_t* data, size_t size) {
  std::string file(kJournalMagic);
  while (size >= sizeof(uint16_t)) {
    uint16_t announced;
    std::memcpy(&announced, data, sizeof(announced));
    data += sizeof(announced);
    size -= sizeof(announced);
    const std::string_view entry(reinterpret_cast<const char*>(data), std::min<size_t>(announced, size));
    const JournalEntryHead head = {announced, Checksum(entry)};
    file.append(reinterpret_cast<const char*>(&head), sizeof(head)).append(entry);
    data += entry.size();
    size -= entry.size();
  }
  return file;
}

void SampleOne(Table& table) {
  Table::Batch batch;
  const absl::StatusOr<Table::Outcome> outcome = table.Sample({1, 1, /*random_key=*/1}, batch, {&table, [] {}});
  HEADRACE_CHECK(outcome.ok());
  if (*outcome == Table::Outcome::kWait) return;
  const std::vector<Slice> slices = {{.column = 0, .first_row = 0, .rows = 1}};
  std::vector<std::byte> copied(table.layout().columns()[0].bytes);
  const std::array<std::byte*, 1> blocks = {copied.data()};
  table.Gather(batch.items(), slices, blocks);
}

}  // namespace
}  // namespace headrace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace headrace;
  WriteFuzzFile(Journal::Path(FuzzDirectory(), 1), FileOf(data, size));
  Shard shard(/*number=*/3, kBudget, /*incarnation=*/1);
  const absl::StatusOr<uint64_t> steps = ReplayJournal(FuzzDirectory(), 0, shard);
  if (!steps.ok()) {
    HEADRACE_CHECK(absl::IsFailedPrecondition(steps.status()));  // a table that does not fit
    return 0;
  }
  uint64_t inserted = 0;
  for (Table* const table : shard.Tables()) {
    if (table->spec().over().empty()) inserted += table->State().inserted_steps();
    SampleOne(*table);
  }
  HEADRACE_CHECK(inserted == *steps);
  return 0;
}
