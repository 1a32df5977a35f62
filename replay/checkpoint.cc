#include "replay/checkpoint.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <chrono>
#include <cstring>
#include <filesystem>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/checksum.h"
#include "common/file.h"
#include "common/log.h"
#include "common/protocol.h"
#include "common/status_macros.h"
#include "proto/checkpoint.pb.h"

namespace headrace {
namespace {

constexpr char kMagic[] = "HEADRACE REPLAY\n";  // 16 bytes
constexpr size_t kMagicBytes = sizeof(kMagic) - 1;
constexpr uint32_t kFormat = 1;
constexpr char kSuffix[] = ".replay";
constexpr char kTemporarySuffix[] = ".tmp";

struct ItemRecord {
  uint32_t first_row;  // number of the row in this file
  uint16_t rows;
  uint16_t times_sampled;
};
static_assert(sizeof(ItemRecord) == 8);

std::string_view Bytes(const void* data, size_t size) { return {static_cast<const char*>(data), size}; }

// Rows that a snapshot refers to, numbered in the order of their addresses.
class RowNumbers {
 public:
  explicit RowNumbers(const Table::Snapshot& snapshot, const RowStore& rows)
      : number_(rows.address_end(), kAbsent), linked_(rows.address_end()) {
    for (const Item& item : snapshot.items) {
      RowStore::Address row = item.first_row;
      for (uint16_t left = item.rows; left > 0; --left) {
        number_[row] = 0;
        if (left == 1) break;
        linked_[row] = true;
        row = rows.Next(row);
      }
    }
    for (const v1::WriterCheckpoint& writer : snapshot.writers) {
      for (const v1::LaneCheckpoint& lane : writer.lanes()) {
        // A lane goes on from its newest row, whose link may be written at this moment.
        for (int i = 0; i < lane.window_size(); ++i) {
          number_[lane.window(i)] = 0;
          if (i + 1 < lane.window_size()) linked_[lane.window(i)] = true;
        }
      }
    }
    for (uint32_t& number : number_) {
      if (number != kAbsent) number = count_++;
    }
  }

  static constexpr uint32_t kAbsent = RowStore::kNoRow;
  uint32_t count() const { return count_; }
  size_t address_end() const { return number_.size(); }
  uint32_t operator[](uint64_t address) const { return number_[address]; }
  bool linked(uint64_t address) const { return linked_[address]; }

 private:
  std::vector<uint32_t> number_;
  std::vector<bool> linked_;
  uint32_t count_ = 0;
};

// A file that is complete or not there: written under another name, then renamed.
class CheckpointFile {
 public:
  explicit CheckpointFile(std::string path) : path_(std::move(path)), temporary_(path_ + kTemporarySuffix) {}
  ~CheckpointFile() {
    if (file_ < 0) return;
    close(file_);
    unlink(temporary_.c_str());
  }

