#include "replay/redistribution.h"

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <functional>
#include <memory>
#include <numeric>
#include <span>
#include <utility>
#include <vector>

#include "absl/strings/str_format.h"
#include "common/log.h"
#include "common/status_macros.h"
#include "replay/checkpoint_file.h"

namespace headrace {
namespace {

constexpr uint32_t kNone = RowStore::kNoRow;
constexpr int kMostShards = 1024;  // of a run; as in proto/config.proto

// What a file holds of a table, but for the rows themselves, which are read again when they are wanted. There only
// until it is known which pieces of it this shard takes.
struct SavedTable {
  std::string path;
  uint64_t rows_at = 0;              // in the file
  std::vector<uint32_t> links;       // of each row
  std::vector<uint32_t> cell_bytes;  // of each row
  std::vector<Item> items;           // oldest first
};

// Rows that stay together, because items hold each with the next one.
struct Piece {
  size_t file = 0;  // of the share
  uint32_t rows = 0;
  uint64_t cell_bytes = 0;
  uint32_t items = 0;
  double newest = 0;  // the age of its newest item
};

struct TakenRow {
  uint32_t number;  // in its file
  uint32_t next;    // number in its file of the one that an item holds with it; kNone: there is none
  uint32_t piece;
};

struct TakenItem {
  Item item;   // its first_row is a number in the file
  double age;  // see Age
  uint32_t piece;
};

struct TakenFile {
  std::string path;
  uint64_t rows_at = 0;
  std::vector<TakenRow> rows;  // in the order of the file
};

// What is this shard's of all files. Of a file no more is kept than this, so that the share takes memory, and not what
// all shards have.
struct Share {
  std::vector<TakenFile> files;
  std::vector<Piece> pieces;
  std::vector<TakenItem> items;
};

// 0 for the oldest of a file's items, towards 1 for the newest, so that those of several files can be ordered.
double Age(size_t item, const SavedTable& saved) { return (item + 0.5) / static_cast<double>(saved.items.size()); }

absl::Status Skip(CheckpointReader& file, uint64_t bytes) {
  std::vector<std::byte> buffer(std::min<uint64_t>(bytes, 1 << 20));
  for (; bytes > 0; bytes -= std::min<uint64_t>(bytes, buffer.size())) {
    RETURN_IF_ERROR(file.Read(std::span(buffer).first(std::min<uint64_t>(bytes, buffer.size()))));
  }
  return absl::OkStatus();
}

// Reads a row, and how many bytes its cells have, which come next.
absl::Status ReadRow(CheckpointReader& file, const RowLayout& layout, std::span<std::byte> row, size_t& cell_bytes) {
  RETURN_IF_ERROR(file.Read(row));
  if (!layout.CellsFit(row.data())) return absl::DataLossError("a row's cell has a size that it cannot have");
  cell_bytes = layout.CellBytes(row.data());
  return absl::OkStatus();
}

absl::Status ReadLinks(CheckpointReader& file, const RowLayout& layout, uint64_t rows, SavedTable& saved) {
  if (rows > file.bytes_left() / layout.stride()) return absl::DataLossError("the file is cut off");
  std::vector<std::byte> row(layout.stride());
  saved.links.resize(rows);
  saved.cell_bytes.resize(rows);
  for (uint64_t number = 0; number < rows; ++number) {
    size_t cell_bytes;
    RETURN_IF_ERROR(ReadRow(file, layout, row, cell_bytes));
    RETURN_IF_ERROR(Skip(file, cell_bytes));
    std::memcpy(&saved.links[number], row.data(), sizeof(uint32_t));
    saved.cell_bytes[number] = static_cast<uint32_t>(cell_bytes);
  }
  return absl::OkStatus();
}

// Among those of the file that are taken.
uint32_t PlaceOf(uint32_t row, const TakenFile& file) {
  return static_cast<uint32_t>(std::ranges::lower_bound(file.rows, row, {}, &TakenRow::number) - file.rows.begin());
}

// What somebody names, who may name a pipe, which would be waited for.
absl::StatusOr<std::unique_ptr<CheckpointReader>> OpenSource(const std::string& path) {
  std::error_code error;
  if (std::filesystem::exists(path, error) && !std::filesystem::is_regular_file(path, error)) {
    return absl::NotFoundError(absl::StrFormat("%s is no regular file", path));
  }
  return CheckpointReader::Open(path);
}

// NotFound: what is here is another file.
absl::StatusOr<v1::ReplayCheckpointHeader> ReadHeader(CheckpointReader& file, const v1::ShardFile& source,
                                                      const std::string& name, const std::string& run_id) {
  ASSIGN_OR_RETURN(v1::ReplayCheckpointHeader header, file.ReadHeader());
  if (header.run_id() == run_id && header.name() == name && header.shard() == source.shard()) return header;
  return absl::NotFoundError(
      absl::StrFormat("expected checkpoint %s of run %s by shard %d, got %s of run %s by shard %d", name, run_id,
                      source.shard(), header.name(), header.run_id(), header.shard()));
}

absl::StatusOr<SavedTable> ReadTable(const v1::ShardFile& source, const v1::Redistribution& redistribution,
                                     const std::string& run_id, const Table& table) {
  ASSIGN_OR_RETURN(const std::unique_ptr<CheckpointReader> file, OpenSource(source.path()));
  ASSIGN_OR_RETURN(const v1::ReplayCheckpointHeader header, ReadHeader(*file, source, redistribution.name(), run_id));
  SavedTable saved;
  saved.path = source.path();
  for (const v1::TableCheckpoint& books : header.tables()) {
    if (books.spec().name() != table.spec().name()) {
      RETURN_IF_ERROR(Skip(
          *file, books.rows() * books.row_bytes() + books.cell_bytes() + books.items() * ItemBytes(header.format())));
      continue;
    }
    if (books.row_bytes() != table.layout().stride()) {
      return absl::DataLossError(
          absl::StrFormat("expected rows of %d bytes, got %d", table.layout().stride(), books.row_bytes()));
    }
    saved.rows_at = file->position();
    RETURN_IF_ERROR(ReadLinks(*file, table.layout(), books.rows(), saved));
    ASSIGN_OR_RETURN(saved.items, ReadItems(header.format(), books, *file));
  }
  RETURN_IF_ERROR(file->Finish());
  return saved;
}

// For each row the one that an item holds before it, and whether an item holds the row at all.
struct Held {
  std::vector<uint32_t> previous;  // kNone: there is none
  std::vector<bool> held;
  std::vector<bool> joined;  // with the next one
};

absl::StatusOr<Held> FindHeld(const SavedTable& saved) {
  const auto torn = [] { return absl::DataLossError("an item's rows do not follow each other"); };
  const size_t rows = saved.links.size();
  Held found = {std::vector<uint32_t>(rows, kNone), std::vector<bool>(rows), std::vector<bool>(rows)};
  for (const Item& item : saved.items) {
    uint32_t row = item.first_row;
    if (item.rows == 0) return torn();
    for (uint32_t left = item.rows_held(); left > 0; --left) {
      if (row >= rows) return torn();
      found.held[row] = true;
      if (left == 1) break;
      const uint32_t next = saved.links[row];
      if (next >= rows || (found.previous[next] != kNone && found.previous[next] != row)) return torn();
      found.previous[next] = row;
      found.joined[row] = true;
      row = next;
    }
  }
  return found;
}

// Adds those of a file's pieces whose turn is this reader's.
absl::Status TakePieces(const SavedTable& saved, uint32_t shard_of_file, size_t turn, size_t readers, Share& share) {
  ASSIGN_OR_RETURN(const Held found, FindHeld(saved));
  constexpr uint32_t kOthers = kNone - 1;  // of a piece whose turn is another's
  std::vector<uint32_t> piece_of(saved.links.size(), kNone);
  const size_t pieces_before = share.pieces.size();
  size_t number = 0;
  for (uint32_t first = 0; first < saved.links.size(); ++first) {
    if (!found.held[first] || found.previous[first] != kNone) continue;
    const bool is_mine = (shard_of_file + number++) % readers == turn;
    Piece piece{.file = share.files.size()};
    for (uint32_t row = first;; row = saved.links[row]) {
      piece_of[row] = is_mine ? static_cast<uint32_t>(share.pieces.size()) : kOthers;
      ++piece.rows;
      piece.cell_bytes += saved.cell_bytes[row];
      if (!found.joined[row]) break;
    }
    if (is_mine) share.pieces.push_back(piece);
  }
  for (size_t i = 0; i < saved.items.size(); ++i) {
    const uint32_t piece = piece_of[saved.items[i].first_row];
    if (piece == kNone) {
      share.pieces.resize(pieces_before);
      return absl::DataLossError("an item's rows follow each other in a circle");
    }
    if (piece == kOthers) continue;
    ++share.pieces[piece].items;
    share.pieces[piece].newest = Age(i, saved);
  }
  for (size_t i = 0; i < saved.items.size(); ++i) {
    const uint32_t piece = piece_of[saved.items[i].first_row];
    if (piece != kOthers) share.items.push_back({saved.items[i], Age(i, saved), piece});
  }
  TakenFile& file = share.files.emplace_back(TakenFile{saved.path, saved.rows_at, {}});
  for (uint32_t row = 0; row < saved.links.size(); ++row) {
    if (piece_of[row] >= kOthers) continue;
    file.rows.push_back({row, found.joined[row] ? saved.links[row] : kNone, piece_of[row]});
  }
  return absl::OkStatus();
}

// Leaves out the oldest pieces that there is no room for.
void LeaveOutOldest(const Table& table, Share& share) {
  std::vector<uint32_t> newest_first(share.pieces.size());
  std::iota(newest_first.begin(), newest_first.end(), 0);
  std::ranges::sort(newest_first, std::ranges::greater(), [&](uint32_t piece) { return share.pieces[piece].newest; });
  std::vector<bool> fits(share.pieces.size());
  const uint64_t max_items = table.spec().max_items();
  const uint64_t most_items =
      max_items > 0 ? std::min<uint64_t>(max_items, table.item_capacity()) : table.item_capacity();
  uint64_t rows = 0;
  uint64_t cell_bytes = 0;
  uint64_t items = 0;
  size_t fitting = 0;
  for (; fitting < newest_first.size(); ++fitting) {
    const Piece& piece = share.pieces[newest_first[fitting]];
    rows += piece.rows;
    cell_bytes += piece.cell_bytes;
    items += piece.items;
    if (!table.rows().CanHold(rows, cell_bytes) || items > most_items) break;
    fits[newest_first[fitting]] = true;
  }
  if (fitting == newest_first.size()) return;
  LogWarning("there is no room for the %d oldest of %d pieces of the checkpoint: they are left out",
             newest_first.size() - fitting, newest_first.size());
  const auto is_left_out = [&](const auto& taken) { return !fits[taken.piece]; };
  for (TakenFile& file : share.files) std::erase_if(file.rows, is_left_out);
  std::erase_if(share.items, is_left_out);
}

// The rows of several files that are taken, one after the other as a checkpoint of their own would have them.
class TakenRows {
 public:
  TakenRows(std::span<const TakenFile> files, const RowLayout& layout) : files_(files), layout_(layout) {}

