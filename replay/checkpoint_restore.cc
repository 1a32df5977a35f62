// A shard is filled from its newest checkpoint that is whole. Rows go from the file straight into the table, so that a
// restart needs memory for them once; what turns out to be damaged is dropped with the shard's tables.
#include <algorithm>
#include <map>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_format.h"
#include "common/log.h"
#include "common/protocol.h"
#include "common/status_macros.h"
#include "replay/checkpoint.h"
#include "replay/checkpoint_file.h"
#include "replay/journal_replay.h"

namespace headrace {
namespace {

// Of each table with rows, those that tables after it may have items over.
using RestoredRows = std::map<std::string, std::vector<RowStore::Address>>;

absl::Status RestoreTable(const v1::TableCheckpoint& saved, const v1::ReplayCheckpointHeader& header,
                          CheckpointReader& file, Shard& shard, RestoredRows& restored,
                          absl::FunctionRef<bool()> interrupted) {
  const std::string& name = saved.spec().name();
  if (shard.FindTable(name).ok()) return absl::DataLossError("a table is there twice");
  ASSIGN_OR_RETURN(Table * table,
                   shard.CreateTable(MakePeer(header.run_id(), "checkpoint " + header.name()), saved.spec()));
  if (saved.row_bytes() != table->layout().stride()) {
    return absl::DataLossError("the sizes of its rows do not fit its signature");
  }
  const bool has_own_rows = saved.spec().over().empty();
  if (!has_own_rows && saved.rows() > 0) return absl::DataLossError("a table over another has rows");
  // Before memory is taken for them.
  if (saved.rows() > file.bytes_left() / saved.row_bytes()) return absl::DataLossError("the file is cut off");
  if (has_own_rows) {
    ASSIGN_OR_RETURN(restored[name], table->RestoreRows(saved.rows(), [&](std::span<std::byte> piece) -> absl::Status {
      if (interrupted()) return absl::CancelledError("interrupted while a checkpoint was restored");
      return file.Read(piece);
    }));
  }
  ASSIGN_OR_RETURN(const std::vector<Item> items, ReadItems(header.format(), saved, file));
  std::vector<v1::WriterCheckpoint> writers;
  for (const v1::WriterCheckpoint& writer : header.writers()) {
    if (writer.table() == name) writers.push_back(writer);
  }
  return table->RestoreBooks(saved.state(), writers, items, restored[has_own_rows ? name : saved.spec().over()]);
}

// Its tables are of other sizes then, and the learner says what becomes of them.
bool OfAnotherNumber(const v1::ReplayCheckpointHeader& header, const Shard& shard) {
  return header.shards() > 0 && shard.shards() > 0 && header.shards() != shard.shards();
}

absl::Status ReadToTheEnd(CheckpointReader& file) {
  std::vector<std::byte> buffer(1 << 20);
  while (file.bytes_left() > 0) {
    RETURN_IF_ERROR(file.Read(std::span(buffer).first(std::min<uint64_t>(buffer.size(), file.bytes_left()))));
  }
  return file.Finish();
}

absl::StatusOr<v1::ReplayCheckpointHeader> RestoreFile(const std::string& path, Shard& shard,
                                                       absl::FunctionRef<bool()> interrupted) {
  ASSIGN_OR_RETURN(const std::unique_ptr<CheckpointReader> file, CheckpointReader::Open(path));
  ASSIGN_OR_RETURN(const v1::ReplayCheckpointHeader header, file->ReadHeader());
  // A header that is the first has no checksum of its own, and what it says of shards may be damage.
  if (OfAnotherNumber(header, shard) && header.format() <= kNewestFormatWithHeaderFirst) {
    RETURN_IF_ERROR(ReadToTheEnd(*file));
  }
  if (OfAnotherNumber(header, shard)) return header;
  RestoredRows restored;
  for (const v1::TableCheckpoint& table : header.tables()) {
    const absl::Status status = RestoreTable(table, header, *file, shard, restored, interrupted);
    if (absl::IsResourceExhausted(status)) {
      // A header with a checksum says what was: the files before it will not fit either.
      if (header.format() <= kNewestFormatWithHeaderFirst) return absl::DataLossError(status.message());
      return absl::ResourceExhaustedError(
          absl::StrFormat("checkpoint %s does not fit into this shard: %s; end the run with the release that wrote it, "
                          "or remove the file, and lose what it holds",
                          path, status.message()));
    }
    RETURN_IF_ERROR(status);
  }
  RETURN_IF_ERROR(file->Finish());
  for (const auto& [name, rows] : restored) {
    ASSIGN_OR_RETURN(Table * table, shard.FindTable(name));
    table->ReleaseRestored(rows);
  }
  shard.SetRestored(header.run_id(), header.name());
  return header;
}

absl::Status AddJournal(const std::string& directory, uint64_t first, Shard& shard,
                        absl::FunctionRef<bool()> interrupted) {
  ASSIGN_OR_RETURN(const uint64_t steps, ReplayJournal(directory, first, shard, interrupted));
  if (steps > 0) LogInfo("%d steps restored from the journal", steps);
  for (Table* const table : shard.Tables()) table->BeginLife();
  return absl::OkStatus();
}

// A journal is of one shard among so many: among another number nobody knows which of its chunks are whose.
absl::Status CheckJournalIsIn(const v1::ReplayCheckpointHeader& header, const std::string& directory,
                              const Shard& shard) {
  ASSIGN_OR_RETURN(const uint64_t chunks, CountChunksAfter(directory, header.journal_file(), header.writers()));
  if (chunks == 0) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrFormat(
      "checkpoint %s is of %d shards, now there are %d, and the journal in %s has %d chunks that came after it, which "
      "cannot be spread: start and end the run with replay.shards: %d once, which brings them into a checkpoint; or "
      "remove the journal's files, and lose them",
      header.name(), header.shards(), shard.shards(), directory, chunks, header.shards()));
}

}  // namespace

absl::StatusOr<std::string> RestoreNewest(const std::string& directory, Shard& shard,
                                          absl::FunctionRef<bool()> interrupted) {
  RemoveUnfinishedCheckpoints(directory);
  const std::vector<CheckpointEntry> entries = ListCheckpoints(directory);
  for (const CheckpointEntry& entry : entries) {
    if (!entry.readable.ok()) {  // nobody knows which of them is newer
      LogError("checkpoint %s is not usable (%s)", entry.path, entry.readable.ToString());
    }
  }
  for (const CheckpointEntry& entry : entries) {
    if (!entry.readable.ok()) continue;
    const absl::StatusOr<v1::ReplayCheckpointHeader> header = RestoreFile(entry.path, shard, interrupted);
    if (header.ok() && OfAnotherNumber(*header, shard)) {
      RETURN_IF_ERROR(CheckJournalIsIn(*header, directory, shard));
      LogInfo("checkpoint %s is of %d shards, now there are %d: the learner spreads it", header->name(),
              header->shards(), shard.shards());
      return std::string();
    }
    if (header.ok()) {
      RETURN_IF_ERROR(AddJournal(directory, header->journal_file(), shard, interrupted));
      return header->name();
    }
    if (absl::IsCancelled(header.status()) || absl::IsResourceExhausted(header.status())) return header.status();
    LogError("checkpoint %s is not usable (%s); trying the one before it", entry.path, header.status().ToString());
    shard.Clear();
  }
  RETURN_IF_ERROR(AddJournal(directory, 0, shard, interrupted));
  return std::string();
}

}  // namespace headrace