  absl::Status Open() {
    file_ = open(temporary_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    return file_ < 0 ? ErrnoStatus("create", temporary_) : absl::OkStatus();
  }

  absl::Status Append(std::string_view bytes) {
    checksum_.Update(bytes);
    bytes_ += bytes.size();
    buffer_.append(bytes);
    return buffer_.size() < kBufferBytes ? absl::OkStatus() : Flush();
  }

  absl::Status Commit() {
    const uint64_t checksum = checksum_.value();
    RETURN_IF_ERROR(Append(Bytes(&checksum, sizeof(checksum))));
    RETURN_IF_ERROR(Flush());
    if (fsync(file_) != 0) return ErrnoStatus("sync", temporary_);
    close(file_);
    file_ = -1;
    if (rename(temporary_.c_str(), path_.c_str()) != 0) {
      const absl::Status status = ErrnoStatus("rename", temporary_);
      unlink(temporary_.c_str());
      return status;
    }
    return SyncDirectory();
  }

  uint64_t bytes() const { return bytes_; }
  // Of everything so far; after Commit of the whole file.
  uint64_t checksum() const { return checksum_.value(); }

 private:
  static constexpr size_t kBufferBytes = 4 << 20;

  // Without it the name may be lost with the power, although the contents are not.
  absl::Status SyncDirectory() {
    const std::string directory = std::filesystem::path(path_).parent_path().string();
    const int descriptor = open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (descriptor < 0) return ErrnoStatus("open", directory);
    const bool synced = fsync(descriptor) == 0 || errno == EINVAL;  // some file systems cannot sync directories
    const absl::Status status = synced ? absl::OkStatus() : ErrnoStatus("sync", directory);
    close(descriptor);
    return status;
  }

  absl::Status Flush() {
    for (size_t done = 0; done < buffer_.size();) {
      const ssize_t written = write(file_, buffer_.data() + done, buffer_.size() - done);
      if (written < 0 && errno == EINTR) continue;
      if (written < 0) return ErrnoStatus("write", temporary_);
      done += static_cast<size_t>(written);
    }
    buffer_.clear();
    return absl::OkStatus();
  }

  const std::string path_;
  const std::string temporary_;
  int file_ = -1;
  std::string buffer_;
  Checksummer checksum_;
  uint64_t bytes_ = 0;
};

struct TableCut {
  const Table* table;
  Table::Snapshot snapshot;
  std::unique_ptr<RowNumbers> numbers;
};

v1::ReplayCheckpointHeader MakeHeader(const Shard& shard, const std::string& name, std::vector<TableCut>& cuts) {
  v1::ReplayCheckpointHeader header;
  header.set_format(kFormat);
  header.set_run_id(shard.run_id());
  header.set_name(name);
  header.set_shard(shard.number());
  header.set_incarnation(shard.incarnation());
  for (TableCut& cut : cuts) {
    v1::TableCheckpoint& table = *header.add_tables();
    *table.mutable_spec() = cut.snapshot.spec;
    *table.mutable_state() = cut.snapshot.state;
    table.set_rows(cut.numbers->count());
    table.set_row_bytes(cut.table->layout().stride());
    table.set_items(cut.snapshot.items.size());
    for (v1::WriterCheckpoint& writer : cut.snapshot.writers) {
      for (v1::LaneCheckpoint& lane : *writer.mutable_lanes()) {
        for (uint64_t& row : *lane.mutable_window()) row = (*cut.numbers)[row];
      }
      header.add_writers()->Swap(&writer);
    }
  }
  return header;
}

absl::Status AppendTable(const TableCut& cut, CheckpointFile& file) {
  const size_t stride = cut.table->layout().stride();
  const RowStore& rows = cut.table->rows();
  std::string bytes(stride, '\0');
  for (RowStore::Address row = 0; row < cut.numbers->address_end(); ++row) {
    if ((*cut.numbers)[row] == RowNumbers::kAbsent) continue;
    const uint32_t next = cut.numbers->linked(row) ? (*cut.numbers)[rows.Next(row)] : RowStore::kNoRow;
    std::memcpy(bytes.data(), &next, sizeof(next));
    std::memcpy(bytes.data() + sizeof(next), rows.Row(row) + sizeof(next), stride - sizeof(next));
    RETURN_IF_ERROR(file.Append(bytes));
  }
  for (const Item& item : cut.snapshot.items) {
    const ItemRecord record = {(*cut.numbers)[item.first_row], item.rows, item.times_sampled};
    RETURN_IF_ERROR(file.Append(Bytes(&record, sizeof(record))));
  }
  return absl::OkStatus();
}

// Checkpoint files, newest first.
std::vector<std::filesystem::path> CheckpointFiles(const std::string& directory) {
  std::vector<std::pair<std::filesystem::file_time_type, std::filesystem::path>> files;
  std::error_code error;
  for (std::filesystem::directory_iterator entry(directory, error), end; !error && entry != end;
       entry.increment(error)) {
    if (entry->path().extension() != kSuffix) continue;
    std::error_code gone;
    files.emplace_back(entry->last_write_time(gone), entry->path());
  }
  std::sort(files.rbegin(), files.rend());
  std::vector<std::filesystem::path> paths;
  for (auto& [time, path] : files) paths.push_back(std::move(path));
  return paths;
}

// What a life that ended while it wrote has left may be large, and nobody reads it.
void RemoveUnfinished(const std::string& directory) {
  std::error_code error;
  for (std::filesystem::directory_iterator entry(directory, error), end; !error && entry != end;
       entry.increment(error)) {
    std::error_code ignored;
    if (entry->path().string().ends_with(absl::StrCat(kSuffix, kTemporarySuffix))) {
      std::filesystem::remove(entry->path(), ignored);
    }
  }
}

// Removes all but `keep` files, of which `newest` is one. (Times of files are coarse: another may seem as new.)
void RemoveOlder(const std::string& directory, const std::string& newest, uint32_t keep) {
  uint32_t kept = 1;
  for (const std::filesystem::path& path : CheckpointFiles(directory)) {
    if (path == newest || ++kept <= keep) continue;
    std::error_code error;
    std::filesystem::remove(path, error);
    if (error) LogWarning("old checkpoint %s cannot be removed: %s", path.string(), error.message());
  }
}

// Hands out a file's bytes piece by piece. DataLoss: it has fewer.
class Pieces {
 public:
  explicit Pieces(std::string_view bytes) : bytes_(bytes) {}
  absl::StatusOr<std::string_view> Take(uint64_t size) {
    if (size > bytes_.size()) return absl::DataLossError("the file is cut off");
    const std::string_view piece = bytes_.substr(0, size);
    bytes_.remove_prefix(size);
    return piece;
  }
  bool empty() const { return bytes_.empty(); }