  absl::Status Read(std::span<std::byte> piece) {
    while (!piece.empty()) {
      if (left_.empty()) RETURN_IF_ERROR(Next());
      const size_t taken = std::min(left_.size(), piece.size());
      std::memcpy(piece.data(), left_.data(), taken);
      piece = piece.subspan(taken);
      left_ = left_.subspan(taken);
    }
    return absl::OkStatus();
  }

 private:
  absl::Status Next() {
    while (taken_ == files_[file_].rows.size()) {
      reader_.reset();
      rows_before_ += static_cast<uint32_t>(taken_);
      taken_ = 0;
      number_ = 0;
      ++file_;
    }
    const TakenFile& file = files_[file_];
    if (reader_ == nullptr) {
      ASSIGN_OR_RETURN(reader_, CheckpointReader::Open(file.path));
      RETURN_IF_ERROR(Skip(*reader_, file.rows_at));
    }
    const TakenRow& taken = file.rows[taken_++];
    do {
      RETURN_IF_ERROR(ReadNextRow());
    } while (number_++ < taken.number);
    const uint32_t next = NumberOf(taken.next, file);
    std::memcpy(row_.data(), &next, sizeof(next));
    left_ = row_;
    return absl::OkStatus();
  }

  absl::Status ReadNextRow() {
    row_.resize(layout_.stride());
    size_t cell_bytes;
    RETURN_IF_ERROR(ReadRow(*reader_, layout_, row_, cell_bytes));
    row_.resize(layout_.stride() + cell_bytes);
    return reader_->Read(std::span(row_).subspan(layout_.stride()));
  }

