#include "replay/checkpoint.h"

#include <algorithm>
#include <cctype>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <limits>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/checksum.h"
#include "common/file.h"
#include "common/log.h"
#include "common/low_priority.h"
#include "common/protocol.h"
#include "common/status_macros.h"
#include "proto/checkpoint.pb.h"
#include "replay/cell.h"
#include "replay/checkpoint_file.h"
#include "replay/journal.h"
#include "replay/row_numbers.h"

namespace headrace {
namespace {

// At once, because whoever goes behind others should seldom hold the mutex that they wait for.
constexpr size_t kMostSlabsLetGo = 8;

template <typename T>
std::string_view BytesOf(const T& value) {
  return {reinterpret_cast<const char*>(&value), sizeof(value)};
}

// Of the rows that a snapshot refers to, slab by slab in the order of its pins.
RowNumbers NumberRows(const Table::Snapshot& snapshot, const RowStore& rows) {
  RowNumbers numbers(rows.rows_per_slab(), rows.address_end());
  for (const Table::Books& books : snapshot.tables) {
    for (const Item& item : books.items) {
      RowStore::Address row = item.first_row;
      for (uint32_t left = item.rows_held(); left > 1; --left) {
        numbers.AddLinked(row);
        row = rows.Next(row);
      }
      numbers.Add(row);
    }
  }
  for (const v1::WriterCheckpoint& writer : snapshot.writers) {
    for (const v1::LaneCheckpoint& lane : writer.lanes()) {
      // A lane goes on from its newest row, whose link may be written at this moment.
      for (int i = 0; i + 1 < lane.window_size(); ++i) numbers.AddLinked(lane.window(i));
      if (lane.window_size() > 0) numbers.Add(lane.window(lane.window_size() - 1));
    }
  }
  for (const RowStore::Pinned& pinned : snapshot.pins.slabs()) numbers.Number(pinned.slab);
  return numbers;
}

// Counts and hashes what goes into the file.
class HashedFile {
 public:
  explicit HashedFile(std::unique_ptr<AtomicFile> file) : file_(std::move(file)) {}

  absl::Status Append(std::string_view bytes) {
    checksum_.Update(bytes);
    bytes_ += bytes.size();
    return file_->Append(bytes);
  }
  absl::Status Commit() { return file_->Commit(); }

  uint64_t bytes() const { return bytes_; }
  uint64_t checksum() const { return checksum_.value(); }

 private:
  const std::unique_ptr<AtomicFile> file_;
  Checksummer checksum_;
  uint64_t bytes_ = 0;
};

// Lets go of each slab when its rows are in the file: the oldest first, which insertion wants next. Returns how many
// bytes of cells there are.
absl::StatusOr<uint64_t> AppendRows(const Table& table, const RowNumbers& numbers, Table::Pins& pins,
                                    HashedFile& file) {
  const RowLayout& layout = table.layout();
  const RowStore& rows = table.rows();
  uint64_t cell_bytes = 0;
  std::string bytes(layout.stride(), '\0');
  std::string cells;
  const auto append = [&](RowStore::Address row, bool linked) {
    const uint32_t next = linked ? numbers[rows.Next(row)] : RowStore::kNoRow;
    std::memcpy(bytes.data(), &next, sizeof(next));
    std::memcpy(bytes.data() + sizeof(next), rows.Row(row) + sizeof(next), layout.stride() - sizeof(next));
    cells.clear();
    for (const RowLayout::ColumnLayout& column : layout.columns()) {
      if (!column.compressed) continue;
      const Cell cell = Cell::Load(rows.Row(row) + column.offset);
      Cell{nullptr, cell.bytes}.Store(reinterpret_cast<std::byte*>(bytes.data()) + column.offset);
      cells.append(reinterpret_cast<const char*>(cell.data), cell.bytes);
    }
    cell_bytes += cells.size();
    RETURN_IF_ERROR(file.Append(bytes));
    return cells.empty() ? absl::OkStatus() : file.Append(cells);
  };
  const std::vector<RowStore::Pinned>& slabs = pins.slabs();
  const size_t at_a_time = std::clamp<size_t>(slabs.size() / 64, 1, kMostSlabsLetGo);
  for (size_t i = 0; i < slabs.size(); ++i) {
    RETURN_IF_ERROR(numbers.ForEach(slabs[i].slab, append));
    if ((i + 1) % at_a_time == 0) pins.LetGo(at_a_time);
  }
  pins.LetGo(slabs.size());
  return cell_bytes;
}

absl::Status AppendItems(const ItemStore::Copy& items, const RowNumbers& numbers, HashedFile& file) {
  for (const Item& item : items) {
    const ItemRecord record = {numbers[item.first_row], item.rows, item.times_sampled, item.priority, item.context};
    RETURN_IF_ERROR(file.Append(BytesOf(record)));
  }
  return absl::OkStatus();
}

// A table with rows of its own, and those over it, as they were at one moment.
absl::Status AppendTables(const Table& table, Table::Snapshot snapshot, HashedFile& file,
                          v1::ReplayCheckpointHeader& header) {
  const RowNumbers numbers = NumberRows(snapshot, table.rows());
  ASSIGN_OR_RETURN(const uint64_t cell_bytes, AppendRows(table, numbers, snapshot.pins, file));
  for (Table::Books& books : snapshot.tables) {
    RETURN_IF_ERROR(AppendItems(books.items, numbers, file));
    v1::TableCheckpoint& saved = *header.add_tables();
    saved.set_rows(books.spec.over().empty() ? numbers.count() : 0);
    saved.set_row_bytes(table.layout().stride());
    saved.set_cell_bytes(books.spec.over().empty() ? cell_bytes : 0);
    saved.set_items(books.items.size());
    saved.mutable_spec()->Swap(&books.spec);
    saved.mutable_state()->Swap(&books.state);
  }
  for (v1::WriterCheckpoint& writer : snapshot.writers) {
    for (v1::LaneCheckpoint& lane : *writer.mutable_lanes()) {
      for (uint64_t& row : *lane.mutable_window()) row = numbers[row];
    }
    header.add_writers()->Swap(&writer);
  }
  return absl::OkStatus();
}

// The first that this checkpoint does not make superfluous. Where there is no journal now, one of before may be left.
uint64_t NextJournalFile(const Shard& shard, const std::string& directory) {
  if (shard.journal() != nullptr) return shard.journal()->NextFile(shard.run_id(), shard.Specs());
  const std::vector<uint64_t> files = Journal::Files(directory);
  return std::max(NewestJournalFile(directory), files.empty() ? 0 : files.back() + 1);
}

void Remove(const CheckpointEntry& entry) {
  std::error_code error;
  std::filesystem::remove(entry.path, error);
  if (error) LogWarning("old checkpoint %s cannot be removed: %s", entry.path, error.message());
}

// Of the checkpoints before and after `committed` the newest stay, and always those two that are named.
void RemoveOlder(const std::string& directory, const std::string& newest, const std::string& committed, uint32_t keep) {
  uint32_t kept = 0;
  for (const CheckpointEntry& entry : ListCheckpoints(directory)) {
    // What comes after it may belong to attempts that have failed, and must not push out what is committed.
    if (entry.name == committed) kept = 0;
    if (++kept <= keep || entry.name == newest || entry.name == committed) continue;
    Remove(entry);
  }
}

// Whatever happens to a table adds to one of these. Not every chunk has a step: an episode's last row has none.
struct Happened {
  uint64_t chunks = 0;
  uint64_t sampled_items = 0;
  uint64_t priority_updates = 0;