 private:
  std::string_view bytes_;
};

absl::Status RestoreTable(const v1::TableCheckpoint& saved, const v1::ReplayCheckpointHeader& header, Pieces& pieces,
                          Shard& shard) {
  ASSIGN_OR_RETURN(Table * table,
                   shard.CreateTable(MakePeer(header.run_id(), "checkpoint " + header.name()), saved.spec()));
  if (saved.row_bytes() != table->layout().stride() || saved.rows() > UINT32_MAX || saved.items() > UINT32_MAX) {
    return absl::DataLossError("the sizes of its rows do not fit its signature");
  }
  ASSIGN_OR_RETURN(const std::string_view rows, pieces.Take(saved.rows() * saved.row_bytes()));
  ASSIGN_OR_RETURN(const std::string_view records, pieces.Take(saved.items() * sizeof(ItemRecord)));
  std::vector<Item> items(saved.items());
  for (size_t i = 0; i < items.size(); ++i) {
    ItemRecord record;
    std::memcpy(&record, records.data() + i * sizeof(record), sizeof(record));
    items[i] = {.first_row = record.first_row, .rows = record.rows, .times_sampled = record.times_sampled};
  }
  std::vector<v1::WriterCheckpoint> writers;
  for (const v1::WriterCheckpoint& writer : header.writers()) {
    if (writer.table() == saved.spec().name()) writers.push_back(writer);
  }
  return table->Restore(saved.state(), writers, items, std::as_bytes(std::span(rows.data(), rows.size())));
}

absl::StatusOr<v1::ReplayCheckpointHeader> ReadHeader(Pieces& pieces) {
  ASSIGN_OR_RETURN(const std::string_view magic, pieces.Take(kMagicBytes));
  if (magic != kMagic) return absl::DataLossError("it is no replay checkpoint");
  uint64_t header_bytes;
  ASSIGN_OR_RETURN(const std::string_view length, pieces.Take(sizeof(header_bytes)));
  std::memcpy(&header_bytes, length.data(), sizeof(header_bytes));
  ASSIGN_OR_RETURN(const std::string_view header_text, pieces.Take(header_bytes));
  v1::ReplayCheckpointHeader header;
  if (!header.ParseFromArray(header_text.data(), static_cast<int>(header_text.size()))) {
    return absl::DataLossError("its header cannot be read");
  }
  if (header.format() != kFormat) {
    return absl::DataLossError(absl::StrFormat("it has format %d, this program reads %d", header.format(), kFormat));
  }
  return header;
}

absl::StatusOr<std::string> RestoreFile(const std::string& path, Shard& shard) {
  ASSIGN_OR_RETURN(const std::string bytes, ReadFile(path));
  if (bytes.size() < sizeof(uint64_t)) return absl::DataLossError("the file is cut off");
  const std::string_view contents = std::string_view(bytes).substr(0, bytes.size() - sizeof(uint64_t));
  uint64_t checksum;
  std::memcpy(&checksum, bytes.data() + contents.size(), sizeof(checksum));
  if (checksum != Checksum(contents)) return absl::DataLossError("its checksum does not fit its contents");
  Pieces pieces(contents);
  ASSIGN_OR_RETURN(const v1::ReplayCheckpointHeader header, ReadHeader(pieces));
  for (const v1::TableCheckpoint& table : header.tables()) {
    RETURN_IF_ERROR(RestoreTable(table, header, pieces, shard));
  }
  if (!pieces.empty()) return absl::DataLossError("more follows than its header says");
  shard.SetRestored(header.run_id(), header.name());
  return header.name();
}

}  // namespace

absl::StatusOr<v1::CheckpointResponse> WriteCheckpoint(const Shard& shard, const std::string& directory,
                                                       const std::string& name, uint32_t keep) {
  const bool usable = !name.empty() && std::all_of(name.begin(), name.end(), [](unsigned char c) {
    return std::isalnum(c) || c == '-' || c == '_';
  });
  if (!usable) {
    return absl::InvalidArgumentError(
        absl::StrFormat("expected a checkpoint name of letters, digits, '-' and '_', got \"%s\"", name));
  }
  RETURN_IF_ERROR(MakeDirectories(directory));
  std::vector<TableCut> cuts;
  for (Table* const table : shard.Tables()) {
    TableCut& cut = cuts.emplace_back(TableCut{table, table->TakeSnapshot(), nullptr});
    cut.numbers = std::make_unique<RowNumbers>(cut.snapshot, table->rows());
  }
  const std::string header = MakeHeader(shard, name, cuts).SerializeAsString();
  const uint64_t header_bytes = header.size();
  const std::string path = absl::StrCat(directory, "/", name, kSuffix);
  CheckpointFile file(path);
  RETURN_IF_ERROR(file.Open());
  RETURN_IF_ERROR(file.Append({kMagic, kMagicBytes}));
  RETURN_IF_ERROR(file.Append(Bytes(&header_bytes, sizeof(header_bytes))));
  RETURN_IF_ERROR(file.Append(header));
  for (const TableCut& cut : cuts) RETURN_IF_ERROR(AppendTable(cut, file));
  RETURN_IF_ERROR(file.Commit());

  RemoveOlder(directory, path, keep);
  v1::CheckpointResponse response;
  response.set_shard(shard.number());
  response.set_path(path);
  response.set_bytes(file.bytes());
  response.set_xxh3(file.checksum());
  for (const TableCut& cut : cuts) *response.add_tables() = cut.snapshot.state;
  return response;
}

absl::StatusOr<std::string> RestoreNewest(const std::string& directory, Shard& shard) {
  RemoveUnfinished(directory);
  for (const std::filesystem::path& path : CheckpointFiles(directory)) {
    absl::StatusOr<std::string> name = RestoreFile(path.string(), shard);
    if (name.ok()) return name;
    LogError("checkpoint %s is not usable (%s); trying the one before it", path.string(), name.status().ToString());
    shard.Clear();
  }
  return std::string();
}

absl::StatusOr<uint64_t> NextIncarnation(const std::string& directory) {
  RETURN_IF_ERROR(MakeDirectories(directory));
  const std::string path = directory + "/incarnation";
  uint64_t last = 0;
  if (absl::StatusOr<std::string> text = ReadFile(path); text.ok()) {
    if (!absl::SimpleAtoi(*text, &last)) return absl::DataLossError(absl::StrCat(path, " holds no number"));
  } else if (!absl::IsNotFound(text.status())) {
    return text.status();
  }
  RETURN_IF_ERROR(WriteFileAtomically(path, absl::StrCat(last + 1, "\n")));
  return last + 1;
}

}  // namespace headrace