  // Among all that are taken, of a row of this file.
  uint32_t NumberOf(uint32_t row, const TakenFile& file) const {
    return row == kNone ? kNone : rows_before_ + PlaceOf(row, file);
  }

  const std::span<const TakenFile> files_;
  const RowLayout& layout_;
  size_t file_ = 0;
  uint32_t rows_before_ = 0;  // that are taken, of the files before
  size_t taken_ = 0;          // of this file, so far
  uint32_t number_ = 0;       // of the file's next row
  std::unique_ptr<CheckpointReader> reader_;
  std::vector<std::byte> row_;              // with its cells
  std::span<const std::byte> left_ = row_;  // of the row
};

// Oldest first, with the numbers that their rows have among all that are taken.
std::vector<Item> TakenItems(Share& share) {
  std::vector<uint32_t> rows_before;
  uint32_t rows = 0;
  for (const TakenFile& file : share.files) {
    rows_before.push_back(rows);
    rows += static_cast<uint32_t>(file.rows.size());
  }
  std::ranges::stable_sort(share.items, {}, &TakenItem::age);
  std::vector<Item> items;
  items.reserve(share.items.size());
  for (const TakenItem& taken : share.items) {
    const size_t file = share.pieces[taken.piece].file;
    items.push_back(taken.item);
    items.back().first_row = rows_before[file] + PlaceOf(taken.item.first_row, share.files[file]);
  }
  return items;
}

}  // namespace

v1::Redistribution FindFiles(v1::Redistribution redistribution, const std::string& checkpoint_directory) {
  std::filesystem::path own = std::filesystem::path(checkpoint_directory).lexically_normal();
  if (!own.has_filename()) own = own.parent_path();  // it was given with a slash at its end
  for (v1::ShardFile& file : *redistribution.mutable_files()) {
    const std::filesystem::path written = file.path();
    const std::filesystem::path here = own.parent_path() / written.parent_path().filename() / written.filename();
    std::error_code not_there;
    if (std::filesystem::exists(here, not_there)) file.set_path(here.string());
  }
  return redistribution;
}

absl::Status CheckRedistribution(const v1::Redistribution& redistribution) {
  int most = redistribution.files_size();
  for (const v1::ShardFile& file : redistribution.files()) most = std::max(most, file.readers_size());
  if (most <= kMostShards) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrFormat("expected files of, and readers among, at most %d shards, got %d", kMostShards, most));
}

