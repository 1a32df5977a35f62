#include "replay/redistribution.h"

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <memory>
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

// Rows that stay together, because items hold each with the next one.
struct Piece {
  uint32_t first_row = 0;
  uint32_t rows = 0;
  uint64_t cell_bytes = 0;
  std::vector<uint32_t> items;  // oldest first
};

// What a file holds of a table. The rows themselves are read again when they are wanted.
struct SavedTable {
  std::string path;
  uint32_t shard = 0;
  size_t readers = 0;
  size_t turn = 0;  // of this one among them
  v1::TableCheckpoint books;
  uint64_t bytes_before_rows = 0;
  std::vector<uint32_t> links;       // of each row
  std::vector<uint32_t> cell_bytes;  // of each row
  std::vector<Item> items;           // oldest first

  std::vector<bool> joined;  // an item holds the row and the next one
  std::vector<Piece> pieces;
  std::vector<uint32_t> new_numbers;  // of the rows that are taken; kNone: it is not

  // 0 for the oldest of its items, towards 1 for the newest, so that those of several files can be ordered.
  double Age(uint32_t item) const { return (item + 0.5) / static_cast<double>(items.size()); }
};

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

absl::Status ReadLinks(CheckpointReader& file, const RowLayout& layout, SavedTable& saved) {
  const uint64_t rows = saved.books.rows();
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
  ASSIGN_OR_RETURN(const std::unique_ptr<CheckpointReader> file, CheckpointReader::Open(source.path()));
  const uint64_t all_bytes = file->bytes_left();
  ASSIGN_OR_RETURN(const v1::ReplayCheckpointHeader header, ReadHeader(*file, source, redistribution.name(), run_id));
  SavedTable saved;
  saved.path = source.path();
  saved.shard = source.shard();
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
    saved.books = books;
    saved.bytes_before_rows = all_bytes - file->bytes_left();
    RETURN_IF_ERROR(ReadLinks(*file, table.layout(), saved));
    ASSIGN_OR_RETURN(saved.items, ReadItems(header.format(), books, *file));
  }
  RETURN_IF_ERROR(file->Finish());
  return saved;
}

absl::Status FindPieces(SavedTable& saved) {
  const auto torn = [] { return absl::DataLossError("an item's rows do not follow each other"); };
  saved.joined.assign(saved.links.size(), false);
  std::vector<uint32_t> previous(saved.links.size(), kNone);
  std::vector<bool> held(saved.links.size(), false);
  for (const Item& item : saved.items) {
    uint32_t row = item.first_row;
    if (item.rows == 0) return torn();
    for (uint32_t left = item.rows_held(); left > 0; --left) {
      if (row >= saved.links.size()) return torn();
      held[row] = true;
      if (left == 1) break;
      const uint32_t next = saved.links[row];
      if (next >= saved.links.size() || (previous[next] != kNone && previous[next] != row)) return torn();
      previous[next] = row;
      saved.joined[row] = true;
      row = next;
    }
  }
  std::vector<uint32_t> piece_of(saved.links.size(), kNone);
  for (uint32_t first = 0; first < saved.links.size(); ++first) {
    if (!held[first] || previous[first] != kNone) continue;
    Piece piece{.first_row = first};
    for (uint32_t row = first;; row = saved.links[row]) {
      piece_of[row] = static_cast<uint32_t>(saved.pieces.size());
      ++piece.rows;
      piece.cell_bytes += saved.cell_bytes[row];
      if (!saved.joined[row]) break;
    }
    saved.pieces.push_back(std::move(piece));
  }
  for (uint32_t i = 0; i < saved.items.size(); ++i) {
    const uint32_t piece = piece_of[saved.items[i].first_row];
    if (piece == kNone) return torn();  // they follow each other in a circle
    saved.pieces[piece].items.push_back(i);
  }
  return absl::OkStatus();
}

struct Candidate {
  SavedTable* saved;
  const Piece* piece;

  double age() const { return saved->Age(piece->items.back()); }
};

// Those of the candidates, newest first, that there is room for.
void LeaveOutOldest(const Table& table, std::vector<Candidate>& candidates) {
  std::sort(candidates.begin(), candidates.end(),
            [](const Candidate& a, const Candidate& b) { return a.age() > b.age(); });
  uint64_t rows = 0;
  uint64_t cell_bytes = 0;
  uint64_t items = 0;
  size_t fitting = 0;
  for (; fitting < candidates.size(); ++fitting) {
    rows += candidates[fitting].piece->rows;
    cell_bytes += candidates[fitting].piece->cell_bytes;
    items += candidates[fitting].piece->items.size();
    if (!table.rows().CanHold(rows, cell_bytes) || (table.spec().max_items() > 0 && items > table.spec().max_items()))
      break;
  }
  if (fitting < candidates.size()) {
    LogWarning("there is no room for the %d oldest of %d pieces of the checkpoint: they are left out",
               candidates.size() - fitting, candidates.size());
  }
  candidates.resize(fitting);
}

