#include "replay/checkpoint_file.h"

#include <algorithm>
#include <climits>
#include <cstring>
#include <filesystem>
#include <tuple>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/file.h"
#include "common/status_macros.h"

namespace headrace {
namespace {

constexpr char kSuffix[] = ".replay";
constexpr char kUnfinished[] = ".replay.";  // and what AtomicFile appends
constexpr char kTemporarySuffix[] = ".tmp";

absl::StatusOr<v1::ReplayCheckpointHeader> ReadHeader(const std::string& path) {
  ASSIGN_OR_RETURN(const std::unique_ptr<CheckpointReader> reader, CheckpointReader::Open(path));
  return reader->ReadHeader();
}

// Calls `visit` for each entry of a directory; one that cannot be read has none.
template <typename Visit>
void ForEachEntry(const std::string& directory, Visit visit) {
  std::error_code error;
  for (std::filesystem::directory_iterator entry(directory, error), end; !error && entry != end;
       entry.increment(error)) {
    visit(*entry);
  }
}

}  // namespace

std::string CheckpointPath(const std::string& directory, const std::string& name) {
  return absl::StrCat(directory, "/", name, kSuffix);
}

std::vector<CheckpointEntry> ListCheckpoints(const std::string& directory) {
  std::vector<std::pair<std::filesystem::file_time_type, CheckpointEntry>> files;
  ForEachEntry(directory, [&](const std::filesystem::directory_entry& entry) {
    if (entry.path().extension() != kSuffix) return;
    const std::string path = entry.path().string();
    const absl::StatusOr<v1::ReplayCheckpointHeader> header = ReadHeader(path);
    std::error_code gone;
    files.push_back({entry.last_write_time(gone),
                     {path, entry.path().stem().string(), header.status(), header.ok() ? header->number() : 0,
                      header.ok() ? header->journal_file() : 0}});
  });
  // By time only those that have no number.
  std::sort(files.begin(), files.end(), [](const auto& a, const auto& b) {
    return std::tie(a.second.number, a.first) > std::tie(b.second.number, b.first);
  });
  std::vector<CheckpointEntry> entries;
  for (auto& [time, entry] : files) entries.push_back(std::move(entry));
  return entries;
}

void RemoveUnfinishedCheckpoints(const std::string& directory) {
  ForEachEntry(directory, [](const std::filesystem::directory_entry& entry) {
    const std::string name = entry.path().filename().string();
    std::error_code ignored;
    if (name.find(kUnfinished) != std::string::npos && name.ends_with(kTemporarySuffix)) {
      std::filesystem::remove(entry.path(), ignored);
    }
  });
}

absl::StatusOr<std::unique_ptr<CheckpointReader>> CheckpointReader::Open(const std::string& path) {
  FILE* const file = fopen(path.c_str(), "rbe");
  if (file == nullptr) return ErrnoStatus("open", path);
  std::error_code error;
  const uint64_t bytes = std::filesystem::file_size(path, error);
  std::unique_ptr<CheckpointReader> reader(new CheckpointReader(file, bytes - sizeof(uint64_t)));
  if (error || bytes < sizeof(uint64_t)) return absl::DataLossError("the file is cut off");
  return reader;
}

absl::Status CheckpointReader::Read(std::span<std::byte> piece) {
  RETURN_IF_ERROR(ReadUnchecked(piece));
  checksum_.Update({reinterpret_cast<const char*>(piece.data()), piece.size()});
  return absl::OkStatus();
}

absl::Status CheckpointReader::ReadUnchecked(std::span<std::byte> piece) {
  if (piece.size() > bytes_left() || fread(piece.data(), 1, piece.size(), file_.get()) != piece.size()) {
    return absl::DataLossError("the file is cut off");
  }
  position_ += piece.size();
  return absl::OkStatus();
}

absl::Status CheckpointReader::GoTo(uint64_t position) {
  if (fseeko(file_.get(), static_cast<off_t>(position), SEEK_SET) != 0) {
    return absl::DataLossError("the file is cut off");
  }
  position_ = position;
  return absl::OkStatus();
}

absl::StatusOr<std::string> CheckpointReader::ReadText(uint64_t bytes) {
  if (bytes > bytes_left()) return absl::DataLossError("the file is cut off");
  if (bytes > INT_MAX) return absl::DataLossError("its header is longer than protobuf reads");
  std::string text(bytes, '\0');
  RETURN_IF_ERROR(ReadUnchecked(std::as_writable_bytes(std::span(text))));
  return text;
}

absl::StatusOr<std::string> CheckpointReader::TakeTrailer() {
  const uint64_t tables_at = position_;
  uint64_t bytes;
  uint64_t checksum;
  constexpr size_t kBehind = sizeof(checksum) + sizeof(bytes);
  if (bytes_left() < kBehind) return absl::DataLossError("the file is cut off");
  RETURN_IF_ERROR(GoTo(end_ - kBehind));
  RETURN_IF_ERROR(ReadUnchecked(std::as_writable_bytes(std::span(&checksum, 1))));
  RETURN_IF_ERROR(ReadUnchecked(std::as_writable_bytes(std::span(&bytes, 1))));
  if (bytes > end_ - kBehind - tables_at) return absl::DataLossError("the file is cut off");
  const uint64_t header_at = end_ - kBehind - bytes;
  RETURN_IF_ERROR(GoTo(header_at));
  ASSIGN_OR_RETURN(std::string header, ReadText(bytes));
  if (Checksum(header) != checksum) return absl::DataLossError("the checksum of its header does not fit");
  trailer_ = header;
  for (const uint64_t number : {checksum, bytes}) {
    trailer_.append(reinterpret_cast<const char*>(&number), sizeof(number));
  }
  end_ = header_at;
  RETURN_IF_ERROR(GoTo(tables_at));
  return header;
}

absl::StatusOr<v1::ReplayCheckpointHeader> CheckpointReader::ReadHeader() {
  std::string magic(kCheckpointMagic.size(), '\0');
  RETURN_IF_ERROR(Read(std::as_writable_bytes(std::span(magic))));
  if (magic != kCheckpointMagic) return absl::DataLossError("it is no replay checkpoint");
  uint64_t bytes;
  RETURN_IF_ERROR(Read(std::as_writable_bytes(std::span(&bytes, 1))));
  const bool is_last = bytes == kHeaderIsLast;
  ASSIGN_OR_RETURN(const std::string text, is_last ? TakeTrailer() : ReadText(bytes));
  if (!is_last) checksum_.Update(text);
  v1::ReplayCheckpointHeader header;
  if (!header.ParseFromArray(text.data(), static_cast<int>(text.size()))) {
    return absl::DataLossError("its header cannot be read");
  }
  if (header.format() < kOldestCheckpointFormat || header.format() > kCheckpointFormat) {
    return absl::DataLossError(absl::StrFormat("it has format %d, this program reads %d to %d", header.format(),
                                               kOldestCheckpointFormat, kCheckpointFormat));
  }
  if (is_last != (header.format() > kNewestFormatWithHeaderFirst)) {
    return absl::DataLossError(absl::StrFormat("its header is not where format %d has it", header.format()));
  }
  return header;
}

absl::Status CheckpointReader::Finish() {
  if (bytes_left() > 0) return absl::DataLossError("more follows than its header says");
  checksum_.Update(trailer_);
  uint64_t checksum;
  if (fseeko(file_.get(), static_cast<off_t>(trailer_.size()), SEEK_CUR) != 0 ||
      fread(&checksum, sizeof(checksum), 1, file_.get()) != 1)
    return absl::DataLossError("the file is cut off");
  if (checksum != checksum_.value()) return absl::DataLossError("its checksum does not fit its contents");
  return absl::OkStatus();
}

absl::StatusOr<std::vector<Item>> ReadItems(uint32_t format, const v1::TableCheckpoint& saved, CheckpointReader& file) {
  const size_t bytes = ItemBytes(format);
  if (saved.items() > file.bytes_left() / bytes) return absl::DataLossError("the file is cut off");
  std::vector<std::byte> records(saved.items() * bytes);
  RETURN_IF_ERROR(file.Read(records));
  std::vector<Item> items;
  items.reserve(saved.items());
  for (size_t at = 0; at < records.size(); at += bytes) {
    ItemRecord record;
    std::memcpy(&record, records.data() + at, bytes);
    if (record.context > ItemStore::kMaxContext)
      return absl::DataLossError("an item has more context than there can be");
    items.push_back({.first_row = record.first_row,
                     .context = record.context,
                     .rows = record.rows,
                     .times_sampled = record.times_sampled,
                     .priority = record.priority});
  }
  return items;
}

}  // namespace headrace