std::vector<uint32_t> ReadableFiles(const v1::Redistribution& redistribution, const std::string& run_id) {
  std::vector<uint32_t> readable;
  for (int i = 0; i < redistribution.files_size(); ++i) {
    const v1::ShardFile& source = redistribution.files(i);
    absl::StatusOr<std::unique_ptr<CheckpointReader>> file = OpenSource(source.path());
    absl::Status status = file.status();
    if (status.ok()) status = ReadHeader(**file, source, redistribution.name(), run_id).status();
    if (status.ok()) {
      readable.push_back(static_cast<uint32_t>(i));
    } else {
      LogWarning("what shard %d held in checkpoint %s cannot be read here: %s", source.shard(), redistribution.name(),
                 status.message());
    }
  }
  return readable;
}

absl::Status TakeShare(const v1::Redistribution& redistribution, const std::string& run_id, uint32_t shard,
                       Table& table) {
  if (!table.spec().over().empty()) {
    return absl::UnimplementedError(absl::StrFormat(
        "its items are over rows of table \"%s\", which of those are here is not known any more", table.spec().over()));
  }
  Share share;
  v1::TableState state = redistribution.state();
  for (const v1::ShardFile& source : redistribution.files()) {
    const auto reader = std::ranges::find(source.readers(), shard);
    if (reader == source.readers().end()) continue;
    const auto readers = static_cast<uint64_t>(source.readers_size());
    const auto turn = static_cast<uint64_t>(reader - source.readers().begin());
    const absl::StatusOr<SavedTable> saved = ReadTable(source, redistribution, run_id, table);
    absl::Status taken = saved.status();
    if (taken.ok()) taken = TakePieces(*saved, source.shard(), turn, readers, share);
    if (taken.ok()) continue;
    if (!absl::IsDataLoss(taken) && !absl::IsNotFound(taken)) return taken;
    // As its other readers find it, too. Each of them leaves out a part of its steps, which the learner then counts as
    // lost.
    LogError("what shard %d held of table \"%s\" is lost: %s", source.shard(), table.spec().name(), taken.ToString());
    const uint64_t steps = source.inserted_steps();
    const uint64_t part = steps * (turn + 1) / readers - steps * turn / readers;
    state.set_inserted_steps(state.inserted_steps() - std::min(state.inserted_steps(), part));
  }
  LeaveOutOldest(table, share);
  size_t count = 0;
  for (const TakenFile& file : share.files) count += file.rows.size();
  TakenRows source(share.files, table.layout());
  ASSIGN_OR_RETURN(const std::vector<RowStore::Address> rows,
                   table.RestoreRows(count, [&](std::span<std::byte> piece) { return source.Read(piece); }));
  const std::vector<Item> items = TakenItems(share);
  LogInfo("%d items in %d rows taken from checkpoint %s of %d shards", items.size(), count, redistribution.name(),
          redistribution.files_size());
  RETURN_IF_ERROR(table.RestoreBooks(state, {}, items, rows));
  table.ReleaseRestored(rows);
  table.BeginLife();
  return absl::OkStatus();
}

}  // namespace headrace