// The rows of several files that are taken, one after the other as a checkpoint of their own would have them.
class TakenRows {
 public:
  TakenRows(std::span<const SavedTable> files, const RowLayout& layout) : files_(files), layout_(layout) {}

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
    while (true) {
      const SavedTable& saved = files_[file_];
      if (number_ == saved.links.size()) {
        reader_.reset();
        number_ = 0;
        ++file_;
        continue;
      }
      if (reader_ == nullptr) {
        ASSIGN_OR_RETURN(reader_, CheckpointReader::Open(saved.path));
        RETURN_IF_ERROR(Skip(*reader_, saved.bytes_before_rows));
      }
      row_.resize(layout_.stride());
      size_t cell_bytes;
      RETURN_IF_ERROR(ReadRow(*reader_, layout_, row_, cell_bytes));
      row_.resize(layout_.stride() + cell_bytes);
      RETURN_IF_ERROR(reader_->Read(std::span(row_).subspan(layout_.stride())));
      const uint32_t number = number_++;
      if (saved.new_numbers[number] == kNone) continue;
      const uint32_t next = saved.joined[number] ? saved.new_numbers[saved.links[number]] : kNone;
      std::memcpy(row_.data(), &next, sizeof(next));
      left_ = row_;
      return absl::OkStatus();
    }
  }

  const std::span<const SavedTable> files_;
  const RowLayout& layout_;
  size_t file_ = 0;
  uint32_t number_ = 0;  // of the file's next row
  std::unique_ptr<CheckpointReader> reader_;
  std::vector<std::byte> row_;              // with its cells
  std::span<const std::byte> left_ = row_;  // of the row
};

uint32_t NumberTakenRows(std::span<const Candidate> taken, std::span<SavedTable> files) {
  for (SavedTable& saved : files) saved.new_numbers.assign(saved.links.size(), kNone);
  for (const Candidate& candidate : taken) {
    uint32_t row = candidate.piece->first_row;
    for (uint32_t left = candidate.piece->rows; left > 0; --left, row = candidate.saved->links[row]) {
      candidate.saved->new_numbers[row] = 0;
    }
  }
  uint32_t count = 0;
  for (SavedTable& saved : files) {
    for (uint32_t& number : saved.new_numbers) {
      if (number != kNone) number = count++;
    }
  }
  return count;
}

std::vector<Item> TakenItems(std::span<const Candidate> taken) {
  std::vector<std::pair<double, Item>> aged;
  for (const Candidate& candidate : taken) {
    for (const uint32_t number : candidate.piece->items) {
      Item item = candidate.saved->items[number];
      item.first_row = candidate.saved->new_numbers[item.first_row];
      aged.push_back({candidate.saved->Age(number), item});
    }
  }
  std::stable_sort(aged.begin(), aged.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  std::vector<Item> items;
  items.reserve(aged.size());
  for (const auto& [age, item] : aged) items.push_back(item);
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

std::vector<uint32_t> ReadableFiles(const v1::Redistribution& redistribution, const std::string& run_id) {
  std::vector<uint32_t> readable;
  for (int i = 0; i < redistribution.files_size(); ++i) {
    const v1::ShardFile& source = redistribution.files(i);
    absl::StatusOr<std::unique_ptr<CheckpointReader>> file = CheckpointReader::Open(source.path());
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
  std::vector<SavedTable> files;
  v1::TableState state = redistribution.state();
  for (const v1::ShardFile& source : redistribution.files()) {
    const auto reader = std::ranges::find(source.readers(), shard);
    if (reader == source.readers().end()) continue;
    absl::StatusOr<SavedTable> saved = ReadTable(source, redistribution, run_id, table);
    absl::Status whole = saved.status();
    if (whole.ok()) whole = FindPieces(*saved);
    const auto readers = static_cast<uint64_t>(source.readers_size());
    const auto turn = static_cast<uint64_t>(reader - source.readers().begin());
    if (whole.ok()) {
      saved->readers = readers;
      saved->turn = turn;
      files.push_back(*std::move(saved));
    } else if (absl::IsDataLoss(whole) || absl::IsNotFound(whole)) {  // as its other readers find it, too
      LogError("what shard %d held of table \"%s\" is lost: %s", source.shard(), table.spec().name(), whole.ToString());
      // Each of them leaves out a part of its steps, which the learner then counts as lost.
      const uint64_t steps = source.inserted_steps();
      const uint64_t part = steps * (turn + 1) / readers - steps * turn / readers;
      state.set_inserted_steps(state.inserted_steps() - std::min(state.inserted_steps(), part));
    } else {
      return whole;
    }
  }
  std::vector<Candidate> taken;
  for (SavedTable& saved : files) {
    for (size_t i = 0; i < saved.pieces.size(); ++i) {
      if ((saved.shard + i) % saved.readers == saved.turn) taken.push_back({&saved, &saved.pieces[i]});
    }
  }
  LeaveOutOldest(table, taken);
  const uint32_t count = NumberTakenRows(taken, files);
  TakenRows source(files, table.layout());
  ASSIGN_OR_RETURN(const std::vector<RowStore::Address> rows,
                   table.RestoreRows(count, [&](std::span<std::byte> piece) { return source.Read(piece); }));
  const std::vector<Item> items = TakenItems(taken);
  LogInfo("%d items in %d rows taken from checkpoint %s of %d shards", items.size(), count, redistribution.name(),
          redistribution.files_size());
  RETURN_IF_ERROR(table.RestoreBooks(state, {}, items, rows));
  table.ReleaseRestored(rows);
  table.BeginLife();
  return absl::OkStatus();
}

}  // namespace headrace