  void Add(const v1::TableState& state) {
    sampled_items += state.sampled_items();
    priority_updates += state.priority_updates();
  }
  // v1::WriterInfo, or v1::WriterCheckpoint.
  template <typename Writers>
  void AddChunks(const Writers& writers) {
    for (const auto& writer : writers) chunks += writer.last_sequence();
  }
  bool operator==(const Happened&) const = default;
};

// Whether this life has written the newest file, or begun with it, and nothing has happened since.
bool NewestHasEverything(const Shard& shard, const std::string& directory) {
  const std::vector<CheckpointEntry> entries = ListCheckpoints(directory);
  Happened here;
  for (const Table* const table : shard.Tables()) {
    here.Add(table->State());
    if (table->spec().over().empty()) here.AddChunks(table->Writers());
  }
  if (entries.empty()) return here == Happened();
  const absl::StatusOr<std::unique_ptr<CheckpointReader>> file = CheckpointReader::Open(entries.front().path);
  if (!file.ok()) return false;
  const absl::StatusOr<v1::ReplayCheckpointHeader> header = (*file)->ReadHeader();
  if (!header.ok()) return false;
  // What another life wrote may be damaged further on, and what has happened since be as much as it had.
  if (header->incarnation() != shard.incarnation() && header->name() != shard.restored_from()) return false;
  Happened there;
  for (const v1::TableCheckpoint& table : header->tables()) there.Add(table.state());
  there.AddChunks(header->writers());
  return here == there;
}

// The file, for which `header` has all but the tables and writers. Each table is cut only when its turn has come, so
// that nothing of it is kept from being removed while the others are written; the header, which counts what is there,
// comes last.
absl::StatusOr<v1::CheckpointResponse> WriteFile(const Shard& shard, const std::string& path,
                                                 v1::ReplayCheckpointHeader header) {
  ASSIGN_OR_RETURN(std::unique_ptr<AtomicFile> created, AtomicFile::Create(path));
  HashedFile file(std::move(created));
  RETURN_IF_ERROR(file.Append(kCheckpointMagic));
  RETURN_IF_ERROR(file.Append(BytesOf(kHeaderIsLast)));
  for (Table* const table : shard.Tables()) {
    if (!table->spec().over().empty()) continue;  // it is cut with that one
    // An item of a queue comes at most once, or, where a journal keeps what was acknowledged, at least once.
    Table::Snapshot snapshot = table->TakeSnapshot(/*with_queues=*/shard.journal() != nullptr);
    RETURN_IF_ERROR(RunAtLowPriority([&] { return AppendTables(*table, std::move(snapshot), file, header); }));
  }
  if (header.ByteSizeLong() > std::numeric_limits<int32_t>::max()) {  // more, no message may have
    return absl::ResourceExhaustedError(
        absl::StrFormat("the books of %d writers are too large for a checkpoint", header.writers_size()));
  }
  const std::string last = header.SerializeAsString();
  const uint64_t last_checksum = Checksum(last);
  const uint64_t last_bytes = last.size();
  RETURN_IF_ERROR(file.Append(last));
  RETURN_IF_ERROR(file.Append(BytesOf(last_checksum)));
  RETURN_IF_ERROR(file.Append(BytesOf(last_bytes)));
  const uint64_t checksum = file.checksum();
  RETURN_IF_ERROR(file.Append(BytesOf(checksum)));
  RETURN_IF_ERROR(RunAtLowPriority([&] { return file.Commit(); }));
  v1::CheckpointResponse response;
  for (const v1::TableCheckpoint& table : header.tables()) *response.add_tables() = table.state();
  response.set_shard(shard.number());
  response.set_path(path);
  response.set_bytes(file.bytes());
  response.set_xxh3(file.checksum());
  return response;
}

}  // namespace

absl::StatusOr<v1::CheckpointResponse> WriteCheckpoint(const Shard& shard, const std::string& directory,
                                                       const v1::CheckpointRequest& request) {
  const std::string& name = request.name();
  const bool usable = !name.empty() && std::all_of(name.begin(), name.end(), [](unsigned char c) {
    return std::isalnum(c) || c == '-' || c == '_';
  });
  if (!usable) {
    return absl::InvalidArgumentError(
        absl::StrFormat("expected a checkpoint name of letters, digits, '-' and '_', got \"%s\"", name));
  }
  // It would hide the ones before it.
  if (shard.Tables().empty()) return absl::UnavailableError("the shard has no table yet: there is nothing to save");
  RETURN_IF_ERROR(MakeDirectories(directory));
  uint64_t number = 1;
  for (const CheckpointEntry& entry : ListCheckpoints(directory)) number = std::max(number, entry.number + 1);
  // Before the tables are looked at: what the files before it hold has been committed.
  const uint64_t journal_file = NextJournalFile(shard, directory);
  v1::ReplayCheckpointHeader header;
  header.set_format(kCheckpointFormat);
  header.set_run_id(shard.run_id());
  header.set_name(name);
  header.set_shard(shard.number());
  header.set_shards(shard.shards());
  header.set_incarnation(shard.incarnation());
  header.set_number(number);
  header.set_journal_file(journal_file);
  ASSIGN_OR_RETURN(v1::CheckpointResponse response,
                   WriteFile(shard, CheckpointPath(directory, name), std::move(header)));
  RemoveOlder(directory, name, request.committed(), request.keep());
  uint64_t needed = journal_file;
  for (const CheckpointEntry& entry : ListCheckpoints(directory)) needed = std::min(needed, entry.journal_file);
  Journal::RemoveFilesBefore(directory, needed);
  return response;
}

absl::StatusOr<std::string> WriteLastCheckpoint(const Shard& shard, const std::string& directory) {
  // Without a table nobody has come yet, to whom the newest may belong.
  if (shard.Tables().empty() || NewestHasEverything(shard, directory)) return std::string();
  v1::CheckpointRequest request;
  request.set_name(absl::StrCat(kEndOfALife, shard.incarnation()));
  request.set_keep(std::numeric_limits<uint32_t>::max());
  RETURN_IF_ERROR(WriteCheckpoint(shard, directory, request).status());
  for (const CheckpointEntry& entry : ListCheckpoints(directory)) {
    const bool needed = entry.name == request.name() || entry.name == shard.restored_from();
    if (entry.name.starts_with(kEndOfALife) && !needed) Remove(entry);
  }
  return request.name();
}

uint64_t NewestJournalFile(const std::string& directory) {
  uint64_t newest = 0;
  for (const CheckpointEntry& entry : ListCheckpoints(directory)) newest = std::max(newest, entry.journal_file);
  return newest;
}

uint64_t ClockIncarnation() {
  return static_cast<uint64_t>(std::chrono::system_clock::now().time_since_epoch() / std::chrono::microseconds(1));
}

absl::StatusOr<uint64_t> NextIncarnation(const std::string& directory) {
  RETURN_IF_ERROR(MakeDirectories(directory));
  const std::string path = directory + "/incarnation";
  uint64_t last = 0;
  if (absl::StatusOr<std::string> text = ReadFile(path); text.ok()) {
    if (!absl::SimpleAtoi(*text, &last)) LogWarning("%s holds no number: the clock gives the next one", path);
  } else if (!absl::IsNotFound(text.status())) {
    return text.status();
  }
  // By the clock, so that it is higher than those before also where the directory is another one, or empty again.
  const uint64_t next = std::max(last + 1, ClockIncarnation());
  RETURN_IF_ERROR(WriteFileAtomically(path, absl::StrCat(next, "\n")));
  return next;
}

}  // namespace headrace
